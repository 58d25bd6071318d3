"""How far to trust the maps of a run: the part of Summary that shows their faithfulness."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable

import altair as alt
import pandas as pd
import streamlit as st

from core import queries
from core.cells import GREY
from core.statistics import Interval, format_mean, format_rate
from pages._charts import accent, axis
from pages._shared import read, store_folder

WORDS = {
    "morf": "most relevant removed first",
    "lerf": "least relevant removed first",
    "insertion": "most relevant shown first",
}


def faithfulness_section(name: str) -> None:
    """The section; with the command to type where nothing was measured yet."""
    st.divider()
    st.header("How far can the maps be trusted?")
    found = read(queries.map_faithfulness, name)
    if found is None:
        st.write(
            "Not measured yet. This command removes pixels in the map's order, on a sample, and watches the prediction:"
        )
        folder = shlex.quote(str(store_folder()))
        st.code(f"whylook faithfulness --store {folder} --run {name}", language="sh")
        return
    measures = {measure.name: measure for measure in found.measures}
    facts: list[tuple[str, Interval, Callable[[Interval], str]]] = [("In the right order", found.ordered, format_rate)]
    titles = (
        ("road", "ROAD"),
        ("energy_inside", "Map on the object"),
        ("randomised", "Similarity with random weights"),
    )
    facts += [(title, measures[key].value, format_mean) for key, title in titles if key in measures]
    for column, (words, value, form) in zip(st.columns(len(facts)), facts, strict=True):
        text, _, rest = form(value).partition(" ")
        column.metric(words, text, rest or None, delta_color="off", delta_arrow="off")
    rows = [(WORDS[key], measures[key].value, measures[key].control) for key in WORDS if key in measures]
    st.altair_chart(curves(rows), width="stretch", key="trust")
    st.caption(
        "Mean probability of the explained class along the way, with its 95% interval; grey: a random order. "
        "In the right order: it falls faster when the most relevant pixels go first than when the least relevant do. "
        "ROAD: half the difference, with imputed pixels. A similarity near 0 means that the map follows the weights. "
        f"n {found.n:,} pictures."
    )


def curves(rows: list[tuple[str, Interval, Interval | None]]) -> alt.LayerChart:
    """One line per measure: value with interval in the accent colour, the random order's as a grey mark."""
    data = pd.DataFrame(
        [
            {"measure": words, "value": value.value, "low": value.low, "high": value.high,
             "random": control.value if control else math.nan}
            for words, value, control in rows
        ]
    )  # fmt: skip
    order = [words for words, *_ in rows]
    base = alt.Chart(data).encode(y=alt.Y("measure:N", sort=order, title=None, axis=axis(ticks=False, labelLimit=320)))
    scale = alt.Scale(domain=[0, 1])
    along = alt.X(
        "value:Q", scale=scale, title="probability of the explained class", axis=axis(format=".0%", tickCount=5)
    )
    bars = base.mark_bar(cornerRadius=3, color=accent(), opacity=0.85, size=18).encode(x=along)
    spread = base.mark_rule(strokeWidth=3, color=GREY).encode(x="low:Q", x2="high:Q")
    random = base.mark_tick(color=GREY, thickness=4, size=30).encode(x="random:Q")
    return alt.LayerChart(layer=[bars, spread, random], height=alt.Step(44))
