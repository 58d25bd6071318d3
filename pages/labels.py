"""Labels: the suspected wrong ones to decide on, duplicates and leaks, and whether confidence means what it says."""

from __future__ import annotations

from datetime import date

import streamlit as st

from core.commands.terminal import spreadsheet_cell
from core.errors import StoreError
from core.labels import Suspect, Suspects, applying, fix_rows, new_labels, suspects, write_csv
from core.labels.fixes import FIX_COLUMNS, LIST_COLUMNS
from core.queries import LabelRows
from core.records import LabelDecision, Verdict
from core.statistics import format_pictures, format_spoken
from pages._calibration import calibration_section
from pages._duplicates import duplicates_section
from pages._frame import empty, guarded, open_page
from pages._pictures import views
from pages._shared import label_rows, of_labels, store
from pages._view import go
from pages._words import file_name, plain, short

AT_ONCE = 12
COLUMNS = 2
LOOK, SEEN = "To look at", "Looked at"
NAME = 22


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
        to_decide(run.name, rows, found, decided)
    duplicates_section(run.name)
    calibration_section(run.name)


def headline(found: Suspects) -> None:
    """How many are suspect, in one sentence, and what the others are."""
    if found.note:
        st.info(found.note, icon=":material/label_off:")
    if not found.flagged:
        return
    share = format_spoken(found.flagged / found.looked_at)
    speak = "the classifier and pictures that look alike speak" if found.with_features else "the classifier speaks"
    st.header(f"{format_pictures(found.flagged)} may have a wrong label")
    st.caption(
        f"{share} of {found.looked_at:,}: {speak} against the label. Most suspicious first; a person decides. Looking "
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
        file_name((run, "fixes", f"{date.today():%Y-%m-%d}"), ".csv"),
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
        file_name((run, "labels", f"{date.today():%Y-%m-%d}"), ".csv"),
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


def to_decide(run: str, rows: LabelRows, found: Suspects, decided: dict[str, LabelDecision]) -> None:
    """The suspects as cards, those that nobody looked at first."""
    done = [item for item in found.listed if item.image_id in decided]
    choices = {LOOK: [item for item in found.listed if item.image_id not in decided], SEEN: done}
    chosen = (
        st.segmented_control(
            "Show", list(choices), default=LOOK, label_visibility="collapsed", key="show", bind="query-params"
        )
        or LOOK
    )
    shown = choices[chosen][:AT_ONCE]
    if not shown:
        words = "Every suspect has been looked at." if chosen == LOOK else "Nothing has been looked at yet."
        st.info(words, icon=":material/done_all:" if chosen == LOOK else ":material/inbox:")
        return
    pictures = views(run, [item.image_id for item in shown])
    for start in range(0, len(shown), COLUMNS):
        for place, item in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            with place.container(border=True, height="stretch"):
                card(run, rows, item, pictures[item.image_id][0], decided.get(item.image_id))
    if len(choices[chosen]) > len(shown):
        st.caption(f"{len(choices[chosen]) - len(shown):,} more follow as these are decided.")


def card(run: str, rows: LabelRows, item: Suspect, shown: dict[str, str], decision: LabelDecision | None) -> None:
    """One suspect: its picture, label and suggestion, the reasons in one line, and what may be said of it."""
    left, right = st.columns([1.1, 1], gap="medium")
    if "src" in shown:
        left.image(shown["src"], width="stretch", alt=f"{item.rank}")
    else:
        left.caption("This picture could not be read.")
    with right:
        st.markdown(f"### {plain(short(item.label, NAME))} → {plain(short(item.suggested, NAME))}")
        st.caption(plain(item.reason or "the classifier speaks against the label"))
        if decision is not None:
            st.markdown(f"**{_said(decision)}**")
        key = item.image_id
        st.button(
            f"It is {plain(short(item.suggested, NAME))}", key=f"wrong-{key}", type="primary", width="stretch",
            icon=":material/edit:", on_click=_decide, args=(item, "wrong", item.suggested),
        )  # fmt: skip
        for verdict, words in (("right", "Label is right"), ("unsure", "Not sure")):
            st.button(words, key=f"{verdict}-{key}", width="stretch", on_click=_decide, args=(item, verdict, None))
        others = [name for name in rows.names if name not in (item.label, item.suggested)]
        if others:
            st.selectbox(
                "Another class", others, index=None, key=f"other-{key}", placeholder="It is another class …",
                label_visibility="collapsed", on_change=_decide_other, args=(item,),
                format_func=lambda name: short(name, 40),
            )  # fmt: skip
    if left.button(f"No. {item.rank}: {plain(short(item.paths[0], 40))}", key=f"open-{key}", type="tertiary"):
        go("sample", run=run, image=item.image_id)


def _said(decision: LabelDecision) -> str:
    if decision.verdict == "wrong":
        return f"Decided: it is {plain(short(decision.should_be or '', NAME))}"
    return "Decided: the label is right" if decision.verdict == "right" else "Not sure"


def _decide(item: Suspect, verdict: Verdict, should_be: str | None) -> None:
    try:
        store().decide_label(item.image_id, verdict, label=item.label, should_be=should_be)
    except StoreError as problem:
        st.toast(plain(problem), icon=":material/error:")


def _decide_other(item: Suspect) -> None:
    chosen = st.session_state.get(f"other-{item.image_id}")
    if chosen:
        _decide(item, "wrong", chosen)


def _undo() -> None:
    try:
        words = store().undo("labels")
    except StoreError as problem:
        st.toast(plain(problem), icon=":material/error:")
        return
    st.toast(f"Taken back: {plain(words)}" if words else "Nothing left to undo.")


guarded(main)
