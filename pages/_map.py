"""The map on Slices: every picture of the run in the plane, the slice in colour, a lasso that narrows the query.

Knows: the map, the columns to colour by, the query in the address. Does not know: how a map is laid out.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from core import queries
from core.cells import CELLS, GREY
from core.errors import WhylookError
from core.queries import RunMap
from core.queries.map import COLUMNS, Basis
from core.sql import chips
from core.sql.conditions import Clause, Query, Raw
from core.sql.where import parse
from pages import _launch
from pages._assets import SCATTERPLOT, library_address
from pages._map_code import CSS, JS
from pages._pictures import address
from pages._shared import coded_run, read, store, store_folder
from pages._view import go, says, score_text, target
from pages._words import plain

BASES: dict[str, Basis] = {"what it saw": "features", "what was said": "explanations"}
COLOURS = ("#4338ca", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a6d00", "#0072B2", "#7a3b12", "#5fb233")
"""Those of Okabe and Ito, and more that can be told from them; what comes after them is grey."""
FIRST = ("cell", "correct", "prediction")
CORNERS, NEAR = 16, 0.003
"""A lasso has at most so many corners, since SQL asks every picture about each; they lie so near to what was drawn."""
IN_SLICE = 128
KEY = "map-of-slice"
LASSO = re.compile(r"in_lasso\(\w+, \w+, \[[^\]]*\]\)")
_component = st.components.v2.component("whylook_map", html='<div class="root"></div>', css=CSS, js=JS)
Use = Callable[[str], None]
"""Puts a query into the address."""


@dataclass(frozen=True)
class Shown:
    """A map of the run as it is shown: what makes its pictures neighbours, and the column that colours them."""

    drawn: RunMap
    basis: Basis
    colour: str | None


def map_choices(run: str) -> Shown | None:
    """What to lay out by and to colour by, in one row with what stands beside them; None where there is no map."""
    if _launch.at_work("map") is not None:
        return None
    found = {words: read(queries.run_map, run, basis) for words, basis in BASES.items()}
    known = {words: drawn for words, drawn in found.items() if drawn is not None}
    if not known:
        return None
    of = st.selectbox(
        "Alike by", list(known), key="of", bind="query-params", width=185, label_visibility="collapsed",
        format_func=lambda words: f"by {words}",
    )  # fmt: skip
    columns = [column.column for column in coded_run(run).columns]
    columns.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    colour = None
    if columns:
        colour = st.selectbox(
            "Colour", columns, key="colour", bind="query-params", width=185, label_visibility="collapsed",
            format_func=lambda name: f"colour: {name}",
        )  # fmt: skip
    return Shown(known[of], BASES[of], colour)


def map_view(run: str, text: str, ids: tuple[str, ...], shown: Shown | None, use: Use) -> None:
    """The map of a run with a slice on it, or the button that draws one."""
    if _launch.at_work("map") is not None:
        watch(run)
    elif shown is None:
        _offer(run)
    else:
        _draw(run, text, ids, shown, use)
        _said(run, shown.drawn)


def picture_at(run: str, place: int) -> dict[str, object] | None:
    """The picture at a place of a run's map, for the pointer that is over it; None where there is none."""
    try:
        found = queries.at_place(store().reader(), run, place)
    except WhylookError:
        return None
    if found is None:
        return None
    row, thumbnail = found
    lines = [score_text(row["score"])] if row["score"] is not None else []
    picture = {"src": address(thumbnail)} if thumbnail else {"missing": "no picture"}
    return {"image": row["image_id"], "title": says(row), "lines": lines, **picture}


def _draw(run: str, text: str, ids: tuple[str, ...], chosen: Shown, use: Use) -> None:
    drawn, basis, colour = chosen.drawn, chosen.basis, chosen.colour
    inside = pc.is_in(drawn.image_ids, value_set=pa.array(ids, pa.string())).to_numpy(zero_copy_only=False)
    codes, legend = _coloured(run, drawn, inside, colour)
    shown = np.isfinite(drawn.places[:, 0])
    places = np.flatnonzero(shown)
    across = np.round(np.nan_to_num(drawn.places[places]) * 65535).astype("<u2")
    data = {
        "n": int(places.size),
        "inside": int(inside[places].sum()),
        "x": _packed(across[:, 0]),
        "y": _packed(across[:, 1]),
        "codes": _packed((codes[places] + IN_SLICE * inside[places]).astype(np.uint8)),
        "places": "" if shown.all() else _packed(places.astype("<u4")),
        "legend": legend,
        "column": colour or "",
        "grey": GREY,
        "picture": f"/whylook-map/{run}/",
        "target": target("sample", run=run, image="IMAGE", sql=text),
        "library": library_address(SCATTERPLOT),
        "lasso": bool(LASSO.search(text)),
    }
    result = _component(
        key=KEY, data=data, on_act_change=partial(_acted, run, text, basis, use), on_go_change=lambda: None
    )
    clicked = getattr(result, "go", None)
    if clicked:
        go(clicked["page"], **clicked["state"])


def _packed(numbers: NDArray[Any]) -> str:
    """Numbers as the bytes that they are, in base64."""
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()


