"""Is the classifier right as often as it is sure? The part of Labels that shows calibration."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from core.cells import GREY
from core.labels import Bin, Calibration, calibration
from core.statistics import Interval, format_number, format_percent, format_rate, format_spoken
from pages._charts import accent, axis
from pages._shared import of_labels
from pages._words import visible

STRONG = 0.05
"""A gap that is worth a sentence."""


def calibration_section(run: str) -> None:
    """The section: a sentence, the numbers, the reliability diagram and the classes."""
    st.divider()
    st.header("Is it right as often as it is sure?")
    found = of_labels(run, calibration)
    if found is None:
        st.write("That takes 50 labelled pictures and two classes or more.")
        return
    st.write(_sentence(found))
    mend = found.mend
    facts = [
        ("Sure, on average", format_percent(found.confidence), None),
        ("Right, of all", *_parts(found.right)),
        ("How far the two differ", *_parts(found.error)),
        ("Temperature to mend it", format_number(mend.temperature) if mend.helps else "none helps", _mended(found)),
    ]
    for column, (words, value, under) in zip(st.columns(len(facts)), facts, strict=True):
        column.metric(words, value, under, delta_color="off", delta_arrow="off")
    left, right = st.columns([1, 1], gap="large")
    left.altair_chart(reliability(found.bins), width="stretch", key="reliability")
    left.caption(
        "Each point stands for as many pictures: how sure it is of them, and how often it is right, with the 95% "
        "interval. On the line it is right as often as it is sure; below the line it is too sure."
    )
    with right:
        _classes(found)
    st.caption(
        "How far the two differ: calibration error, the root mean square over the points of the chart, without what "
        "chance adds (Kumar et al. 2019). Temperature: what its logits are divided by so that it is as sure as it is "
        "right; fitted on one half of the pictures, the difference shown is that of the other half. Gap: points by "
        "which it is surer than right. Wrong labels count as mistakes here, too."
    )


def _sentence(found: Calibration) -> str:
    gap = found.confidence - found.right.value
    said, real = format_spoken(found.confidence), format_spoken(found.right.value)
    if abs(gap) < STRONG and found.error.value < STRONG:
        return f"Yes: it is {said} sure on average and {real} right."
    if abs(gap) < STRONG:
        return f"On average yes ({said} sure, {real} right), but not at every confidence."
    return (
        f"No: it is {said} sure on average, but only {real} right."
        if gap > 0
        else f"It could be surer: it is {said} sure on average, and {real} right."
    )


def _parts(value: Interval) -> tuple[str, str | None]:
    shown, _, rest = format_rate(value).partition(" ")
    return shown, rest or None


def _mended(found: Calibration) -> str:
    before, after = found.mend.error_before, found.mend.error_after
    if not before.known:
        return f"n {found.mend.n:,}"
    return f"difference {format_percent(before.value)} → {format_percent(after.value)}"


def reliability(bins: Sequence[Bin]) -> alt.LayerChart:
    """Confidence against the share of right answers, with intervals, beside the line on which they are equal."""
    data = pd.DataFrame(
        [
            {"confidence": item.confidence, "right": item.right.value, "low": item.right.low, "high": item.right.high}
            | {"n": item.right.n}
            for item in bins
        ]
    )
    unit = alt.Scale(domain=[0, 1])
    line = alt.Chart(pd.DataFrame({"confidence": [0, 1], "right": [0, 1]})).mark_line(
        color=GREY, strokeDash=[6, 4], strokeWidth=2
    )
    base = alt.Chart(data).encode(
        x=alt.X("confidence:Q", title="confidence", scale=unit, axis=axis(format=".0%", tickCount=5)),
        tooltip=[
            alt.Tooltip("confidence:Q", format=".1%"),
            alt.Tooltip("right:Q", format=".1%"),
            alt.Tooltip("n:Q", title="pictures"),
        ],
    )
    share = alt.Y("right:Q", title="right", scale=unit, axis=axis(format=".0%", tickCount=5))
    rules = base.mark_rule(color=accent(), strokeWidth=2, opacity=0.7).encode(
        y=alt.Y("low:Q", title="right"), y2="high:Q"
    )
    points = base.mark_circle(color=accent(), size=110, opacity=1).encode(y=share)
    return alt.LayerChart(layer=[line.encode(x=alt.X("confidence:Q"), y=alt.Y("right:Q")), rules, points], height=380)


def _classes(found: Calibration) -> None:
    """Answers by class, those whose gap concerns most pictures first."""
    table = pd.DataFrame(
        [
            {
                "called": visible(item.name),
                "n": item.right.n,
                "sure": format_percent(item.confidence),
                "right, 95% interval": format_rate(item.right, n=False),
                "gap": f"{100 * item.gap:+.1f}",
            }
            for item in found.classes
        ]
    )
    right = {name: st.column_config.TextColumn(alignment="right") for name in table.columns[2:]}
    height = min(430, 38 + 35 * len(table))
    st.dataframe(table, hide_index=True, height=height, width="stretch", column_config=right)
