"""Tools beside the SQL editor: columns, examples, saved slices."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pandas as pd
import streamlit as st

from core import queries
from core.columns import BY_NAME
from core.errors import StoreError
from core.export.tables import spreadsheet_cell
from core.queries import identifier, literal
from core.records import LabelDecision
from pages._shared import label_rows, read, run_file, store
from pages._view import copy_button
from pages._words import plain, short, slice_sql


def examples(run: str) -> list[tuple[str, str]]:
    """Questions people ask, as (words, SQL)."""
    asked = [
        ("Every picture", slice_sql(run)),
        (
            "Right, resting on a part that does not support it",
            slice_sql(run, "cell = 'correct_low'", queries.RESTS_SQL),
        ),
        ("Wrong and sure of it", slice_sql(run, "NOT correct", "confidence > 0.9")),
        ("Looks at the border", slice_sql(run, "attention_border > 0.5", order="attention_border DESC")),
        ("Hiding what it looked at changes nothing", slice_sql(run, "causal_drop < 0.05", order="causal_drop")),
        ("The judge abstained or failed", slice_sql(run, "judge_state <> 'ok'", order="path")),
    ]
    found = read(queries.filled, run, ("cue", "strategy"))
    if "cue" in found:
        asked.append(("Holds a cue that the classifier uses", slice_sql(run, "cue IS NOT NULL", order="cue")))
    grouping = [name for name in found if name == "strategy"]
    for name in [*grouping, *(name for name, _ in read(queries.metadata_columns)[:3])]:
        column = identifier(name)
        query = f"SELECT {column}, count(*) AS pictures, avg(correct::INT) AS accuracy, avg(score) AS mean_score\n"
        query += f"FROM samples\nWHERE run = {literal(run)}\nGROUP BY {column}\nORDER BY accuracy"
        asked.append((f"Accuracy by {name}", query))
    return asked


def toolbar(run: str, sql: str, use: Callable[[str], None]) -> None:
    """Columns, examples and saved slices, the link; `use` puts a query into the editor."""
    columns, asked, saved, copied = st.columns(4)
    with columns.popover("Columns", width="stretch"):
        columns_help()
    with asked.popover("Examples", width="stretch"):
        for index, (words, query) in enumerate(examples(run)):
            st.button(plain(short(words)), key=f"example-{index}", on_click=use, args=(query,), width="stretch")
    with saved.popover("Saved", width="stretch"):
        saved_slices(sql, use)
        fix_list(run)
    with copied:
        copy_button("Copy link", key="copy-link")


def columns_help() -> None:
    """What every column holds; type and source stand to the right of what fits."""
    rows = []
    for name, kind in read(queries.columns):
        known = BY_NAME.get(name)
        said = (known.values, known.meaning) if known else ("", "your metadata")
        rows.append((name, *said, kind, known.source if known else "metadata"))
    table = pd.DataFrame(rows, columns=["column", "values", "meaning", "type", "from"])
    narrow = {"values": st.column_config.Column(width=115)}
    st.dataframe(table, hide_index=True, height=420, width=640, column_config=narrow)


def saved_slices(sql: str, use: Callable[[str], None]) -> None:
    """Load, save, delete and undo."""
    known = store().slices()
    if not known:
        st.caption("Nothing saved yet. A saved slice is a query with a name, for everyone who uses this store.")
    for index, item in enumerate(known):
        load, drop = st.columns([5, 1])
        load.button(
            plain(item["name"]),
            key=f"saved-{index}",
            on_click=use,
            args=(item["sql"],),
            width="stretch",
            help=plain(short(item.get("note") or item["sql"], 600)),
        )
        drop.button(
            "", key=f"drop-{index}", icon=":material/delete:", help="Delete", on_click=_drop, args=(item["name"],)
        )
    with st.form("save-slice", clear_on_submit=True, border=False):
        name = st.text_input("Save this query as", max_chars=80, placeholder="cows off the meadow")
        if st.form_submit_button("Save", type="primary", disabled=not sql.strip()):
            _save(name.strip(), sql)
    if st.button("Undo", icon=":material/undo:", type="tertiary"):
        _undo()


def fix_list(run: str) -> None:
    """What was said of labels, as a file, where something was."""
    if not (decisions := store().label_decisions()):
        return
    st.download_button(
        "Fix list",
        lambda: _fixes(run, decisions),
        run_file(run, "fixes", f"{date.today():%Y-%m-%d}", suffix=".csv"),
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        help="What was said of labels here and on Labels, a row for each file",
    )


def _fixes(run: str, decisions: list[LabelDecision]) -> str:
    from core.labels import applying, fix_rows, write_csv
    from core.labels.fixes import FIX_COLUMNS

    rows = label_rows(run)
    found = fix_rows(rows, applying(rows, decisions))
    return write_csv(FIX_COLUMNS, [tuple(str(spreadsheet_cell(value)) for value in row) for row in found])


def _save(name: str, sql: str) -> None:
    if not name:
        st.warning("Give the slice a name first.")
        return
    try:
        store().save_slice(name, sql)
    except StoreError as problem:
        st.error(plain(problem))
        return
    st.toast(f"Saved {plain(name)}.")
    st.rerun()


def _drop(name: str) -> None:
    try:
        store().delete_slice(name)
    except StoreError as problem:
        st.toast(plain(problem))
        return
    st.toast(f"Deleted {plain(name)}. Undo brings it back.")


def _undo() -> None:
    try:
        words = store().undo("slices")
    except StoreError as problem:
        st.error(plain(problem))
        return
    st.toast(plain(words) if words else "Nothing left to undo.")
    if words:
        st.rerun()
