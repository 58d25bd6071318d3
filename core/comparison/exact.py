"""Tests and intervals of paired answers: which of two runs is right more often, on the very same pictures.

Knows: arrays of -1, 0 and 1 (only A, neither or both, only B) and groups. Does not know: runs, pictures.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from core.statistics import UNKNOWN, Z95, Interval

Signs = NDArray[np.int64]
LEAST = 6
"""Disagreements below which even all of them on one side are chance: 2 / 2^6 = 0.031, 2 / 2^5 = 0.063."""
LEAST_CLASSES = 8
"""Classes with LEAST disagreements that are needed to tell how much classes vary."""


def by_group(change: Signs, groups: Signs) -> Signs:
    """The sum of the changes of each group that has any, shape (groups,)."""
    sums = np.bincount(groups, weights=change, minlength=int(groups.max(initial=-1)) + 1)
    return np.asarray(sums[sums != 0], dtype=np.int64)


def flip_p(changes: Signs) -> float:
    """Two-sided p-value that the sum of the changes is as far from 0, where each might as well have been reversed.

    With changes of -1 and 1 this is McNemar's exact test (1947, Psychometrika 12:153); with those of groups it is
    the exact sign-flip test between groups. Changes of one size make a binomial number; sizes are convolved.

    Args:
        changes: Shape (m,), whole numbers.
    """
    sizes, counts = np.unique(np.abs(changes[changes != 0]), return_counts=True)
    chances = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        part = np.zeros(2 * int(size * count) + 1)
        part[:: 2 * int(size)] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, part)
    middle = chances.size // 2
    far = abs(int(changes.sum()))
    return 1.0 if far == 0 else min(1.0, 2 * float(chances[middle + far :].sum()))


def paired_interval(changes: Signs, n: int, *, z: float = Z95) -> Interval:
    """Difference of two rates over the same `n` pictures: sum of the changes / n, with its interval.

    Wald's with half a pseudo-picture in each of the four cells (Agresti & Min 2005, Statistics in Medicine 24:729);
    with changes of groups the variance is the one between groups.
    """
    if n == 0:
        return UNKNOWN
    total, squares = float(changes.sum()), float((changes.astype(float) ** 2).sum())
    centre, size = total / (n + 2), n + 2
    half = z * math.sqrt(max(0.0, squares + 1 - total**2 / size)) / size
    value = total / n
    return Interval(value, max(-1.0, min(centre - half, value)), min(1.0, max(centre + half, value)), n)


def spread_of(classes: list[Signs]) -> float | None:
    """How much the split of disagreements varies between classes beyond chance, from 0 to 1; None with few classes.

    A class has m disagreements, of which z standard errors more than half are B's. By chance the mean of z^2 is 1;
    where B's chance itself varies between classes (correlation r within a class) it is 1 + (m - 1) r. Two trainings of
    one recipe differ so, too: each is better at some classes. Solved for r by moments.

    Args:
        classes: the changes of each class, as `by_group` gives them.
    """
    told = [item for item in classes if item.size >= LEAST]
    if len(told) < LEAST_CLASSES:
        return None
    squares = np.asarray([item.astype(float) @ item for item in told])
    sums = np.asarray([float(item.sum()) for item in told])
    m = np.asarray([item.size for item in told])
    return float(np.clip((sums**2 / squares - 1).sum() / (m - 1).sum(), 0.0, 1.0))


def spread_p(p: float, m: int, spread: float) -> float:
    """A p-value of `m` disagreements again, where the split varies between classes by `spread` (see `spread_of`).

    The number of standard errors shrinks by sqrt(1 + (m - 1) r).
    """
    if spread <= 0 or p >= 1:
        return p
    return 2 * float(norm.sf(norm.isf(p / 2) / math.sqrt(1 + (m - 1) * spread)))
