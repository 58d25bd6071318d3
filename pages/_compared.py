"""Parts of the page Compare: pictures side by side, where the runs differ, matrices, attention, confidence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.cells import GREY, cell
from core.comparison import Comparison, ConfusionChange, Pair
from core.comparison.words import p_words, points
from core.labels import calibration
from core.queries import literal
from core.statistics import format_pictures, format_rate
from pages._calibration import reliability
from pages._confusion import block_order
from pages._pictures import Shown, views
from pages._shared import of_labels
from pages._view import draw, go, target
from pages._words import visible

SHOWN = 8
CLASSES = 16
"""Classes that a matrix of differences shows; of more, the largest differences are listed."""
LISTED = 50


def pictures_of(found: Comparison, heading: str, pictures: Sequence[Pair], sql: str, *, key: str) -> None:
    """Pictures under both maps, and the way to all of them in Slices."""
    st.header(f"{heading}: {format_pictures(len(pictures))}")
    if not pictures:
        return
    side_by_side(found, pictures[:SHOWN], key=key)
    words = f"All {len(pictures):,} as a slice" if len(pictures) > 1 else "As a slice"
    if st.button(words, key=f"all-{key}", icon=":material/filter_alt:"):
        go("slices", run=found.b.name, sql=sql)


def side_by_side(found: Comparison, pictures: Sequence[Pair], *, key: str) -> None:
    """Cards with where A and where B looked."""
    ids = [item.image_id for item in pictures]
    sides = [(letter, views(run.name, ids, ("overlay",))) for letter, run in (("A", found.a), ("B", found.b))]
    items = []
    for item in pictures:
        shown: list[Shown] = []
        for (letter, made), answer in zip(sides, (item.answer_a, item.answer_b), strict=True):
            view = made[item.image_id][0]
            alt = f"where {letter} looked at {item.path} and said {answer}"
            shown.append({**view, "label": letter, **({"alt": alt} if "src" in view else {})})
        lines = [f"A: {item.answer_a}", f"B: {item.answer_b}"]
        if item.overlap is not None:
            lines.append(f"overlap {item.overlap:.0%}")
        items.append(
            {
                "target": target("sample", run=found.b.name, image=item.image_id),
                "pictures": shown,
                "title": item.label or item.path,
                "lines": lines,
                "colour": GREY,
                "hint": item.path,
            }
        )
    draw("grid", key=key, items=items, size=300)


def differences(found: Comparison) -> None:
    """Classes, slices and confusions in one table; a row leads to its pictures in Slices."""
    listed = found.changes.listed
    if not listed:
        return
    st.header("Where they differ")
    table = pd.DataFrame(
        [
            {
                "where": visible(item.words), "pictures": item.n, "A": item.a, "B": item.b,
                "only A": item.only_a, "only B": item.only_b, "B less A, 95% interval": points(item.difference),
                "p, adjusted": p_words(item.p), "more than chance": "yes" if item.stands else "no",
            }
            for item in listed
        ]
    )  # fmt: skip
    event = st.dataframe(
        table, hide_index=True, width="stretch", height=min(430, 38 + 35 * len(table)), key="differences",
        on_select="rerun", selection_mode="single-row",
    )  # fmt: skip
    picked = event.get("selection", {}).get("rows", [])
    if picked:
        go("slices", run=found.b.name, sql=listed[picked[0]].sql)
    st.caption(
        "Right answers; of a confusion, pictures that are called so. A class or confusion is tested by the pictures "
        f"that just one has right, a slice against all others. {found.changes.asked:,} have enough disagreements to be "
        "asked and share one false discovery rate of 5%. Select a row to see the pictures on which the two disagree."
    )


def matrix_section(found: Comparison) -> None:
    """What moved in the confusion matrix and in correct x attention."""
    if (found.one_classifier or found.accuracy is None) and not found.cells:
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.header("Confusion matrix, B less A")
        if found.confusions:
            confusion_change(found)
        else:
            st.write("The two matrices are the same.")
    with right:
        st.header("Correct and attention")
        if not found.cells:
            st.write("That takes pictures which the judges of both runs scored.")
            return
        rows = [{"pictures": cell(item.cell).words, "A": item.a, "B": item.b} for item in found.cells]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
        st.caption("Pictures that both judges scored; without a budget's weights.")


def confusion_change(found: Comparison) -> None:
    """The cells that differ: as a matrix, or of many classes as a list."""
    if len({name for item in found.confusions for name in (item.label, item.answer)}) > CLASSES:
        wrong = [item for item in found.confusions if item.label != item.answer][:LISTED]
        rows = [
            {"label": visible(item.label), "answer": visible(item.answer), "A": item.a, "B": item.b} for item in wrong
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")
        st.caption("Wrong answers that one of the two gives more often, the largest differences first.")
        return
    moves = {(item.label, item.answer): item for item in found.confusions}
    sizes = {pair: abs(item.b - item.a) for pair, item in moves.items()}
    names = block_order(sorted({name for pair in moves for name in pair}), sizes)
    largest = max(sizes.values())
    rows = [
        {"name": label, "cells": [_moved(found, moves.get((label, answer)), largest) for answer in names]}
        for label in names
    ]
    draw("confusion", key="confusion-change", names=names, rows=rows)
    st.caption("Rows are labels, columns answers: pictures more (+) or fewer (−) with B.")


def _moved(found: Comparison, item: ConfusionChange | None, largest: int) -> dict[str, object] | None:
    if item is None:
        return None
    move = item.b - item.a
    sql = "\n".join(
        [
            "SELECT b.* FROM samples b JOIN samples a ON a.image_id = b.image_id",
            f"WHERE b.run = {literal(found.b.name)} AND a.run = {literal(found.a.name)}",
            f"  AND b.label = {literal(item.label)} AND a.label = b.label AND a.prediction <> b.prediction",
            f"  AND {literal(item.answer)} IN (a.prediction, b.prediction)",
        ]
    )
    return {
        "n": f"{'+' if move > 0 else '−'}{abs(move)}",
        "right": item.label == item.answer,
        "strength": round(abs(move) / largest, 3),
        "hint": f"{item.label} called {item.answer}: {item.a} with A, {item.b} with B",
        "target": target("slices", run=found.b.name, sql=sql),
    }


def attention_section(found: Comparison) -> None:
    """The pictures whose attention moved most, under both maps."""
    told = found.attention
    if told is None or not told.most or told.overlap.value >= 0.999:
        return
    st.header("Attention moved most")
    st.caption(f"Overlap of the attended parts: {format_rate(told.overlap)}; the least overlap first.")
    side_by_side(found, told.most[:SHOWN], key="moved")


def calibration_sections(found: Comparison) -> None:
    """Both reliability diagrams."""
    if found.calibration is None or found.one_classifier:
        return
    st.header("Do they mean their confidence?")
    for column, letter, run, meant in zip(
        st.columns(2, gap="large"), "AB", (found.a, found.b), found.calibration, strict=True
    ):
        column.markdown(f"**{letter}** · calibration error {format_rate(meant.error, n=False)}")
        told = of_labels(run.name, calibration)
        if told is not None:
            column.altair_chart(reliability(told.bins), width="stretch", key=f"reliability-{letter}")
