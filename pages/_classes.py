"""The classes of a run on Summary, the worst first: accuracy, score, where it looks, what it is mistaken for."""

from __future__ import annotations

import streamlit as st

from core import queries
from core.deck.tables import of_groups
from core.queries import ClassRow, literal
from core.statistics import Interval, format_rate, wilson
from pages._keep import keep_button
from pages._pictures import heat_picture, scale_picture
from pages._shared import read, store, store_folder
from pages._view import draw, target
from pages._words import slice_sql

CLASS_ROWS = 40
HEAD = [
    ["class", "text"],
    ["looks at", ""],
    ["pictures", "number"],
    ["accuracy, 95% interval", "both"],
    ["score 0–5", "number"],
    ["mostly called", "text"],
]


def classes(name: str) -> None:
    """Per class: n, accuracy with its interval, mean score, mean heatmap, commonest confusion; worst first."""
    rows = [row for row in read(queries.per_class, name) if row["label"] is not None]
    if not rows:
        return
    st.divider()
    st.header("Class by class")
    rates = {row["label"]: wilson(row["correct"], row["n"]) for row in rows}
    rows.sort(key=lambda row: (rates[row["label"]].value, row["label"]))
    everything = len(rows) <= CLASS_ROWS or st.toggle(
        f"Show all {len(rows):,} classes", key="classes_all", bind="query-params"
    )
    shown = rows if everything else rows[:CLASS_ROWS]
    heat = {row["label"]: _heat(name, row["label"]) if len(shown) <= 200 else None for row in shown}
    draw("classes", key="classes", head=HEAD, rows=[_class_row(name, row, rates, heat[row["label"]]) for row in shown])
    keep_button(f"{name}-classes", lambda ask: of_groups(ask, name, "label"))
    if any(heat.values()):
        legend, words = st.columns([1, 4], vertical_alignment="center")
        legend.image(scale_picture(), width=160, alt="the scale from no attention to all attention")
        words.caption("Mean heatmap, on one scale: from no attention to all attention. Worst class first.")


def _heat(name: str, label: str) -> dict[str, str] | None:
    return heat_picture(str(store_folder()), store().generation(), name, label)


def _class_row(name: str, row: ClassRow, rates: dict[str, Interval], heat: dict[str, str] | None) -> dict[str, object]:
    label, rate = row["label"], rates[row["label"]]
    here = f"label = {literal(label)}"
    confused = row["confused_with"]
    score = row["mean_score"]
    return {
        "name": label,
        "target": target("slices", run=name, sql=slice_sql(name, here)),
        "heat": heat,
        "n": f"{row['n']:,}",
        "bar": {"value": rate.value, "low": rate.low, "high": rate.high} if rate.n else None,
        "accuracy": format_rate(rate, n=False),
        "score": "–" if score is None else f"{score:.2f}",
        "confused": {
            "name": confused,
            "n": f"{row['confused_n']:,}",
            "target": target("slices", run=name, sql=slice_sql(name, here, f"prediction = {literal(confused)}")),
        }
        if confused
        else None,
    }
