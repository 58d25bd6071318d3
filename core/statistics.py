"""Intervals, and the one way a number is written.

Knows: counts and arrays. Does not know: pictures, stores, pages. Every rate that whylook shows passes through
here, so that no number appears without its interval and its n. Tests are in `core.findings.significance`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

Z95 = float(ndtri(0.975))
MANY = 20_000
"""Values from which on a mean needs no bootstrap."""
"""Two-sided 95% quantile of the normal distribution."""


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
    By hand, because scipy's `binomtest` takes a thousand times as long and every table calls this for every row.

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


def complement(rate: Interval) -> Interval:
    """The rate of what does not happen from that of what does."""
    return Interval(1 - rate.value, 1 - rate.high, 1 - rate.low, rate.n)


def mean_interval(values: ArrayLike, weights: ArrayLike | None = None, *, draws: int = 1000, seed: int = 0) -> Interval:
    """(Weighted) mean with the 95% percentile interval of a seeded bootstrap, expanded for few values.

    A percentile interval of n values is too short by about sqrt((n - 1) / n) z / t; it is taken at the percentiles that
    make up for that (Hesterberg 2015, The American Statistician 69:371), with n = (sum w)^2 / sum w^2 (Kish 1965).
    Of more than MANY values the mean is normal, and its standard error that of a ratio: no resampling.

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
    if numbers.size > MANY:
        half = Z95 * float(np.sqrt(np.sum((weighting * (numbers - mean)) ** 2)) / weighting.sum())
        return Interval(mean, mean - half, mean + half, int(numbers.size))
    means = _bootstrap_means(numbers, weighting, draws=draws, seed=seed)
    tail = _tail(float(weighting.sum() ** 2 / (weighting**2).sum()))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean, float(min(low, mean)), float(max(high, mean)), int(numbers.size))


def _tail(n: float) -> float:
    """The percentile that stands for 2.5% with n values: Phi(-sqrt(n / (n - 1)) t), t Student's quantile of n - 1."""
    freedom = max(n - 1, 1.0)
    return float(ndtr(-math.sqrt(1 + 1 / freedom) * stdtrit(freedom, 0.975)))


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


def format_count(n: int) -> str:
    """A count with thousands separators: 2,000."""
    return f"{n:,}"


def format_pictures(n: int) -> str:
    """A number of pictures in words: 1 picture, 2,000 pictures."""
    return f"{format_count(n)} picture{'' if n == 1 else 's'}"


def format_duration(seconds: float | None) -> str:
    """A time as people say it: `7 s`, `3 min 20 s`, `2 h 5 min`; `unknown` where there is none."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_percent(rate: float, *, unit: bool = True) -> str:
    """A share at three significant figures: 81.3%, 6.25%, 100%. A dash where unknown."""
    return "–" if not math.isfinite(rate) else format_number(rate * 100) + ("%" if unit else "")


def format_spoken(rate: float) -> str:
    """A share as one says it aloud, at two significant figures: 18%, 0.52%, 97%. A dash where unknown."""
    if not math.isfinite(rate):
        return "–"
    if rate in (0, 1):
        return f"{rate:.0%}"
    percent = rate * 100
    decimals = max(0, 1 - math.floor(math.log10(percent)))
    shown = f"{percent:.{decimals}f}"
    return "nearly 100%" if float(shown) >= 100 else f"{shown}%"


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
