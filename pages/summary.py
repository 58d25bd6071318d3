"""Summary: accuracy, causes and findings, the correct x attention matrix, confusions and classes of one run."""

from __future__ import annotations

import streamlit as st

from core import queries
from core.cells import CELLS, NOT_JUDGED
from core.deck.tables import of_confusion, of_matrix
from core.queries import MatrixRow, RunCounts
from core.records import Run
from core.statistics import format_rate, format_spoken, wilson
from pages import _charts
from pages._causes import causes
from pages._classes import classes
from pages._confusion import Confusion, confusion_of
from pages._faithfulness import faithfulness_section
from pages._findings import summarise
from pages._frame import empty, guarded, open_page
from pages._keep import keep_button
from pages._pictures import heat_picture, scale_legend, views
from pages._report_card import judge_card
from pages._shared import read, store, store_folder
from pages._view import draw, go, target
from pages._words import cell_condition, slice_sql

WHAT_IT_LISTS = (
    "Failures, shortcut suspicions, confusions, weak classes and slices, suspected wrong labels. At most one in twenty "
    "of what is listed is chance, over the whole report."
)
SIDE_BY_SIDE = 12  # with more classes the confusion matrix takes the whole width


def main() -> None:
    """Draws the page."""
    run = open_page("Summary")
    if run is None:
        return
    st.title("Summary")
    name = run.name
    counts = read(queries.run_counts, name)
    if counts.pictures == 0:
        empty("This run has no pictures yet.", action="Watch it on Runs", page="runs", run=name)
        return
    matrix = read(queries.matrix, name)
    asked = st.query_params.get("findings") == "1"
    headline(name, counts, asked=asked)
    if asked:
        summarise(name)
        st.divider()
    causes(name)
    st.divider()
    confused = read(confusion_of, name)
    wide = confused is not None and len(confused.names) > SIDE_BY_SIDE
    left, right = (st.container(), st.container()) if wide else st.columns(2, gap="large")
    with left:
        attention_matrix(run, matrix)
    with right:
        confusion(name, confused)
    classes(name)
    if counts.judged:
        scores(name)
    if counts.judged or counts.abstained:
        judge_card(run)
    faithfulness_section(name)


def headline(name: str, counts: RunCounts, *, asked: bool) -> None:
    """The numbers that the back row should read, each with its interval and n, and only what its measure carries.

    Beside them the act that matters, until the findings are there.
    """
    facts = [("Accuracy", wilson(counts.correct, counts.labelled), "")]
    found = read(queries.reasons, name)
    if found is not None and found.measured and (sure := found.right_reason.corrected) is not None:
        facts.append(("Right for the right reason", sure, f"Of the judged pictures. {_two_claims(found.right_reason)}"))
    *columns, act = st.columns([1, 1.3, 1.2], vertical_alignment="center")
    if not asked and act.button(
        "Summarise this dataset", type="primary", icon=":material/bolt:", width="stretch", help=WHAT_IT_LISTS
    ):
        st.query_params["findings"] = "1"
        st.rerun()
    for column, (words, rate, help_) in zip(columns, facts, strict=False):
        shown, under = (format_spoken(rate.value), format_rate(rate).partition(" ")[2]) if rate.n else ("–", None)
        column.metric(words, shown, under, delta_color="off", delta_arrow="off", help=help_ or None)
    if found is not None and found.measured and found.right_reason.corrected is None:
        st.caption(
            "How many are right for the right reason is not shown: it rests on the judge, and the judge's report card "
            "does not carry it. What was counted stands in the cells below."
        )


def _two_claims(share: queries.Share) -> str:
    return (
        "Two claims: the judge says whether the attended part supports the answer, removing that part shows whether "
        "the answer rests on it. Corrected for the judge's errors by its report card (Rogan-Gladen); as counted "
        f"{format_rate(share.counted, n=False)}."
    )


def attention_matrix(run: Run, matrix: list[MatrixRow]) -> None:
    """Correct x attention, every cell with its pictures; a click opens them in Slices."""
    st.header("Does the attended part support the answer?")
    name = run.name
    counted = {row["cell"]: int(row["n"]) for row in matrix}
    judged = sum(n for kind, n in counted.items() if kind is not None)
    left_out = counted.get(None, 0)
    if not judged and read(queries.run_counts, name).judged:
        st.info("These pictures have no labels, so right and wrong are unknown.", icon=":material/label_off:")
        return
    if not judged:
        st.info("No judge looked at this run, so attention has no score.", icon=":material/visibility_off:")
        st.write(
            "A judge is a vision-language model that says what the classifier looked at. Add one on the Runs page."
        )
        if st.button("Run it again with a judge"):
            go("runs", run=name, new="1")
        return
    drawn = []
    shares, sampled = read(queries.cell_shares, name)
    for kind in CELLS:
        n = counted.get(kind.name, 0)
        rows = read(queries.pictures, name, cell=kind.name, order="confidence", descending=True, limit=6) if n else []
        shown = views(name, [row["image_id"] for row in rows])
        strip = [shown[row["image_id"]][0] for row in rows]
        query = slice_sql(name, cell_condition(kind.name))
        drawn.append(
            {
                "words": kind.words,
                "colour": kind.colour,
                "n": f"{n:,}",
                "share": format_rate(shares[kind.name], n=False),
                "pictures": strip,
                "target": target("slices", run=name, sql=query) if n else None,
                "hint": f"{kind.words}: {n:,} of {judged:,} judged pictures",
            }
        )
    draw("matrix", key="matrix", cells=drawn)
    with st.container(horizontal=True, vertical_alignment="center"):
        words = f"n {judged:,} judged · support: a score of {run.high_score:g} or more out of 5"
        if sampled:
            words += " · a sample was judged: shares are of all pictures, re-weighted"
        st.caption(words, width="content")
        if left_out and st.button(f"{left_out:,} {NOT_JUDGED.words}", type="tertiary"):
            go("slices", run=name, sql=slice_sql(name, cell_condition(None)))
        keep_button(f"{name}-matrix", lambda ask: of_matrix(ask, name))


def confusion(name: str, drawn: Confusion | None) -> None:
    """Labels x predictions; a click opens the pictures of that cell in Slices."""
    st.header("Which classes are mixed up?")
    if drawn is None:
        st.info("These pictures have no labels, so nothing can be confused.", icon=":material/label_off:")
        return
    names, left_out = drawn.names, drawn.left_out
    draw("confusion", key="confusion", names=names, rows=drawn.rows)
    st.caption(
        "Rows are labels, columns predictions. Errors in colour, by their share of the label; right answers in grey."
        + (f" Shown are the classes confused most; {left_out:,} are left out." if left_out else "")
    )
    keep_button(f"{name}-confusion", lambda ask: of_confusion(ask, name, names))


def scores(name: str) -> None:
    """Histogram of judge scores in the colours of the cells, and the mean heatmap of the whole run."""
    st.divider()
    left, right = st.columns([2, 1], gap="large")
    with left:
        st.header("How sure is the judge that it looked at the right thing?")
        st.altair_chart(_charts.score_histogram(read(queries.histogram, name)), width="stretch", key="scores")
        draw("legend", key="legend", items=[{"words": kind.words, "colour": kind.colour} for kind in CELLS])
    with right:
        st.header("Where it looks on average")
        heat = heat_picture(str(store_folder()), store().generation(), name, None, 320)
        if heat:
            st.image(heat["src"], width="stretch", alt="mean heatmap of the run")
            scale_legend()
        else:
            st.caption("No map in this run.")


guarded(main)
