"""What the stage and the list of slides draw: each slide with its pictures ready, and where it leads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

import streamlit as st

from core import queries
from core.deck.slide import Shot, Slide
from core.errors import QueryError, WhylookError
from core.statistics import format_spoken
from pages._deck_code import DECK_CSS, DECK_JS
from pages._frame import PAGES
from pages._pictures import Shown, address, fill_of, full_picture, rgb_of, view
from pages._shared import read, store, store_folder
from pages._stage_code import STAGE_CSS, STAGE_JS
from pages._view import Target, target

LARGE = 560
"""Pixels on the long side of a picture on the stage."""
KINDS = {
    "title": "Title", "cause": "Cause", "finding": "Finding", "slice": "Slice", "picture": "Picture", "chart": "Chart",
    "matrix": "Table", "comparison": "Comparison", "report_card": "Report card", "text": "Words",
}  # fmt: skip

_stage = st.components.v2.component("whylook_stage", html='<div class="root"></div>', css=STAGE_CSS, js=STAGE_JS)
_deck = st.components.v2.component("whylook_deck", html='<div class="root"></div>', css=DECK_CSS, js=DECK_JS)
Act = dict[str, str]


def draw_stage(slides: list[dict[str, object]], start: int) -> Act | None:
    """The slides, one at a time over the whole screen, from `start` (counted from 1); what was done on it."""
    result = _stage(key="stage", data={"slides": slides, "start": start}, on_act_change=lambda: None)
    return getattr(result, "act", None)


def draw_list(items: list[dict[str, object]]) -> Act | None:
    """The slides as a list to order and edit; what was done in it."""
    result = _deck(key="deck", data={"items": items}, on_act_change=lambda: None)
    return getattr(result, "act", None)


def staged(slide: Slide, place: int, runs: Collection[str]) -> dict[str, object]:
    """A slide as the stage draws it; what is gone from the store is said, and what was kept still stands."""
    gone = slide.run not in runs
    lost = f"Run {slide.run} is no longer in this store: the slide shows what was kept." if gone else ""
    return {
        **{name: value for name, value in asdict(slide).items() if name not in ("shots", "pairs", "state", "page")},
        "pictures": [_picture(slide, shot, place, gone=gone) for shot in slide.shots],
        "pairs": [
            {"before": _inline(pair.before), "after": _inline(pair.after), "words": pair.words.splitlines()}
            for pair in slide.pairs
        ],
        "shares": [format_spoken(value) for value in slide.bars.values] if slide.bars else [],
        "lost": lost,
        "target": None if gone else where(slide, place),
    }


def where(slide: Slide, place: int) -> Target | None:
    """Where a slide leads: the page and state from which it was kept, with the slide to come back to."""
    if slide.page not in PAGES or slide.kind in ("title", "text"):
        return None
    return target(slide.page, **{**dict(slide.state), "run": slide.run, "slide": place})


def _picture(slide: Slide, shot: Shot, place: int, *, gone: bool) -> dict[str, object]:
    shown = (
        {"missing": "no longer in the store"}
        if gone
        else _large(str(store_folder()), store().generation(), slide.run, shot.image_id, shot.view)
    )
    sql = dict(slide.state).get("sql", "")
    to = None if gone else target("sample", run=slide.run, image=shot.image_id, sql=sql, slide=place)
    return {**shown, "label": shot.words, "target": to}


def _inline(picture: str) -> Shown:
    return {"src": f"data:image/webp;base64,{picture}", "alt": ""}


@st.cache_data(max_entries=512, show_spinner=False)
def _large(folder: str, generation: int, run: str, image_id: str, kind: str) -> Shown:
    """A picture for the back row: from its file where that is there, else from what the store keeps."""
    try:
        sample = read(queries.sample, run, image_id)
    except QueryError:
        return {"missing": "no longer in the store"}
    record = read(queries.run, run)
    whole = full_picture(folder, image_id, sample.paths, record.settings.images, LARGE)
    content = whole or sample.thumbnail
    if not content:
        return {"missing": "no picture"}
    try:
        made = content if kind == "original" else view(rgb_of(content), sample.map, kind, fill=fill_of(run))
    except (WhylookError, OSError, ValueError):
        made = None
    return {"src": address(made), "alt": kind} if made else {"missing": "no map"}


def listed(slide: Slide, place: int, runs: Collection[str]) -> dict[str, object]:
    """A slide as the list shows it."""
    told = [f"{figure.shown} {figure.words}" for figure in slide.figures]
    note = "" if slide.run in runs else f"run {slide.run} is no longer in this store"
    return {
        "key": slide.key, "place": place, "kind": KINDS.get(slide.kind, slide.kind), "title": slide.title, "note": note,
        "notes": slide.notes, "body": "\n".join(slide.body), "words": slide.kind in ("title", "text"),
        "told": " · ".join(told),
    }  # fmt: skip