def _coloured(
    run: str, drawn: RunMap, inside: NDArray[np.bool_], colour: str | None
) -> tuple[NDArray[np.int64], list[dict[str, object]]]:
    """The colour of every picture as a place in the legend, and the legend: words, colour, how many of the slice."""
    n = len(drawn.image_ids)
    coded = coded_run(run)
    column = next((item for item in coded.columns if item.column == colour), None)
    if column is None:
        return np.zeros(n, np.int64), [{"words": "pictures", "colour": COLOURS[0], "n": int(inside.sum())}]
    order = pc.index_in(drawn.image_ids, value_set=coded.image_ids).to_numpy(zero_copy_only=False)
    codes = column.codes[order].astype(np.int64)
    if column.edges:
        last = len(column.edges) - 2
        scale = colormaps["viridis"]
        legend: list[dict[str, object]] = [
            {
                "words": f"{low:g} to {high:g}", "colour": to_hex(scale(place / max(1, last))), "scale": True,
                "ends": [f"{column.edges[0]:g}", f"{column.edges[-1]:g}"],
            }
            for place, (low, high) in enumerate(zip(column.edges, column.edges[1:], strict=False))
        ]  # fmt: skip
    else:
        common = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(column.values)), kind="stable")
        own = {kind.name: kind for kind in CELLS} if colour == "cell" else {}
        most = len(common) if len(common) <= len(COLOURS) else len(COLOURS) - 1
        place = np.full(len(column.values), most)
        place[common[:most]] = np.arange(most)
        legend = [
            {
                "words": own[str(value)].words if value in own else _words(value), "value": value,
                "colour": own[str(value)].colour if value in own else COLOURS[at],
            }
            for at, value in enumerate(column.values[where] for where in common[:most])
        ]  # fmt: skip
        if most < len(common):
            legend.append({"words": f"{len(common) - most:,} others", "colour": GREY})
        codes = np.where(codes >= 0, place[np.maximum(codes, 0)], -1)
    if (codes < 0).any():
        legend.append({"words": "not known", "value": None, "colour": GREY})
        codes = np.where(codes < 0, len(legend) - 1, codes)
    counts = np.bincount(codes[inside], minlength=len(legend))
    return codes, [{**entry, "n": int(count)} for entry, count in zip(legend, counts, strict=True)]


def _words(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _acted(run: str, text: str, basis: Basis, use: Use) -> None:
    """A lasso, or a click on the legend, changes the query."""
    state: Any = st.session_state.get(KEY)
    act = state.get("act") if state else None
    if not act:
        return
    query = parse(text, run)
    if act["act"] == "lasso":
        use(lassoed(query, basis, act["corners"]).text)
    elif act["act"] == "everything":
        use(query.having(*(clause for clause in query.clauses if not is_lasso(clause))).text)
    elif act["act"] == "value":
        use(chips.toggled(query, str(act["column"]), act["value"]).text)


def lassoed(query: Query, basis: Basis, corners: Sequence[Sequence[float]]) -> Query:
    """The query for the pictures inside a polygon of points of the map, in place of an earlier lasso.

    Fewer than three corners change nothing; more than CORNERS are smoothed away.
    """
    outline = np.clip(np.asarray(corners, dtype=np.float64).reshape(-1, 2), -1.0, 2.0)
    if len(outline) < 3 or not np.isfinite(outline).all():
        return query
    closed, tolerance = np.vstack([outline, outline[:1]]), NEAR
    from skimage.measure import approximate_polygon  # here: half a second, and only a lasso needs it

    while len(smooth := approximate_polygon(closed, tolerance)) > CORNERS + 1:
        tolerance *= 1.5
    if len(smooth) < 4:
        return query
    x, y = COLUMNS[basis]
    numbers = ", ".join(f"{value:.3f}".rstrip("0").rstrip(".") for value in smooth[:-1].ravel().round(3) + 0.0)
    wanted = Raw(f"in_lasso({x}, {y}, [{numbers}])")
    kept = [clause for clause in query.clauses if not is_lasso(clause)]
    return query.having(*kept, wanted)


def is_lasso(clause: Clause) -> TypeGuard[Raw]:
    """Whether a condition is a lasso on the map and nothing else."""
    return isinstance(clause, Raw) and LASSO.fullmatch(clause.text.strip()) is not None


def _said(run: str, drawn: RunMap) -> None:
    words = "Pictures that lie close are alike; how far groups lie from each other means little (PaCMAP)."
    if drawn.missing:
        words += f" {drawn.missing:,} pictures are not on it: they came later, or have nothing to be laid out by."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(words)
        if drawn.missing and _launch.may_start():
            st.button("Draw it again", type="tertiary", icon=":material/refresh:", on_click=_start, args=(run,))


def _command(run: str) -> str:
    return f"whylook map --store {shlex.quote(str(store_folder()))} --run {run}"


def _offer(run: str) -> None:
    """The button that draws a map; why there is none where it cannot be drawn."""
    if problem := _launch.problem_of("map", run) or st.session_state.pop("map-problem", ""):
        st.error(plain(problem), icon=":material/error:")
    st.write("A map lays out every picture of the run so that those alike lie close. Circle some to make them a slice.")
    if not _launch.may_start():
        st.code(_command(run), language="sh")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Draw the map", icon=":material/bubble_chart:", type="primary", on_click=_start, args=(run,))
        st.caption("Seconds for a thousand pictures, a minute or two for a hundred thousand.", width="content")


def _start(run: str) -> None:
    try:
        _launch.start_beside("map", run)
    except (WhylookError, OSError) as problem:
        st.session_state["map-problem"] = str(problem)


@st.fragment(run_every=1.0)
def watch(run: str) -> None:
    """How far the map is, as its process says; the page is drawn anew once it has ended."""
    running = _launch.at_work("map")
    if running is None:
        st.rerun()
        return
    said, share = _launch.said_last("map")
    with st.container(border=True):
        st.markdown("**Drawing the map**" + ("" if running == run else f" of run {plain(running)}"))
        words, stop = st.columns([4, 1], vertical_alignment="center")
        words.progress(share, text=plain(said))
        if stop.button("Cancel", icon=":material/stop:", width="stretch", key="cancel-map"):
            _launch.cancel_beside("map")
