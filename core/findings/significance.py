"""Whether a difference is more than chance: p-values, which of them stand when many were looked at, and intervals then.

It stands apart from `core.statistics` because scipy's tests take half a second to import and only findings need them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, ndtr, ndtri

from core.statistics import UNKNOWN, Interval, wilson

RATE = 0.05
"""False discovery rate of a whole report."""
LARGE = 25.0
"""Variance of the number of hits from which the normal approximation is used; below it the test is exact."""
MANY_GROUPS = 40
"""Groups with something to say from which the variance between groups can be estimated."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """Hits and pictures inside and outside, one entry per stratum (class): four arrays of shape (s,)."""

    hits: Counts
    inside: Counts
    rest_hits: Counts
    outside: Counts

    @property
    def rate(self) -> float:
        """Share of hits inside; NaN where nothing is."""
        n = int(self.inside.sum())
        return int(self.hits.sum()) / n if n else math.nan

    @property
    def rest_rate(self) -> float:
        """Share of hits outside, if outside had the strata of inside (direct standardisation); NaN where unknown."""
        return self.standardised()[0]

    def standardised(self) -> tuple[float, float]:
        """Rate outside, standardised to inside's strata, and the number of pictures it is worth."""
        used = (self.inside > 0) & (self.outside > 0)
        weights = np.where(used, self.inside, 0).astype(float)
        if not weights.any():
            return math.nan, 0.0
        weights /= weights.sum()
        n = np.maximum(self.outside, 1)
        rates = self.rest_hits / n
        value = float((weights * rates).sum())
        pooled = (self.rest_hits[used].sum() + 0.5) / (self.outside[used].sum() + 1)
        smooth = (self.rest_hits + pooled) / (n + 1)  # else a stratum without hits would be certain of it
        variance = float((weights**2 * smooth * (1 - smooth) / n).sum())
        shrunk = min(max(value, 0.5 / n.sum()), 1 - 0.5 / n.sum())
        most = float(self.outside[used].sum())  # smoothed rates may make it seem worth more than there are
        return value, min(most, shrunk * (1 - shrunk) / variance) if variance else most

    def intervals(self, *, z: float) -> tuple[Interval, Interval]:
        """Rate inside and standardised rate outside, with Wilson's interval at `z` standard errors."""
        value, worth = self.standardised()
        n = int(self.outside.sum())
        rest = UNKNOWN if not worth else wilson(value * max(1, round(worth)), max(1, round(worth)), z=z)
        own = wilson(int(self.hits.sum()), int(self.inside.sum()), z=z)
        return own, rest if not rest.known else Interval(rest.value, rest.low, rest.high, n)


def cross(inside: NDArray[np.bool_], hits: NDArray[np.bool_], known: NDArray[np.bool_], strata: Counts) -> Table:
    """Counts per stratum of `hits` inside and outside among the `known` pictures. All arrays have shape (n,)."""
    size = int(strata.max(initial=-1)) + 1
    kinds = 4 * strata + 2 * inside + hits
    counts = np.bincount(kinds[known & (strata >= 0)], minlength=4 * size).reshape(size, 4)
    rest, rest_hits, own, own_hits = counts.T
    return Table(own_hits, own + own_hits, rest_hits, rest + rest_hits)


def excess_p(table: Table) -> float:
    """One-sided p-value that there are hits inside are no commoner than chance within strata; 1.0 if nothing compares.

    Cochran-Mantel-Haenszel (Mantel & Haenszel 1959, JNCI 22:719): given both margins of each stratum the hits inside
    are hypergeometric. Exact, by convolving the strata's distributions, while their variance is below LARGE; else
    normal with a continuity correction.
    """
    n1, n0 = table.inside, table.outside
    k = table.hits + table.rest_hits
    total = n1 + n0
    used = (n1 > 0) & (n0 > 0) & (k > 0) & (k < total)
    if not used.any():
        return 1.0
    n1, k, total, hits = n1[used], k[used], total[used], int(table.hits[used].sum())
    expected = float((n1 * k / total).sum())
    variance = float((n1 * (total - n1) * (k / total) * ((total - k) / total) / (total - 1)).sum())
    if hits <= expected:
        return 1.0
    if variance >= LARGE:
        return float(ndtr(-(hits - expected - 0.5) / math.sqrt(variance)))
    return _exact_tail(n1, k, total, hits)


