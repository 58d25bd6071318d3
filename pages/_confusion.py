"""The confusion matrix: which classes stand in it, in which order, and what each cell says and leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.queries import ConfusionRow, Connection, confusion, literal, most_confused
from core.statistics import format_pictures
from pages._view import target
from pages._words import slice_sql

MOST = 24
"""Classes that a projector still shows; of more, those of the largest confusions."""
STRONG = 0.15
"""Share of a label from which an error may have the full colour."""
Counts = Mapping[tuple[str, str], int]


def block_order(names: Sequence[str], counts: Counts) -> list[str]:
    """Classes in an order that puts those confused with each other side by side (Fiedler vector)."""
    if len(names) < 3:
        return list(names)
    places = {name: index for index, name in enumerate(names)}
    weights = np.zeros((len(names), len(names)))
    for (label, prediction), n in counts.items():
        if label != prediction and label in places and prediction in places:
            weights[places[label], places[prediction]] += n
    weights = weights + weights.T + 1e-6
    np.fill_diagonal(weights, 0)
    _, vectors = np.linalg.eigh(np.diag(weights.sum(axis=1)) - weights)
    return [names[index] for index in np.argsort(vectors[:, 1], kind="stable")]


def known_counts(rows: Sequence[ConfusionRow]) -> dict[tuple[str, str], int]:
    """Pictures per (label, prediction), those with neither left out."""
    known = (row for row in rows if row["label"] is not None and row["prediction"] is not None)
    return {(row["label"], row["prediction"]): int(row["n"]) for row in known}


def shown_classes(counts: Counts, most: int = MOST) -> tuple[list[str], int]:
    """The classes with the largest confusions in block order, and how many are left out."""
    kept = most_confused(counts, most)
    return block_order(kept, counts), len({name for pair in counts for name in pair}) - len(kept)


def confusion_rows(run: str, counts: Counts, names: Sequence[str]) -> list[dict[str, object]]:
    """One row per label, one cell per prediction: its number, its strength from 0 to 1 and where a click leads.

    An error's strength is its share of the label against the largest such share, or against `STRONG` where that is
    more, so that rare errors look rare; a right answer's is its share.
    """
    totals: dict[str, int] = {}
    for (label, _), n in counts.items():
        totals[label] = totals.get(label, 0) + n
    wrong = [n / totals[label] for (label, other), n in counts.items() if label != other]
    peak = max(STRONG, *wrong) if wrong else STRONG
    rows: list[dict[str, object]] = []
    for label in names:
        cells: list[dict[str, object] | None] = []
        for prediction in names:
            n = counts.get((label, prediction), 0)
            cells.append(_cell(run, label, prediction, n, n / totals[label], peak) if n else None)
        rows.append({"name": label, "cells": cells})
    return rows


@dataclass(frozen=True)
class Confusion:
    """The matrix as it is drawn: its classes, how many are left out, and its rows."""

    names: list[str]
    left_out: int
    rows: list[dict[str, object]]


def confusion_of(con: Connection, run: str) -> Confusion | None:
    """The matrix of a run; None where no picture has both label and prediction."""
    counts = known_counts(confusion(con, run))
    if not counts:
        return None
    names, left_out = shown_classes(counts)
    return Confusion(names, left_out, confusion_rows(run, counts, names))


def _cell(run: str, label: str, prediction: str, n: int, share: float, peak: float) -> dict[str, object]:
    right = label == prediction
    sql = slice_sql(run, f"label = {literal(label)}", f"prediction = {literal(prediction)}")
    return {
        "n": f"{n}" if n < 1000 else f"{n / 1000:.2g}k" if n < 10_000 else f"{n / 1000:.0f}k",
        "right": right,
        "strength": round(share if right else share / peak, 3),
        "hint": f"{label} called {prediction}: {format_pictures(n)}, {share:.1%} of {label}",
        "target": target("slices", run=run, sql=sql),
    }
