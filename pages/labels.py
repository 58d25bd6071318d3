"""Labels: the suspected wrong ones to decide on, duplicates and leaks, and whether confidence means what it says."""

from __future__ import annotations

from datetime import date

import streamlit as st

from core.errors import StoreError
from core.export.tables import spreadsheet_cell
from core.labels import Suspects, applying, fix_rows, new_labels, suspects, write_csv
from core.labels.fixes import FIX_COLUMNS, LIST_COLUMNS
from core.queries import LabelRows
from core.records import LabelDecision
from core.statistics import format_pictures, format_spoken
from pages._calibration import calibration_section
from pages._duplicates import duplicates_section
from pages._frame import empty, guarded, open_page
from pages._label_cards import to_decide
from pages._shared import label_rows, of_labels, run_file, store
from pages._words import plain


def main() -> None:
    """Draws the page."""
    run = open_page("Labels")
    if run is None:
        return
    st.title("Labels")
    rows = label_rows(run.name)
    if not rows.n:
        empty("This run has no pictures yet.", action="Watch it on Runs", page="runs", run=run.name)
        return
    with st.spinner("Looking at every label …"):
        found = of_labels(run.name, suspects)
    decided = applying(rows, store().label_decisions())
    headline(found)
    if found.listed or decided:
        tools(run.name, rows, found, decided)
    if found.listed:
        to_decide(run.name, rows, found.listed, decided)
    duplicates_section(run.name)
    calibration_section(run.name)


def headline(found: Suspects) -> None:
    """How many are suspect, in one sentence, and what the others are."""
    if found.note:
        st.info(found.note, icon=":material/label_off:")
    if not found.flagged:
        return
    share = format_spoken(found.flagged / found.looked_at)
    st.header(found.headline)
    st.caption(
        f"That is {share} of {found.looked_at:,}; {found.speaks}. Most suspicious first; a person decides. Looking "
        f"through every mistake would mean {format_pictures(found.mistakes)}."
        + (f" The first {len(found.listed):,} are listed." if len(found.listed) < found.flagged else "")
    )


def tools(run: str, rows: LabelRows, found: Suspects, decided: dict[str, LabelDecision]) -> None:
    """How far one is, Undo, and the two files."""
    done = sum(item.image_id in decided for item in found.listed)
    n = len(found.listed)
    bar, undo, fixes, listed = st.columns([3, 1, 1.3, 1.5], vertical_alignment="center")
    bar.progress(done / n if n else 1.0, text=f"**{done:,} of {n:,}** looked at")
    undo.button("Undo", icon=":material/undo:", on_click=_undo, width="stretch", disabled=not decided)
    fixes.download_button(
        "Fix list",
        safe_fixes(rows, decided),
        run_file(run, "fixes", f"{date.today():%Y-%m-%d}", suffix=".csv"),
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
        disabled=not decided,
        help="What was decided, a row for each file, as CSV",
    )
    listed.download_button(
        "New label list",
        lambda: write_csv(LIST_COLUMNS, new_labels(rows, decided)),
        run_file(run, "labels", f"{date.today():%Y-%m-%d}", suffix=".csv"),
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
        disabled=not decided,
        help="Every picture with its label as decided: whylook run reads it in place of the folder",
    )


def safe_fixes(rows: LabelRows, decided: dict[str, LabelDecision]) -> str:
    """The fix list as CSV of which a spreadsheet takes no text for a formula."""
    found = fix_rows(rows, decided)
    return write_csv(FIX_COLUMNS, [tuple(str(spreadsheet_cell(value)) for value in row) for row in found])


def _undo() -> None:
    try:
        words = store().undo("labels")
    except StoreError as problem:
        st.toast(plain(problem), icon=":material/error:")
        return
    st.toast(f"Taken back: {plain(words)}" if words else "Nothing left to undo.")


guarded(main)
