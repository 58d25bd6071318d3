"""Whether a difference is more than chance: p-values, and which of them stand when many were looked at.

It stands apart from `core.statistics` because scipy's tests take half a second to import and only findings need them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import false_discovery_control, fisher_exact, ttest_ind_from_stats

LEAST_EXPECTED = 10
"""Expected hits from which the normal approximation of two rates is good enough (Cochran 1954 asks for 5)."""


def two_proportion(k1: int, n1: int, k2: int, n2: int) -> float:
    """Two-sided p-value that k1 / n1 and k2 / n2 are one rate. 1.0 with nothing to compare.

    Pooled z test; where fewer than LEAST_EXPECTED hits or misses are expected in the smaller group, Fisher's test.
    """
    if n1 == 0 or n2 == 0:
        return 1.0
    pooled = (k1 + k2) / (n1 + n2)
    if min(n1, n2) * min(pooled, 1 - pooled) < LEAST_EXPECTED:
        return float(fisher_exact([[k1, n1 - k1], [k2, n2 - k2]]).pvalue)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    return float(2 * ndtr(-abs(k1 / n1 - k2 / n2) / error))


def welch(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value of Welch's t-test that two samples have one mean. 1.0 with fewer than two values in either."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if a.size < 2 or b.size < 2:
        return 1.0
    if a.min() == a.max() and b.min() == b.max():
        return 1.0 if a[0] == b[0] else 0.0
    # From means and deviations: the same numbers as ttest_ind in a fortieth of its time.
    summary = (a.mean(), a.std(ddof=1), a.size, b.mean(), b.std(ddof=1), b.size)
    return float(ttest_ind_from_stats(*summary, equal_var=False).pvalue)


def benjamini_hochberg(p_values: Sequence[float], *, rate: float = 0.05, tests: int | None = None) -> list[bool]:
    """Which hypotheses stand when the false discovery rate is held at `rate` (Benjamini and Hochberg 1995).

    `tests` is how many hypotheses there were, where those that looked hopeless are not listed: they still count.

    Raises:
        ValueError: A p-value lies outside [0, 1] or is NaN.
    """
    if not p_values:
        return []
    unlisted = max(0, (tests or 0) - len(p_values))
    adjusted = false_discovery_control([*p_values, *[1.0] * unlisted])
    return [bool(value <= rate) for value in adjusted[: len(p_values)]]
