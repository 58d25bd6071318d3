"""Slices: any SELECT over `samples`, as pictures, table and charts, with its numbers against the rest."""

from __future__ import annotations

import io

import pyarrow.csv
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import queries
from core.columns import BY_NAME
from core.commands.terminal import spreadsheet_table
from core.errors import QueryError
from core.queries import SqlResult
from core.records import Row, Run
from core.statistics import format_mean, format_pictures, format_rate, mean_interval, wilson
from pages import _charts
from pages._claim import show_claim
from pages._frame import guarded, open_page
from pages._looks import by_answer, looks
from pages._order import AS_ASKED, ORDERS, ordered_ids
from pages._pictures import VIEWS, scale_legend, views
from pages._shared import read, slice_ids
from pages._shared import sql as run_sql
from pages._slice_tools import toolbar
from pages._view import go, grid
from pages._words import file_name, plain, slice_sql

PER_PAGE = 48
PER_PAGE_OF_THREE = 20
GROUPS = 30
MOST_GROUPS = f"; the {GROUPS} largest groups"
SIZES = {"Small": 110, "Medium": 165, "Large": 270}


def main() -> None:
    """Draws the page."""
    run = open_page("Slices")
    if run is None:
        return
    st.title("Slices")
    left, right = st.columns([1, 2], gap="medium")
    with left:
        text = editor(run)
        problem = st.empty()
    try:
        result = run_sql(text)
        ids = slice_ids(text, run.name)
    except QueryError as error:
        problem.error(plain(error), icon=":material/error:")
        with right:
            st.info("Correct the query on the left, or start from an example.", icon=":material/arrow_back:")
        return
    with right:
        show(run, text, result, ids)


