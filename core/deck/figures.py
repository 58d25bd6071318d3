"""Rows of a query as the words on a slide; the same function writes them, and checks them later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from core.deck.slide import Measure
from core.errors import RequestError
from core.statistics import Interval, format_mean, format_rate, format_spoken, wilson

SELECTED = {
    "count": "n",
    "share": "hits, n",
    "mean": "mean, standard deviation, n",
    "change": "change, low, high, n",
    "single": "value",
}


def told(measure: Measure, row: Sequence[float | int | None]) -> tuple[str, str]:
    """What the back row reads, and the whole truth, of one row: (`81%`, `81.3% [79.6, 83.0] · n 2,000`).

    Raises:
        RequestError: the row is not what the measure reads.
    """
    if len(row) != len(SELECTED[measure].split(", ")):
        raise RequestError(f"a figure of kind {measure} needs a query that selects {SELECTED[measure]}")
    if measure == "single":
        return _brief(_number(row[0])), "one picture"
    n = int(row[-1] or 0)
    if measure == "change":
        value, low, high = (100 * _number(part) for part in row[:3])
        shown, precisely = f"{value:+.2g}", f"{value:+.3g} points [{low:.3g}, {high:.3g}] · n {n:,}"
        return shown.replace("-", "−"), precisely.replace("-", "−")
    if measure == "count":
        return f"{n:,}", f"n {n:,}"
    if measure == "share":
        rate = wilson(int(row[0] or 0), n)
        return _brief(rate.value) if n else "–", format_rate(rate)
    mean, deviation = float(row[0] or 0.0), float(row[1] or 0.0)
    reach = float(stdtrit(n - 1, 0.975)) * deviation / np.sqrt(n) if n > 1 else float("nan")
    return f"{mean:.2g}", format_mean(Interval(mean, mean - reach, mean + reach, n))


def _brief(share: float) -> str:
    """A share as it is spoken, in as few characters as the back row needs."""
    spoken = format_spoken(share)
    return ">99%" if spoken.startswith("nearly") else spoken


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
