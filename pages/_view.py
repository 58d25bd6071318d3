"""Draws pictures, the matrix, the class table and search hits as one clickable component.

A click comes back as a page and its state, and `follow` goes there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import streamlit as st

from core.cells import GREY, cell
from core.records import Row
from pages._view_code import JS
from pages._view_css import CSS
from pages._words import link

_component = st.components.v2.component(
    "whylook_view", html='<div class="root"></div>', css=f".root {{ --grey: {GREY}; }}\n{CSS}", js=JS
)


class Place(TypedDict):
    """A page and the state in its address."""

    page: str
    state: dict[str, str]


class Target(TypedDict):
    """Where a click leads: an address for the browser, and the same for `go`."""

    href: str
    go: Place


def style(css: str) -> None:
    """Puts a style sheet on the page, before any words: what st.html needs is loaded only once some are drawn."""
    st.markdown(css, unsafe_allow_html=True)


def target(page: str, /, **values: object) -> Target:
    """Where a click leads: an address for the browser and the same for `follow`."""
    state = {key: str(value) for key, value in values.items() if value not in (None, "")}
    return {"href": link(page, **state), "go": {"page": page, "state": state}}


def go(page: str, /, **state: object) -> None:
    """Changes to a page with its state in the address."""
    kept = {key: str(value) for key, value in state.items() if value not in (None, "")}
    st.switch_page(f"pages/{page}.py", query_params=kept)


def draw(kind: str, *, key: str, on_keep: Callable[[str], None] | None = None, **data: object) -> None:
    """Draws one component and follows a click on it; `on_keep` is told of what in it is to be kept."""
    result = _component(key=key, data={"kind": kind, **data}, on_go_change=lambda: None, on_keep_change=lambda: None)
    kept = getattr(result, "keep", None)
    if kept and on_keep is not None:
        on_keep(kept)
    clicked = getattr(result, "go", None)
    if clicked:
        go(clicked["page"], **clicked["state"])


def percent(value: float | None) -> str:
    """A probability as a whole percentage; what is nearly certain is not said to be certain."""
    if value is None or math.isnan(value):
        return "–"
    return ">99%" if 0.995 <= value < 1 else f"{value * 100:.0f}%"


def score_text(value: float | None) -> str:
    """A judge's score with its unit, or that there is none."""
    return "not judged" if value is None or math.isnan(value) else f"score {value:.1f} of 5"


def says(row: Row) -> str:
    """What the classifier made of it: `cow → camel 83%`, or `cow 98%` when right or without a label."""
    label, prediction = row.get("label"), row.get("prediction")
    if prediction is None:
        return f"{label or '?'} · not classified"
    sure = percent(row.get("confidence"))
    if label is None or row.get("correct"):
        return f"{prediction} {sure}"
    return f"{label} → {prediction} {sure}"


def named(picture: Mapping[str, str], path: object, label: object) -> dict[str, str]:
    """A picture whose words, for those who do not see it, say its file and label."""
    if "src" not in picture:
        return dict(picture)
    said = f"labelled {label}" if label is not None else "no label"
    return {**picture, "alt": f"{picture['alt']}: {path or 'no file'}, {said}"}


def grid(
    rows: Sequence[Row],
    pictures: Mapping[str, Sequence[Mapping[str, str]]],
    *,
    run: str,
    key: str,
    size: int,
    page: str = "sample",
    **state: object,
) -> None:
    """Cards with one or more views of each picture; a click opens the picture's page, or another with it."""
    items = []
    for row in rows:
        kind = cell(row.get("cell"))
        lines = [score_text(row.get("score")), *([row["note"]] if "note" in row else [])]
        items.append(
            {
                "target": target(page, run=run, image=row["image_id"], **state),
                "pictures": [
                    named(shown, row.get("path"), row.get("label"))
                    for shown in pictures.get(row["image_id"], ({"missing": "no picture"},))
                ],
                "title": says(row),
                "lines": lines,
                "colour": kind.colour,
                "hint": f"{row.get('path') or ''}\n{kind.words}",
            }
        )
    draw("grid", key=key, items=items, size=size)


def copy_button(text: str, *, key: str, value: str = "") -> None:
    """A button that copies a text, or the page's address."""
    draw("copy", key=key, text=text, value=value)
