"""Charts as inline SVG in the page's own colours, so that a report works offline, in light and dark.

Knows: numbers and labels. Does not know: stores, where the chart stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from core.statistics import Interval, format_count, format_percent, format_rate

CELL_NAMES = {
    "correct_high": "right for the right reason",
    "correct_low": "right for the wrong reason",
    "wrong_high": "looked right, answered wrong",
    "wrong_low": "looked away",
}
CELL_COLOURS = {"correct_high": "#009E73", "correct_low": "#E69F00", "wrong_high": "#CC79A7", "wrong_low": "#0072B2"}
"""Okabe-Ito, safe for colour-blind people; the same in the whole of whylook."""


def class_bars(rows: Sequence[tuple[str, Interval]]) -> str:
    """One bar per class: accuracy with its interval, worst first."""
    height, left, width = 26, 170, 420
    parts = []
    for place, (name, value) in enumerate(sorted(rows, key=lambda row: row[1].value)):
        y = place * height
        low, high = (left + width * bound for bound in (value.low, value.high))
        parts.append(
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(_short(name))}</text>'
            f'<rect class="bar" x="{left}" y="{y + 6}" width="{width * value.value:.1f}" height="14"/>'
            f'<path class="whisker" d="M{low:.1f} {y + 13}H{high:.1f}M{low:.1f} {y + 9}v8M{high:.1f} {y + 9}v8"/>'
            f'<text x="{left + width + 12}" y="{y + 17}">{escape(format_rate(value))}</text>'
        )
    return _svg("Accuracy by class with 95% intervals", 820, max(1, len(rows)) * height, parts)


def matrix(rows: Sequence[Mapping[str, Any]]) -> str:
    """Correctness by attention: four cells with their counts, and shares of all pictures that the counted stand for."""
    counts = {row["cell"]: int(row["n"]) for row in rows}
    weights = {row["cell"]: float(row["weight"]) for row in rows}
    total = sum(weights.get(cell, 0.0) for cell in CELL_NAMES)
    parts = []
    for place, (cell, name) in enumerate(CELL_NAMES.items()):
        x, y = (place % 2) * 300, (place // 2) * 84
        share = weights.get(cell, 0.0) / total if total else 0.0
        parts.append(
            f'<rect x="{x}" y="{y}" width="290" height="74" rx="4" class="cell"/>'
            f'<rect x="{x}" y="{y}" width="6" height="74" fill="{CELL_COLOURS[cell]}"/>'
            f'<text x="{x + 20}" y="{y + 32}" class="big">{format_count(counts.get(cell, 0))}</text>'
            f'<text x="{x + 20}" y="{y + 56}">{name} · {format_percent(share)}</text>'
        )
    return _svg("Correctness and attention", 600, 160, parts)


def histogram(rows: Sequence[Mapping[str, Any]]) -> str:
    """Judge scores 0 to 5: the pictures of each cell in its colour, stacked."""
    most = max((sum(row[cell] for cell in CELL_NAMES) for row in rows), default=0) or 1
    width, height = 600 / max(1, len(rows)), 150
    parts = []
    for place, row in enumerate(rows):
        below = 0.0
        for cell in CELL_NAMES:
            tall = height * row[cell] / most
            below += tall
            if tall:
                parts.append(
                    f'<rect x="{place * width:.1f}" y="{height - below:.1f}" width="{width - 3:.1f}" '
                    f'height="{tall:.1f}" fill="{CELL_COLOURS[cell]}"/>'
                )
    parts += [
        f'<text x="{600 * score / 5:.0f}" y="{height + 18}" text-anchor="middle">{score}</text>'
        for score in range(1, 5)
    ]
    parts.append(f'<text x="0" y="{height + 18}">0</text><text x="600" y="{height + 18}" text-anchor="end">5</text>')
    return _svg("Judge scores, in the colours of the cells above", 600, height + 24, parts)


def confusion(rows: Sequence[Mapping[str, Any]], *, most: int = 20) -> str:
    """Labels by predictions as a heatmap of shares; beyond `most` classes only those with most mistakes."""
    names = _confused_classes(rows, most)
    counts = {(row["label"], row["prediction"]): int(row["n"]) for row in rows}
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["label"]] = totals.get(row["label"], 0) + int(row["n"])
    side, left, top = 30, 150, 120
    parts = []
    for y, label in enumerate(names):
        parts.append(f'<text x="{left - 8}" y="{top + y * side + 19}" text-anchor="end">{escape(_short(label))}</text>')
        turn = f"rotate(-50 {left + y * side + 12} {top - 8})"
        parts.append(
            f'<text x="{left + y * side + 12}" y="{top - 8}" transform="{turn}">{escape(_short(label))}</text>'
        )
        for x, answer in enumerate(names):
            count = counts.get((label, answer), 0)
            share = count / totals[label] if totals.get(label) else 0.0
            place = f'x="{left + x * side}" y="{top + y * side}" width="{side - 2}" height="{side - 2}"'
            title = escape(f"{label} called {answer}: {count}")
            parts.append(
                f'<rect class="heat" {place} fill-opacity="{0.04 + 0.96 * share:.3f}"><title>{title}</title></rect>'
            )
    size = len(names) * side
    return _svg("Labels (rows) by predictions (columns)", left + size + 110, top + size, parts)


def _confused_classes(rows: Sequence[Mapping[str, Any]], most: int) -> list[str]:
    mistakes: dict[str, int] = {}
    for row in rows:
        for name in (row["label"], row["prediction"]):
            mistakes[name] = mistakes.get(name, 0) + (int(row["n"]) if row["label"] != row["prediction"] else 0)
    return sorted(sorted(mistakes, key=lambda name: -mistakes[name])[:most])


def _short(name: str, *, length: int = 20) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    """An SVG that scales down with the page; the title is what screen readers say."""
    label = escape(title)
    return (
        f"<figure><figcaption>{label}</figcaption>"
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg></figure>"
    )
