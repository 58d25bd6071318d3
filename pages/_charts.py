"""Altair charts of the pages: score histogram, probabilities, score distribution, groups.

One accent colour, the four cell colours, grey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from core.cells import CELLS, GREY
from core.queries import Group
from core.statistics import format_duration
from pages._words import visible

_LABEL_WIDTH = 28
_LABEL_LINES = 3
"""Characters of a line, and lines, of what stands beside a bar."""


def accent() -> str:
    """The accent colour of the theme on screen."""
    return "#8288ff" if dark() else "#4338ca"


def dark() -> bool:
    """Whether the theme on screen is dark."""
    return getattr(st.context.theme, "type", None) == "dark"


def _ink() -> str:
    return "#eceef3" if dark() else "#16181d"


def score_histogram(rows: Sequence[Mapping[str, float]]) -> alt.Chart:
    """Judge scores 0 to 5, right above wrong, in the colours of the cells."""
    data = [
        {"low": row["low"], "high": row["high"], "pictures": int(row[kind.name]), "cell": kind.words}
        for row in rows
        for kind in CELLS
    ]
    words = [kind.words for kind in CELLS]
    colours = [kind.colour for kind in CELLS]
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame(data), height=260)
        .mark_bar(stroke=None)
        .encode(
            x=alt.X("low:Q", bin="binned", title="judge score", axis=axis(format="d", values=[0, 1, 2, 3, 4, 5])),
            x2="high:Q",
            y=alt.Y("pictures:Q", title="pictures", axis=axis(tickMinStep=1)),
            color=alt.Color("cell:N", scale=alt.Scale(domain=words, range=colours), legend=None),
            tooltip=["cell:N", alt.Tooltip("low:Q", title="from"), alt.Tooltip("high:Q", title="to"), "pictures:Q"],
        )
    )
    return chart


def axis(**options: Any) -> alt.Axis:
    """An axis that can be read from the back row, in the ink of the theme."""
    ink = _ink()
    return alt.Axis(
        labelFontSize=16, titleFontSize=16, labelColor=ink, titleColor=ink, **{"labelLimit": 220, **options}
    )


def probabilities(top: Sequence[tuple[str, float]], *, label: str | None) -> alt.LayerChart:
    """Best classes as bars; the label's bar in the accent colour."""
    data = pd.DataFrame(
        [{"class": visible(name), "probability": float(p), "is_label": name == label} for name, p in top]
    )
    order = [visible(name) for name, _ in top]
    base = alt.Chart(data).encode(
        y=alt.Y("class:N", sort=order, title=None, axis=axis(ticks=False, domain=False, labelLimit=130))
    )
    bars = base.mark_bar(cornerRadius=3).encode(
        x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1.35]), axis=None),
        color=alt.condition("datum.is_label", alt.value(accent()), alt.value(GREY)),
    )
    text = base.mark_text(align="left", dx=5, fontSize=16, color=_ink()).encode(
        x="probability:Q", text=alt.Text("probability:Q", format=".1%")
    )
    return alt.LayerChart(layer=[bars, text], height=alt.Step(30))


def drops(rows: Sequence[tuple[str, float]]) -> alt.LayerChart:
    """Probability lost by hiding a region, in points: the attended one in the accent colour."""
    data = pd.DataFrame(
        [{"hidden": name, "points": 100 * value, "first": i == 0} for i, (name, value) in enumerate(rows)]
    )
    order = [name for name, _ in rows]
    bare = axis(ticks=False, domain=False)
    base = alt.Chart(data).encode(y=alt.Y("hidden:N", sort=order, title=None, axis=bare))
    least = min(0.0, float(data["points"].min()))
    bars = base.mark_bar(cornerRadius=3).encode(
        x=alt.X("points:Q", scale=alt.Scale(domain=[least, 135]), axis=None),
        color=alt.condition("datum.first", alt.value(accent()), alt.value(GREY)),
    )
    text = base.transform_calculate(at="max(datum.points, 0)").mark_text(align="left", dx=5, fontSize=16, color=_ink())
    return alt.LayerChart(
        layer=[bars, text.encode(x="at:Q", text=alt.Text("points:Q", format=".0f"))], height=alt.Step(34)
    )


