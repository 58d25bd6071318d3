"""Charts of a report as SVG, drawn by Altair and vl-convert: offline, without scripts.

Colours are the page's CSS variables, so that charts follow its light and dark colours.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from markupsafe import Markup

from core import queries
from core.cells import CELLS, Cell
from core.report.facts import BEST, WORST, worst_and_best
from core.statistics import Interval, format_count, format_percent, format_rate

_INK, _SOFT, _PAPER, _LINE, _ACCENT = (f"var(--{name})" for name in ("ink", "soft", "paper", "line", "accent"))
_NAME_WIDTH = 160
"""Pixels of an ordinary class name on an axis as vl-convert measures it."""
_NAME_LENGTH = 20
"""Characters of a name on an axis; longer ones end in an ellipsis. Vega would cut an emoji in two, and fail over it."""
_ROOM = 1.25
"""The reader's font may be this much wider than the one that vl-convert measures with."""
_PADDING = {"left": 4, "top": 4, "right": 110, "bottom": 4}


@dataclass(frozen=True)
class Drawing:
    """A chart with its title, which is also what a screen reader says, and its numbers beside the full class names."""

    title: str
    svg: Markup
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class CellCount:
    """One of the four cells: pictures counted, and the share of all pictures that the counted stand for."""

    cell: Cell
    count: str
    share: str


def cell_counts(rows: Sequence[queries.MatrixRow]) -> list[CellCount]:
    """Correctness by attention: the four cells with their counts and weighted shares."""
    counts = {row["cell"]: int(row["n"]) for row in rows}
    weights = {row["cell"]: float(row["weight"]) for row in rows}
    total = sum(weights.get(cell.name, 0.0) for cell in CELLS)
    return [
        CellCount(
            cell,
            format_count(counts.get(cell.name, 0)),
            format_percent(weights.get(cell.name, 0.0) / total if total else 0.0),
        )
        for cell in CELLS
    ]


def class_bars(rows: Sequence[tuple[str, Interval]]) -> Drawing:
    """One bar per class: accuracy with its interval, worst first; of many the worst and the best. The table has all."""
    ordered = sorted(rows, key=lambda row: row[1].value)
    shown, middle = worst_and_best(ordered)
    values = [
        {"label": name, "place": place, "rate": value.value, "low": value.low, "high": value.high}
        | {"text": format_rate(value)}
        for place, (name, value) in enumerate(shown)
    ]
    y = alt.Y("place:O", title=None, axis=_names([str(value["label"]) for value in values]))
    base = alt.Chart({"values": values}).encode(y=y)
    scale = alt.Scale(domain=[0, 1])
    bars = base.mark_bar(color=_ACCENT, height=14).encode(x=alt.X("rate:Q", axis=None, scale=scale))
    whiskers = base.mark_errorbar(ticks={"color": _INK, "size": 8}, color=_INK, thickness=1.5).encode(
        x=alt.X("low:Q", axis=None, scale=scale), x2="high:Q"
    )
    texts = base.mark_text(align="left", color=_INK, fontSize=13).encode(x=alt.value(432), text="text:N")
    chart = alt.layer(bars, whiskers, texts).properties(width=420, height=alt.Step(26))
    table = tuple((name, format_rate(value)) for name, value in ordered)
    title = "Accuracy by class with 95% intervals"
    if middle:
        title += f": the {WORST} worst and the {BEST} best of {len(ordered):,} classes"
    return _drawing(title, chart, ("class", "accuracy"), table)


def histogram(rows: Sequence[Mapping[str, float]]) -> Drawing:
    """Judge scores 0 to 5: the pictures of each cell in its colour, stacked."""
    values = [
        {"low": row["low"], "high": row["high"], "cell": cell.name, "place": place, "n": row[cell.name]}
        for row in rows
        for place, cell in enumerate(CELLS)
        if row[cell.name]
    ]
    colours = alt.Scale(domain=[cell.name for cell in CELLS], range=[cell.colour for cell in CELLS])
    chart = (
        alt.Chart({"values": values})
        .mark_bar()
        .encode(
            x=alt.X("low:Q", bin="binned", title="score", scale=alt.Scale(domain=[0, 5]), axis=alt.Axis(tickCount=5)),
            x2="high:Q",
            y=alt.Y("n:Q", title="pictures", axis=alt.Axis(tickCount=4)),
            color=alt.Color("cell:N", scale=colours, legend=None),
            order="place:Q",
        )
        .properties(width=560, height=150)
    )
    return _drawing("Judge scores, in the colours of the cells above", chart)


def confusion(rows: Sequence[queries.ConfusionRow], *, most: int = 20) -> Drawing:
    """Labels by predictions as a heatmap of shares; beyond `most` classes the most confused."""
    counts = {(row["label"], row["prediction"]): int(row["n"]) for row in rows}
    names = queries.most_confused(counts, most)
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["label"]] = totals.get(row["label"], 0) + int(row["n"])
    values = []
    for y, label in enumerate(names):
        for x, answer in enumerate(names):
            count = counts.get((label, answer), 0)
            share = count / totals[label] if totals.get(label) else 0.0
            text = {"text": format_count(count) if count else "", "colour": _PAPER if share > 0.5 else _INK}
            values.append({"label": y, "answer": x, "opacity": 0.04 + 0.96 * share, **text})
    above = _names(names, orient="top", labelAngle=-50, minExtent=round(0.77 * _ROOM * _NAME_WIDTH))  # sin 50 degrees
    base = alt.Chart({"values": values}).encode(
        x=alt.X("answer:O", title=None, axis=above),
        y=alt.Y("label:O", title=None, axis=_names(names)),
    )
    heat = base.mark_rect(color=_ACCENT, stroke=_PAPER).encode(
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None)
    )
    texts = base.mark_text(fontSize=11).encode(text="text:N", color=alt.Color("colour:N", scale=None, legend=None))
    chart = alt.layer(heat, texts).properties(width=alt.Step(34), height=alt.Step(30))
    shown = [row for row in rows if row["label"] in names and row["prediction"] in names]
    table = tuple((str(row["label"]), str(row["prediction"]), format_count(int(row["n"]))) for row in shown)
    return _drawing("Labels (rows) by predictions (columns)", chart, ("label", "prediction", "pictures"), table)


def _names(names: Sequence[str], **changed: Any) -> alt.Axis:
    """An axis of class names by their place, with room for them."""
    short = [name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…" for name in names]
    labels = {"labelExpr": f"{json.dumps(short)}[datum.value]", "labelLimit": 0}
    return alt.Axis(**{"domain": False, "ticks": False, "minExtent": round(_ROOM * _NAME_WIDTH), **labels, **changed})


def _drawing(
    title: str,
    chart: alt.Chart | alt.LayerChart | alt.FacetChart,
    head: tuple[str, ...] = (),
    rows: tuple[tuple[str, ...], ...] = (),
) -> Drawing:
    """The chart as SVG in the page's colours; the title is what screen readers say."""
    styled = (
        chart.configure(aria=False, background="transparent", font="system-ui,sans-serif", padding=_PADDING)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=_INK, titleColor=_SOFT, gridColor=_LINE, domainColor=_LINE, tickColor=_LINE,
            labelFontSize=13, titleFontSize=13, titleFontWeight="normal",
        )
    )  # fmt: skip
    sink = io.StringIO()
    styled.save(sink, format="svg")
    label = Markup('<svg role="img" aria-label="{}" ').format(title)
    return Drawing(title, Markup(sink.getvalue().replace("<svg ", label, 1)), head, rows)