def editor(run: Run) -> str:
    """The SQL editor; the address holds its text, so that a link, a click and Back all lead here."""
    text = st.query_params.get("sql") or slice_sql(run.name)
    if st.session_state.get("sql_editor") != text:
        st.session_state["sql_editor"] = text
    box = st.container()
    toolbar(run.name, text, _use)
    with box:
        st.text_area(
            "SELECT over samples",
            key="sql_editor",
            height=260,
            help="Ctrl+Enter runs it. One SELECT; nothing can be changed.",
            on_change=lambda: _use(st.session_state["sql_editor"]),
        )
        st.button("Run", type="primary", icon=":material/play_arrow:", width="stretch", help="Ctrl+Enter")
    return text


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
    rows = result.table.num_rows
    if rows == 0:
        st.info("No picture matches this query.", icon=":material/inbox:")
        st.button("Show every picture", on_click=_use, args=(slice_sql(name),))
        return
    if ids:
        show_claim(name, text)
        against_rest(name, text, ids)
        looks(name, text, ids)
    kinds = ["Pictures", "Table", "Charts"] if ids else ["Table"]
    kind = kinds[0]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
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
        st.download_button(
            "CSV",
            lambda: csv(result),
            file_name((name, "slice"), ".csv"),
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    if not ids:
        columns = "image_id" in result.columns
        st.caption(
            f"No picture of run {plain(name)} is in this result."
            if columns
            else "Add image_id to the SELECT to see pictures."
        )
    if kind == "Pictures":
        pictures(name, text, ids)
    elif kind == "Charts":
        charts(name, ids)
    else:
        table(name, text, result)


def against_rest(name: str, text: str, ids: tuple[str, ...]) -> None:
    """Accuracy and mean score of the slice against the rest, with intervals.

    A slice that is chosen by its answers has no accuracy: it is what was chosen.
    """
    stats = read(queries.slice_stats, name, list(ids))
    inside, rest = stats.inside, stats.rest
    facts = []
    if not by_answer(text):
        facts.append(("Accuracy", *(format_rate(wilson(group.correct, group.labelled)) for group in (inside, rest))))
    if inside.scores.size or rest.scores.size:
        means = (format_mean(mean_interval(group.scores, group.weights)) for group in (inside, rest))
        facts.append(("Mean score, 0–5", *means))
    columns = st.columns([1, 1.5, 1.5])
    share = inside.n / max(1, inside.n + rest.n)
    columns[0].metric("Slice", f"{inside.n:,}", f"{share:.0%} of the run", delta_color="off", delta_arrow="off")
    for column, (words, here, there) in zip(columns[1:], facts, strict=False):
        value, _, bounds = here.partition(" ")
        column.metric(words, value, bounds or None, delta_color="off", delta_arrow="off")
        column.caption(f"rest {there}".replace(" · n ", "  \nn ") if rest.n else "every picture of the run")


def pictures(name: str, text: str, ids: tuple[str, ...]) -> None:
    """The grid: view, order, size, pages; a click opens the picture."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = st.segmented_control(
            "View", list(VIEWS), default="Original", required=True, key="view", bind="query-params"
        )
        order = st.selectbox("Sort", list(ORDERS), key="sort", bind="query-params", width=230, on_change=_first_page)
        size = st.selectbox("Size", list(SIZES), index=1, key="size", bind="query-params", width=130)
    kinds = VIEWS[shown]
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
    made = views(name, [row["image_id"] for row in rows], kinds)
    if len(kinds) > 1:
        for several in made.values():
            for picture, words in zip(several, kinds, strict=True):
                picture["label"] = words
    side = SIZES[size] * (2 if len(kinds) > 1 else 1)
    with cards:
        grid(rows, made, run=name, key="grid", size=side, sql=text, order="" if order == AS_ASKED else order)
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


def charts(name: str, ids: tuple[str, ...]) -> None:
    """Scores against the rest, and accuracy by any column of words."""
    stats = read(queries.slice_stats, name, list(ids))
    if stats.inside.scores.size:
        st.altair_chart(
            _charts.scores_inside_and_rest(stats.inside, stats.rest),
            width="stretch",
        )
    words = [column for column, kind in read(queries.metadata_columns) if kind in ("VARCHAR", "BOOLEAN")]
    found = read(queries.filled, name, ("strategy", "detail", "cue", "colour"))
    options = ["label", "prediction", "cell", *found, *words]
    column = st.selectbox("Accuracy by", options, key="by", bind="query-params")
    rows = grouped(name, ids, column)
    if not rows:
        st.caption("No labels in this slice.")
        return
    st.altair_chart(_charts.groups(rows), width="stretch")
    if column in BY_NAME:
        st.caption(f"{column.capitalize()}: {plain(BY_NAME[column].meaning)}.")
    st.caption("Accuracy with its 95% interval and the number of pictures" + MOST_GROUPS * (len(rows) == GROUPS) + ".")


def grouped(name: str, ids: tuple[str, ...], column: str) -> list[dict[str, object]]:
    """Accuracy per value of a column inside the slice, the largest groups, worst first."""
    groups: dict[str, list[bool]] = {}
    for row in read(queries.pictures, name, ids=list(ids), limit=len(ids)):
        if row["correct"] is not None:
            value = row.get(column)
            groups.setdefault("not known" if value is None else str(value), []).append(bool(row["correct"]))
    largest = sorted(groups.items(), key=lambda item: -len(item[1]))[:GROUPS]
    rates = [(value, wilson(sum(flags), len(flags))) for value, flags in largest]
    rates.sort(key=lambda item: item[1].value)
    return [
        {"value": value, "rate": rate.value, "low": rate.low, "high": rate.high, "n": rate.n} for value, rate in rates
    ]


def csv(result: SqlResult) -> bytes:
    """The result as CSV; lists become text, and no text is taken for a formula by a spreadsheet."""
    out = io.BytesIO()
    table_ = result.table
    for index, field in enumerate(table_.schema):
        if pyarrow.types.is_nested(field.type) or pyarrow.types.is_binary(field.type):
            texts = pyarrow.array([None if value is None else str(value) for value in table_.column(index).to_pylist()])
            table_ = table_.set_column(index, field.name, texts)
    pyarrow.csv.write_csv(spreadsheet_table(table_), out)
    return out.getvalue()


guarded(main)