def stage_seconds(rows: Sequence[tuple[str, float, float]]) -> alt.LayerChart:
    """Rows of (stage, seconds, share), the first of which limits: bars, its own in the accent colour."""
    data = pd.DataFrame(
        [
            {
                "stage": stage,
                "seconds": spent,
                "words": f"{format_duration(spent)} · {100 * share:.0f}%",
                "first": i == 0,
            }
            for i, (stage, spent, share) in enumerate(rows)
        ]
    )
    order = [stage for stage, _, _ in rows]
    base = alt.Chart(data).encode(y=alt.Y("stage:N", sort=order, title=None, axis=axis(ticks=False, domain=False)))
    bars = base.mark_bar(cornerRadius=3).encode(
        x=alt.X("seconds:Q", scale=alt.Scale(domain=[0, 1.3 * rows[0][1]]), axis=None),
        color=alt.condition("datum.first", alt.value(accent()), alt.value(GREY)),
    )
    text = base.mark_text(align="left", dx=5, fontSize=16, color=_ink()).encode(x="seconds:Q", text="words:N")
    return alt.LayerChart(layer=[bars, text], height=alt.Step(30))


def distribution(shares: Sequence[float]) -> alt.Chart:
    """The judge's probability of each score 0 to 5."""
    data = pd.DataFrame([{"score": index, "probability": float(p)} for index, p in enumerate(shares)])
    chart: alt.Chart = (
        alt.Chart(data, height=190)
        .mark_bar(cornerRadius=3, color=accent())
        .encode(
            x=alt.X("score:O", title="score", axis=axis(labelAngle=0)),
            y=alt.Y("probability:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=axis(format=".0%", tickCount=3)),
            tooltip=["score:O", alt.Tooltip("probability:Q", format=".1%")],
        )
    )
    return chart


def scores_inside_and_rest(inside: Group, rest: Group) -> alt.Chart:
    """Share of judge scores in a slice (accent) and in the rest (grey), each counted for what it stands for."""
    edges = np.linspace(0, 5, 11)
    data = []
    shown = {name: group for name, group in (("slice", inside), ("rest", rest)) if group.scores.size}
    for name, group in shown.items():
        counts, _ = np.histogram(group.scores, bins=edges, weights=group.weights)
        total = float(counts.sum()) or 1.0
        data += [{"group": name, "score": edges[i] + 0.25, "share": n / total} for i, n in enumerate(counts)]
    colour = alt.Color("group:N", title=None, scale=alt.Scale(domain=list(shown), range=[accent(), GREY]))
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame(data), height=300)
        .mark_line(point=alt.OverlayMarkDef(size=60), strokeWidth=3)
        .encode(
            x=alt.X("score:Q", title="judge score", scale=alt.Scale(domain=[0, 5]), axis=axis(tickCount=6)),
            y=alt.Y("share:Q", title="share of pictures", axis=axis(format=".0%", tickCount=4)),
            color=colour,
            tooltip=["group:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return chart


def groups(rows: Sequence[Mapping[str, object]], *, title: str = "accuracy") -> alt.LayerChart:
    """A rate per value of a column with its interval: rows of value, rate, low, high, n."""
    names = _row_names([(visible(row["value"]), f"n {row['n']:,}") for row in rows])
    data = pd.DataFrame([{**row, "value": name} for row, name in zip(rows, names, strict=True)])
    lines = 1 + max(name.count("\n") for name in names)
    labels = axis(ticks=False, labelLimit=300, labelExpr="split(datum.label, '\\n')", labelLineHeight=18)
    base = alt.Chart(data).encode(y=alt.Y("value:N", sort=names, title=None, axis=labels))
    bars = base.mark_bar(color=accent(), opacity=0.8, cornerRadius=3).encode(
        x=alt.X("rate:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=axis(format=".0%", tickCount=6)),
        tooltip=["value:N", "n:Q", alt.Tooltip("rate:Q", format=".1%", title=title)],
    )
    rules = base.mark_rule(color=_ink(), strokeWidth=2).encode(x="low:Q", x2="high:Q")
    return alt.LayerChart(layer=[bars, rules], height=alt.Step(14 + 18 * lines))


def _row_names(rows: Sequence[tuple[str, str]]) -> list[str]:
    """A different name for each row of a chart: its value in lines that fit beside the bars, and its number."""
    names: list[str] = []
    for value, number in rows:
        name = "\n".join(textwrap.wrap(f"{value} · {number}", _LABEL_WIDTH))
        if len(value) > _LABEL_WIDTH * (_LABEL_LINES - 1):
            short = textwrap.wrap(value, _LABEL_WIDTH, max_lines=_LABEL_LINES - 1, placeholder=" …")
            name = "\n".join([*short, number])
        while name in names:
            name += "\u200b"
        names.append(name)
    return names
