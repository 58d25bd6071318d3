"""Slices: any SELECT over `samples`, as pictures, table and charts, with its numbers against the rest."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import queries
from core.deck.keep import of_slice
from core.deck.slide import View
from core.errors import QueryError
from core.queries import SqlResult
from core.records import Row, Run
from core.statistics import format_mean, format_pictures, format_rate, format_spoken, mean_interval, wilson
from pages._claim import show_claim
from pages._editor import sql_editor
from pages._export import export_menu
from pages._facets import chip_bar, facet_panel
from pages._frame import guarded, open_page
from pages._grid import slice_grid
from pages._keep import keep_button
from pages._looks import by_answer, looks
from pages._map import map_choices, map_view
from pages._order import AS_ASKED, ORDERS, ordered_ids
from pages._pictures import VIEWS, scale_legend, views
from pages._runs_in_query import of_one_run
from pages._shared import read, read_of, slice_ids
from pages._shared import sql as run_sql
from pages._slice_charts import charts
from pages._slice_tools import toolbar
from pages._view import go, style
from pages._words import is_whole, plain, slice_sql

PER_PAGE = 48
PER_PAGE_OF_THREE = 20
SIZES = {"Small": 118, "Medium": 165, "Large": 270}
STYLE = """<style>
.st-key-numbers [data-testid="stMetric"], .st-key-numbers [data-testid="stMetric"] > div
  { display: flex; flex-direction: row; align-items: baseline; gap: .5rem; width: auto; padding: 0; }
.st-key-numbers { row-gap: 0; } .st-key-numbers [data-testid="stCaptionContainer"] { margin: 0; }
.st-key-numbers [data-testid="stMetricValue"] { font-size: 1.4rem; line-height: 1.3; }
@media (max-width: 1100px) { .st-key-facets { max-height: 24rem; overflow-y: auto; } }
.st-key-controls { column-gap: .5rem; }
.st-key-controls [data-testid="stButtonGroup"] button { padding-left: .6rem; padding-right: .6rem; }
</style>"""
"""The numbers of a slice in one line, so that pictures are in the first screen."""


def main() -> None:
    """Draws the page."""
    run = open_page("Slices")
    if run is None:
        return
    style(STYLE)
    head, tools = st.columns([1, 3.6], gap="medium", vertical_alignment="center")
    head.title("Slices")
    left, right = st.columns([1, 3.6], gap="medium")
    text = st.query_params.get("sql") or slice_sql(run.name)  # in the address: a link, a click and Back all lead here
    problem: QueryError | None = None
    try:
        result = run_sql(text)
        ids = slice_ids(text, run.name)
        st.session_state["worked"] = text
    except QueryError as error:
        problem = error
    with right:
        sql_editor(run.name, text, problem, _use)
    with tools:
        toolbar(run.name, text, _use)
    if problem is not None:
        right.error(plain(problem), icon=":material/error:")
        with left.container(key="facets"):
            facets_that_worked(run.name)
        return
    if "image_id" in result.columns:
        with left.container(key="facets"):
            facet_panel(run.name, text, ids, _use)
    with right:
        chip_bar(run.name, text, _use)
        show(run, text, result, ids)


def facets_that_worked(run: str) -> None:
    """While a query has an error, the facets of the last one that had none: a click goes on from there."""
    for text in (st.session_state.get("worked"), slice_sql(run)):
        with suppress(QueryError):
            if text and (ids := slice_ids(text, run)):
                st.caption("Of the last query that worked")
                facet_panel(run, text, ids, _use)
                return


def _use(text: str) -> None:
    """Makes a query the page's own; an empty one means every picture."""
    _first_page()
    if text.strip():
        st.query_params["sql"] = text.strip()
    else:
        st.query_params.pop("sql", None)


def show(run: Run, text: str, result: SqlResult, ids: tuple[str, ...]) -> None:
    """The result: its numbers, then pictures, table or charts."""
    name = run.name
    result, note = of_one_run(name, result)
    rows = result.table.num_rows
    if rows == 0:
        st.info("No picture matches this query.", icon=":material/inbox:")
        st.button("Show every picture", on_click=_use, args=(slice_sql(name),))
        return
    if note:
        st.info(note, icon=":material/filter_alt:")
    if ids:
        show_claim(name, text)
        with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="numbers"):
            against_rest(name, text, ids)
            keep_button(f"{name}-{text}", lambda ask: of_slice(ask, name, text, view=slice_view()))
        looks(name, text, ids)
    kinds = ["Pictures", "Table", "Charts", "Map"] if ids else ["Table"]
    kind, shown = kinds[0], Shown("Original", next(iter(ORDERS)), "Small")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="controls"):
        if len(kinds) > 1:
            kind = st.segmented_control(
                "Show as",
                kinds,
                default=kinds[0],
                required=True,
                key="as",
                bind="query-params",
                label_visibility="collapsed",
            )
        if kind == "Pictures":
            shown = choices()
        on_map = map_choices(name) if kind == "Map" else None
        export_menu(name, text, len(ids))
    if not ids:
        columns = "image_id" in result.columns
        st.caption(
            f"No picture of run {plain(name)} is in this result."
            if columns
            else "Add image_id to the SELECT to see pictures."
        )
    if kind == "Pictures":
        pictures(name, text, ids, shown)
    elif kind == "Charts":
        charts(name, text, ids)
    elif kind == "Map":
        map_view(name, text, ids, on_map, _use)
    else:
        table(name, text, result)