def _exact_tail(n1: Counts, k: Counts, total: Counts, hits: int) -> float:
    """Chance of at least `hits` in a sum of independent hypergeometric numbers."""
    chances = np.ones(1)
    for inside, marked, all_of in zip(n1, k, total, strict=True):
        low, high = max(0, int(inside + marked - all_of)), int(min(inside, marked))
        x = np.arange(low, high + 1)
        logs = _choose(marked, x) + _choose(all_of - marked, inside - x) - _choose(all_of, inside)
        part = np.zeros(high + 1)
        part[low:] = np.exp(logs)
        chances = np.convolve(chances, part)
    return float(min(1.0, chances[hits:].sum()))


def _choose(n: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    n, k = np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def clustered_p(
    inside: NDArray[np.bool_], hits: NDArray[np.bool_], known: NDArray[np.bool_], strata: Counts, groups: Counts
) -> float:
    """As `excess_p`, where pictures of one group belong together: a group counts once."""
    found = clustered(inside, hits, known, strata, groups)
    if isinstance(found, Table):
        return excess_p(found)
    excess, spread = found
    return float(ndtr(-excess / spread)) if spread else 1.0


def clustered(
    inside: NDArray[np.bool_], hits: NDArray[np.bool_], known: NDArray[np.bool_], strata: Counts, groups: Counts
) -> Table | tuple[float, float]:
    """Hits inside above those that chance within strata would give, and the standard error of that between groups.

    Score test of stratified rates with the variance between groups (Liang & Zeger 1986, Biometrika 73:13); with fewer
    than MANY_GROUPS groups that say something the counts of one picture of each group, for an exact test.
    """
    x, h, s, g = inside[known], hits[known], strata[known], groups[known]
    size = int(s.max(initial=-1)) + 1
    n = np.maximum(np.bincount(s, minlength=size), 1)
    off = (x - (np.bincount(s, weights=x, minlength=size) / n)[s]) * (
        h - (np.bincount(s, weights=h, minlength=size) / n)[s]
    )
    between = np.bincount(g, weights=off, minlength=int(g.max(initial=-1)) + 1)
    said = np.bincount(g, weights=x & h, minlength=between.size) > 0
    if int(said.sum()) < MANY_GROUPS:
        first = np.unique(g, return_index=True)[1]
        kept = np.zeros(x.size, dtype=bool)
        kept[first] = True
        return cross(x, h, kept, s)
    return float(between.sum()), math.sqrt(float((between**2).sum()))


def design_effect(hits: NDArray[np.bool_], groups: Counts) -> float:
    """How many times larger the variance of a rate is because pictures come in groups; (n,) each, at least 1.

    Kish (1965), Survey Sampling, section 5.4: squares of the groups' summed deviations by those of the pictures.
    """
    off = hits - hits.mean() if hits.size else np.zeros(0)
    alone = float((off**2).sum())
    return max(1.0, float((np.bincount(groups, weights=off) ** 2).sum()) / alone) if alone else 1.0


def adjusted(p_values: Sequence[float]) -> NDArray[np.float64]:
    """p-values after Benjamini and Hochberg (1995): those at most RATE stand. Shape (m,).

    Raises:
        ValueError: A p-value lies outside [0, 1] or is NaN.
    """
    from scipy.stats import false_discovery_control  # here: slow to load, and few pages need it

    return np.asarray(false_discovery_control(list(p_values))) if len(p_values) else np.zeros(0)


def selected_z(standing: int, tried: int, *, rate: float = RATE) -> float:
    """Standard errors of an interval about what was selected: 95 of 100 listed intervals then hold the truth.

    The false coverage rate of Benjamini & Yekutieli (2005, JASA 100:71): `standing` of `tried` were selected, so each
    interval is made at level 1 - rate x standing / tried.
    """
    return float(ndtri(1 - rate * max(1, standing) / max(1, tried, standing) / 2))
