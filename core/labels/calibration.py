"""Does the classifier mean its confidence? A reliability diagram, its error with an interval, and what would mend it.

Knows: what LabelRows hold. Does not know: stores, pages, charts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.labels.agreement import FLOOR, TEMPERATURES, Floats, of_label, temperature, tempered
from core.queries.labels import LabelRows
from core.statistics import UNKNOWN, Interval, wilson

BINS = 15
IN_BIN = 20
"""Pictures that a bin needs; fewer pictures make fewer bins."""
DRAWS = 1000
LEAST = 50
"""Pictures that are needed to say anything."""


@dataclass(frozen=True)
class Bin:
    """As many pictures as the other bins have, of about one confidence: what it says, and how often it is right."""

    confidence: float
    right: Interval


@dataclass(frozen=True)
class ClassCalibration:
    """Of the pictures that are called this class: mean confidence, and how often that is right."""

    name: str
    confidence: float
    right: Interval

    @property
    def gap(self) -> float:
        """Confidence less share of right answers: above 0 it is too sure."""
        return self.confidence - self.right.value


@dataclass(frozen=True)
class Mend:
    """The temperature that fits one half of the pictures best, and what it does to the other half, `n` pictures."""

    temperature: float
    loss_before: float
    loss_after: float
    error_before: Interval
    error_after: Interval
    n: int

    @property
    def helps(self) -> bool:
        """Whether it makes the other half likelier, and lies within what was searched."""
        low, high = TEMPERATURES
        return self.loss_after < self.loss_before and 1.01 * low < self.temperature < 0.99 * high


@dataclass(frozen=True)
class Calibration:
    """Calibration of the predicted class over `error.n` labelled pictures; see `calibration_error`."""

    error: Interval
    confidence: float
    right: Interval
    bins: tuple[Bin, ...]
    classes: tuple[ClassCalibration, ...]
    mend: Mend


def calibration(rows: LabelRows) -> Calibration | None:
    """The calibration of a run's classifier on its pictures; None with fewer than LEAST labelled ones or one class."""
    known = (rows.labels >= 0) & (rows.labels < rows.classes) & np.isfinite(rows.probabilities).all(axis=1)
    if known.sum() < LEAST or rows.classes < 2:
        return None
    labels, said = rows.labels[known], rows.probabilities[known].astype(np.float64)
    confidence, answers = said.max(axis=1), said.argmax(axis=1)
    right = answers == labels
    return Calibration(
        error=calibration_error(confidence, right),
        confidence=float(confidence.mean()),
        right=wilson(int(right.sum()), right.size),
        bins=tuple(
            Bin(float(confidence[part].mean()), wilson(int(right[part].sum()), part.size))
            for part in equal_bins(confidence)
        ),
        classes=_by_class(rows.names, answers, confidence, right),
        mend=_mend(said, labels),
    )


def equal_bins(confidence: Floats) -> list[NDArray[np.intp]]:
    """Places of the pictures of each bin, by rising confidence, as many in each."""
    count = max(2, min(BINS, confidence.size // IN_BIN))
    return list(np.array_split(np.argsort(confidence, kind="stable"), count))


def calibration_error(confidence: Floats, right: NDArray[np.bool_], *, seed: int = 0) -> Interval:
    """Root mean square of (share right - confidence) over bins of equal mass, debiased, with a bootstrap interval.

    Counting by bins finds an error where there is none; the debiased estimator takes away what chance adds, a (1 - a) /
    (m - 1) in a bin of m pictures of which a share a is right (Kumar, Liang & Ma 2019, arXiv 1909.10155). The interval
    is that of a bootstrap within the bins, whose truth is the plain estimate, from which it is drawn.

    Args:
        confidence: Shape (n,), the probability of the answer.
        right: Shape (n,), whether it was right.
        seed: Seed of the resampling.
    """
    if confidence.size < 2 * IN_BIN:
        return UNKNOWN
    bins = equal_bins(confidence)
    sizes = np.asarray([part.size for part in bins])
    share = np.asarray([right[part].mean() for part in bins])
    said = np.asarray([confidence[part].mean() for part in bins])
    spread = np.asarray([confidence[part].std() for part in bins]) / np.sqrt(sizes)
    debiased = _squared(share, said, sizes)
    rng = np.random.default_rng(seed)
    shares = rng.binomial(sizes, share, (DRAWS, sizes.size)) / sizes
    off = (
        _squared(shares, rng.normal(said, spread, shares.shape), sizes)
        - (sizes * (share - said) ** 2).sum() / sizes.sum()
    )
    bounds = debiased - np.quantile(off, [0.975, 0.025])
    value, low, high = (math.sqrt(max(0.0, float(square))) for square in (debiased, *bounds))
    return Interval(value, min(low, value), max(high, value), int(confidence.size))


def _squared(share: Floats, said: Floats, sizes: NDArray[np.int64]) -> NDArray[np.floating]:
    """The debiased squared error over bins, (..., bins) to (...)."""
    chance = share * (1 - share) / np.maximum(sizes - 1, 1)
    return np.asarray((sizes * ((share - said) ** 2 - chance)).sum(axis=-1) / sizes.sum())


def _by_class(
    names: tuple[str, ...], answers: NDArray[np.int64], confidence: Floats, right: NDArray[np.bool_]
) -> tuple[ClassCalibration, ...]:
    """Classes by how many pictures their gap concerns, worst first."""
    found = [
        ClassCalibration(
            names[place],
            float(confidence[answers == place].mean()),
            wilson(int(right[answers == place].sum()), int((answers == place).sum())),
        )
        for place in np.unique(answers)
    ]
    return tuple(sorted(found, key=lambda item: -abs(item.gap) * item.right.n))


def _mend(said: Floats, labels: NDArray[np.int64]) -> Mend:
    """Fitted on every second picture (the order of image ids is a random one), said of the others."""
    t = temperature(said[::2], labels[::2])
    before, own = said[1::2], labels[1::2]
    after = tempered(before, t)

    def loss(probabilities: Floats) -> float:
        return float(-np.log(np.maximum(of_label(probabilities, own), FLOOR)).mean())

    errors = [calibration_error(part.max(axis=1), part.argmax(axis=1) == own) for part in (before, after)]
    return Mend(t, loss(before), loss(after), errors[0], errors[1], own.size)
