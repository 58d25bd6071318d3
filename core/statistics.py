"""Intervals, tests and the one way a number is written.

Knows: counts and arrays. Does not know: pictures, stores, pages. Every rate that whylook shows passes through
here, so that no number appears without its interval and its n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""
LEAST_EXPECTED = 10
"""Expected hits from which the normal approximation of two rates is good enough (Cochran 1954 asks for 5)."""


@dataclass(frozen=True)
class Interval:
    """A value, its 95% interval and the number of pictures behind it. With n = 0 the three numbers are NaN."""

    value: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """False when there is nothing behind it (n = 0)."""
        return self.n > 0 and math.isfinite(self.value)


UNKNOWN = Interval(math.nan, math.nan, math.nan, 0)


def wilson(k: float, n: int, *, z: float = Z95) -> Interval:
    """Rate k / n with Wilson's score interval (Wilson 1927, JASA 22:209).

    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2).

    Raises:
        ValueError: k is not between 0 and n.
    """
    if n == 0:
        return UNKNOWN
    if not 0 <= k <= n:
        raise ValueError(f"k must lie between 0 and n, got k={k}, n={n}")
    rate = k / n
    denominator = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / denominator
    half = z / denominator * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At k = 0 and k = n the interval touches the border exactly; rounding must not push it past.
    low = 0.0 if k == 0 else max(0.0, centre - half)
    high = 1.0 if k == n else min(1.0, centre + half)
    return Interval(rate, low, high, n)


def mean_interval(values: ArrayLike, weights: ArrayLike | None = None, *, draws: int = 1000, seed: int = 0) -> Interval:
    """(Weighted) mean with the 95% percentile interval of a seeded bootstrap, expanded for few values.

    A percentile interval of n values is too short by about sqrt((n - 1) / n) z / t; it is taken at the percentiles that
    make up for that (Hesterberg 2015, The American Statistician 69:371), with n = (sum w)^2 / sum w^2 (Kish 1965).

    Args:
        values: Shape (n,); NaN and None values are left out, with their weights.
        weights: Shape (n,), inverse sampling probabilities; None means all alike.
        draws: Bootstrap resamples.
        seed: Seed of the resampling: the same numbers always give the same interval.

    Raises:
        ValueError: The two lengths differ, or a weight is negative.
    """
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    weighting = np.ones_like(numbers) if weights is None else np.asarray(weights, dtype=np.float64).reshape(-1)
    if numbers.shape != weighting.shape:
        raise ValueError(f"values and weights must have one length, got {numbers.size} and {weighting.size}")
    if bool(np.any(weighting < 0)):
        raise ValueError("weights must not be negative")
    kept = np.isfinite(numbers) & np.isfinite(weighting) & (weighting > 0)
    numbers, weighting = numbers[kept], weighting[kept]
    if numbers.size == 0:
        return UNKNOWN
    mean = float(np.average(numbers, weights=weighting))
    if numbers.size == 1:
        return Interval(mean, mean, mean, 1)
    means = _bootstrap_means(numbers, weighting, draws=draws, seed=seed)
    tail = _tail(float(weighting.sum() ** 2 / (weighting**2).sum()))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(min(low, mean)), float(max(high, mean)), int(numbers.size))


def _tail(n: float) -> float:
    """The percentile that stands for 2.5% with n values: Phi(-sqrt(n / (n - 1)) t), t Student's quantile of n - 1."""
    freedom = max(n - 1, 1.0)
    # Student's quantile by the first terms of its expansion (Abramowitz & Stegun 26.7.5)
    t = Z95 + (Z95**3 + Z95) / (4 * freedom) + (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / (96 * freedom**2)
    return 0.5 * math.erfc(math.sqrt(1 + 1 / freedom) * t / math.sqrt(2))


def _bootstrap_means(
    numbers: NDArray[np.float64], weights: NDArray[np.float64], *, draws: int, seed: int
) -> NDArray[np.float64]:
    """Means of `draws` resamples, in blocks so that memory stays below about 16 MB whatever n is. Shape (draws,)."""
    generator = np.random.default_rng(seed)
    block = max(1, min(draws, 1_000_000 // numbers.size))
    parts: list[NDArray[np.float64]] = []
    for start in range(0, draws, block):
        index = generator.integers(0, numbers.size, size=(min(block, draws - start), numbers.size))  # (block, n)
        parts.append((numbers[index] * weights[index]).sum(axis=1) / weights[index].sum(axis=1))
    return np.concatenate(parts)


def auroc(positive: ArrayLike, negative: ArrayLike, *, draws: int = 1000, seed: int = 0) -> Interval:
    """Chance that a true score is above a control's, ties counting half, with a bootstrap interval over pictures.

    AUROC = mean over pairs of [p > q] + [p = q] / 2 (Mann & Whitney 1947; Hanley & McNeil 1982, Radiology 143:29).

    Args:
        positive: Shape (n,), the true score of each picture; NaN where there is none.
        negative: Shape (n, k), scores of the k controls made of the same picture; NaN where there is none.
        draws: Bootstrap resamples of the pictures, each with all its scores.
        seed: Seed of the resampling.
    """
    true, control = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    known = np.isfinite(true)[:, None, None] & np.isfinite(control)[None]  # (n, n, k)
    order = np.sign(true[:, None, None] - control[None], where=known, out=np.zeros(known.shape))
    wins = np.where(known, (order + 1) / 2, 0.0).sum(axis=2)  # (n, n)
    pairs = known.sum(axis=2).astype(np.float64)
    if pairs.sum() == 0:
        return UNKNOWN
    chosen = np.random.default_rng(seed).multinomial(true.size, np.full(true.size, 1 / true.size), size=draws)
    totals = np.einsum("dn,nm,dm->d", chosen, pairs, chosen, optimize=True)
    drawn = np.einsum("dn,nm,dm->d", chosen, wins, chosen, optimize=True)[totals > 0] / totals[totals > 0]
    value = float(wins.sum() / pairs.sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value, float(min(low, value)), float(max(high, value)), int(np.isfinite(true).sum()))


def weighted_rate(hits: ArrayLike, weights: ArrayLike | None = None, *, seed: int = 0) -> Interval:
    """Rate of true values: Wilson when every weight is alike, else the weighted bootstrap.

    Where all values are alike a bootstrap knows no doubt: there it is Wilson with n = (sum w)^2 / sum w^2 (Kish 1965).
    """
    flags = np.asarray(hits, dtype=bool).reshape(-1)
    if weights is None:
        return wilson(int(flags.sum()), int(flags.size))
    weighting = np.asarray(weights, dtype=np.float64).reshape(-1)
    if flags.size == weighting.size and (flags.size == 0 or bool(np.all(weighting == weighting[0]))):
        return wilson(int(flags.sum()), int(flags.size))
    if flags.size == weighting.size and flags.min() == flags.max():
        worth = max(1, int(weighting.sum() ** 2 / (weighting**2).sum()))
        return replace(wilson(worth * int(flags[0]), worth), n=int(flags.size))
    return mean_interval(flags.astype(np.float64), weighting, seed=seed)


def two_proportion(k1: int, n1: int, k2: int, n2: int) -> float:
    """Two-sided p-value that k1 / n1 and k2 / n2 are one rate. 1.0 with nothing to compare.

    Pooled z test; where fewer than LEAST_EXPECTED hits or misses are expected in the smaller group, Fisher's test.
    """
    if n1 == 0 or n2 == 0:
        return 1.0
    pooled = (k1 + k2) / (n1 + n2)
    if min(n1, n2) * min(pooled, 1 - pooled) < LEAST_EXPECTED:
        return _fisher(k1, n1, k2, n2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    # erfc keeps the tail exact where 2 * (1 - cdf) would round to 0 or to negative.
    return math.erfc(abs(k1 / n1 - k2 / n2) / error / math.sqrt(2))


def _fisher(k1: int, n1: int, k2: int, n2: int) -> float:
    """Fisher's exact test: the probability of all tables with these margins that are no likelier than this one."""
    hits = k1 + k2
    low, high = max(0, hits - n2), min(n1, hits)
    tables = np.array([_log_choose(n1, k) + _log_choose(n2, hits - k) for k in range(low, high + 1)])
    chances = np.exp(tables - tables.max())
    observed = chances[k1 - low]
    return min(1.0, float(chances[chances <= observed * (1 + 1e-7)].sum() / chances.sum()))


def _log_choose(n: int, k: int) -> float:
    """Logarithm of n over k."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def welch(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided p-value that two samples have one mean (Welch's statistic, normal tail; meant for n of 20 and more)."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if a.size < 2 or b.size < 2:
        return 1.0
    error = math.sqrt(float(a.var(ddof=1)) / a.size + float(b.var(ddof=1)) / b.size)
    difference = abs(float(a.mean() - b.mean()))
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(difference / error / math.sqrt(2))


def benjamini_hochberg(p_values: Sequence[float], *, rate: float = 0.05, tests: int | None = None) -> list[bool]:
    """Which hypotheses stand when the false discovery rate is held at `rate` (Benjamini and Hochberg 1995).

    `tests` is how many hypotheses there were, where those that looked hopeless are not listed: they still count.

    Raises:
        ValueError: A p-value lies outside [0, 1] or is NaN.
    """
    if any(not 0.0 <= p <= 1.0 for p in p_values):
        raise ValueError("p-values must lie in [0, 1]")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    last = 0
    for rank, index in enumerate(order, start=1):
        if p_values[index] <= rate * rank / max(tests or 0, len(p_values)):
            last = rank
    kept = set(order[:last])
    return [index in kept for index in range(len(p_values))]


def format_count(n: int) -> str:
    """A count with thousands separators: 2,000."""
    return f"{n:,}"


def format_pictures(n: int) -> str:
    """A number of pictures in words: 1 picture, 2,000 pictures."""
    return f"{format_count(n)} picture{'' if n == 1 else 's'}"


def format_percent(rate: float, *, unit: bool = True) -> str:
    """A share at three significant figures: 81.3%, 6.25%, 100%. A dash where unknown."""
    return "–" if not math.isfinite(rate) else format_number(rate * 100) + ("%" if unit else "")


def format_number(value: float) -> str:
    """At most three significant figures, no exponent: 0.0712, 3.14, 81.3, 12,300. A dash where unknown."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, 2 - magnitude)
    magnitude = math.floor(math.log10(abs(rounded)))  # 99.96 rounds to 100
    decimals = max(0, 2 - magnitude)
    return f"{rounded:,.{decimals}f}"


def format_rate(interval: Interval, *, n: bool = True) -> str:
    """A rate as everywhere in whylook: `81.3% [79.6, 83.0] · n 2,000`."""
    if not interval.known:
        return "not known · n 0" if n else "not known"
    bounds = f"[{format_percent(interval.low, unit=False)}, {format_percent(interval.high, unit=False)}]"
    text = f"{format_percent(interval.value)} {bounds}"
    return f"{text} · n {format_count(interval.n)}" if n else text


def format_mean(interval: Interval, *, n: bool = True) -> str:
    """A mean as everywhere in whylook: `3.14 [2.90, 3.38] · n 120`."""
    if not interval.known:
        return "not known · n 0" if n else "not known"
    text = f"{format_number(interval.value)} [{format_number(interval.low)}, {format_number(interval.high)}]"
    return f"{text} · n {format_count(interval.n)}" if n else text
