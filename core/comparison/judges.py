"""Judge against judge: do they call the same attention high, and score alike?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from core.comparison.pairs import Pairs
from core.comparison.result import Judges
from core.statistics import UNKNOWN, Interval, mean_interval, wilson

DRAWS = 1000


def judges(pairs: Pairs) -> Judges | None:
    """Two judges over the pictures that both scored for the same answer; None without such, or for one judge."""
    marks = [run.fingerprints.get("judge") for run in (pairs.a, pairs.b)]
    a, b = pairs.side_a, pairs.side_b
    both = np.isfinite(a.score) & np.isfinite(b.score) & (a.answers == b.answers)
    if marks[0] == marks[1] or not both.any():
        return None
    high_a, high_b = a.score[both] >= pairs.a.high_score, b.score[both] >= pairs.b.high_score
    counts = np.bincount(2 * high_a + high_b, minlength=4)  # low and low, low and high, high and low, high and high
    n = int(both.sum())
    varied = n > 2 and np.ptp(a.score[both]) > 0 and np.ptp(b.score[both]) > 0
    return Judges(
        n=n,
        agree=wilson(int(counts[0] + counts[3]), n),
        kappa=kappa(counts),
        rank=float(spearmanr(a.score[both], b.score[both]).statistic) if varied else float("nan"),
        difference=mean_interval(b.score[both] - a.score[both]),
        same_maps=pairs.a.fingerprints.get("attribution") == pairs.b.fingerprints.get("attribution"),
    )


def kappa(counts: NDArray[np.int64], *, seed: int = 0) -> Interval:
    """Cohen's kappa (1960) of four counts (low low, low high, high low, high high) with a bootstrap interval.

    Agreement beyond what the two shares of high would give by chance: 0 none, 1 perfect; not known where both say one
    thing only.
    """
    n = int(counts.sum())
    value = float(_kappa(counts / n))
    if not np.isfinite(value):
        return UNKNOWN
    drawn = _kappa(np.random.default_rng(seed).multinomial(n, counts / n, size=DRAWS) / n)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(min(low, value)), float(max(high, value)), n)


def _kappa(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 4) to (...)."""
    both_low, a_low, a_high, both_high = np.moveaxis(shares, -1, 0)
    high_a, high_b = a_high + both_high, a_low + both_high
    chance = high_a * high_b + (1 - high_a) * (1 - high_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(chance < 1, (both_low + both_high - chance) / (1 - chance), np.nan))