def slice_view() -> View:
    """The view in which a slice's pictures are kept: the one on screen."""
    shown = VIEWS.get(st.session_state.get("view", ""), ("original",))
    return "original" if "original" in shown else "overlay" if "overlay" in shown else "masked"


def against_rest(name: str, text: str, ids: tuple[str, ...]) -> None:
    """Accuracy and mean score of the slice against the rest, with intervals.

    A slice that is chosen by its answers has no accuracy: it is what was chosen.
    """
    whole = is_whole(text, name)
    stats = read(queries.slice_stats, name, None) if whole else read_of(queries.slice_stats, name, ids)
    inside, rest = stats.inside, stats.rest
    facts: list[tuple[str, str, str, str]] = []
    if not by_answer(text):
        here, there = (wilson(group.correct, group.labelled) for group in (inside, rest))
        facts.append(("Accuracy", format_spoken(here.value), format_rate(here, n=False), format_spoken(there.value)))
    if inside.scores.size or rest.scores.size:
        here, there = (mean_interval(group.scores, group.weights) for group in (inside, rest))
        facts.append(("Mean score, 0–5", _mean(here.value), format_mean(here, n=False), _mean(there.value)))
    share = inside.n / max(1, inside.n + rest.n)
    quiet: dict[str, Any] = {"delta_color": "off", "delta_arrow": "off", "width": "content"}
    st.metric("Slice", f"{inside.n:,}", f"{share:.0%} of the run", **quiet)
    for words, value, precisely, elsewhere in facts:
        bounds = precisely[precisely.find("[") :] if "[" in precisely else ""
        beside = " · ".join(part for part in (bounds, f"rest {elsewhere}" if rest.n else "") if part)
        st.metric(words, value if bounds else precisely, beside or None, **quiet)


def _mean(value: float) -> str:
    """A mean score as one says it."""
    return f"{value:.1f}" if math.isfinite(value) else "–"


@dataclass(frozen=True)
class Shown:
    """How pictures are shown: a name of VIEWS, of ORDERS and of SIZES."""

    view: str
    order: str
    size: str


def choices() -> Shown:
    """View, order and size, in one row with what stands beside them."""
    quiet: Literal["collapsed"] = "collapsed"
    return Shown(
        st.selectbox("View", list(VIEWS), key="view", bind="query-params", width=118, label_visibility=quiet),
        st.selectbox(
            "Sort",
            list(ORDERS),
            key="sort",
            bind="query-params",
            width=174,
            label_visibility=quiet,
            on_change=_first_page,
        ),
        st.selectbox("Size", list(SIZES), key="size", bind="query-params", width=106, label_visibility=quiet),
    )


def pictures(name: str, text: str, ids: tuple[str, ...], shown: Shown) -> None:
    """The grid and its pages; a click opens the picture."""
    order, size = shown.order, shown.size
    kinds = VIEWS[shown.view]
    most = PER_PAGE if len(kinds) == 1 else PER_PAGE_OF_THREE
    pages = -(-len(ids) // most)
    cards = st.container()
    page = 1
    if pages > 1:
        left, right = st.columns([3, 1], vertical_alignment="center")
        with left:
            page = st.pagination(pages, key="page", bind="query-params")
        right.caption(f"{format_pictures(len(ids))}, {most} a page")
    rows = page_rows(name, ordered_ids(text, name, order)[(page - 1) * most : page * most])
    made = views(name, [row["image_id"] for row in rows], kinds, layered=True)
    if len(kinds) > 1:
        for several in made.values():
            for picture, words in zip(several, kinds, strict=True):
                picture["label"] = words
    side = SIZES[size] * (2 if len(kinds) > 1 else 1)
    with cards:
        slice_grid(name, rows, made, ids, size=side, sql=text, order="" if order == AS_ASKED else order)
    if "overlay" in kinds:
        scale_legend(width=280)


def page_rows(name: str, ids: tuple[str, ...]) -> list[Row]:
    """Rows of one page of the grid, in the order of its ids."""
    rows = {row["image_id"]: row for row in read(queries.pictures, name, ids=list(ids), limit=len(ids))}
    return [rows[image_id] for image_id in ids if image_id in rows]


def _first_page() -> None:
    st.session_state["page"] = 1


def table(name: str, text: str, result: SqlResult) -> None:
    """The rows as they are; a click on one opens its picture."""
    linked = "image_id" in result.columns
    event = st.dataframe(
        result.table,
        hide_index=True,
        height=620,
        key="rows",
        column_config={"run": st.column_config.Column(width=80), "image_id": st.column_config.Column(width=90)},
        on_select="rerun" if linked else "ignore",
        selection_mode="single-row",
    )
    note = f"{result.table.num_rows:,} rows in {result.seconds:.2g} s."
    if result.truncated:
        note += " Only the first rows are shown; the numbers above count every picture."
    st.caption(note + (" Select a row to open its picture." if linked else ""))
    picked = [] if isinstance(event, DeltaGenerator) else event.get("selection", {}).get("rows", [])
    if picked:
        row = result.table.slice(picked[0], 1).to_pylist()[0]
        go("sample", run=row.get("run") or name, image=row["image_id"], sql=text)


guarded(main)
