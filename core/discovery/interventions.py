"""Used, or only present: what the answer does when a cue is put in, taken out or swapped, beside matched placebos.

Explanations alone accuse cues that are not used (Adebayo et al. 2022, arXiv 2212.04629). In-fill is the same place of
another picture, which keeps pictures more natural than blur. Tests flip the signs of the differences at random; what
they reject is not "no effect at all" but "at most `LEAST_EFFECT`", so that a trace of use is not called use. Taking
away what an answer rests on costs it in any picture; so removals are compared with those in pictures without the cue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.discovery.regions import Box
from core.errors import ModelError

Predict = Callable[[Tensor], NDArray[np.float64]]
"""Pictures (B, C, H, W) to probabilities (B, K)."""
Kind = Literal["insert", "remove", "apply", "swap"]
FLIPS = 4_000
LEAST = 8
"""Pictures an intervention needs."""
LEAST_EFFECT = 0.03
"""Change of probability beyond the placebo that a used cue surpasses; one that surely changes less is not used."""

SUSPECTED = 0.05
"""p-value from which an effect is looked at more closely."""


@dataclass(frozen=True)
class Effect:
    """Mean change of a probability beyond the stronger placebo, with its 95% interval.

    `p` is one-sided: how often chance alone shows so much where the truth is `LEAST_EFFECT` at most.

    `change` is the change itself, `reach` what it surely does not surpass (one-sided, 95%), `placebo` the change by the
    stronger placebo; all from -1 to 1, towards the cue's class (for `remove`: away from it). `n` pictures were changed.
    """

    kind: Kind
    value: float
    low: float
    high: float
    change: float
    reach: float
    placebo: float
    p: float
    n: int


@dataclass(frozen=True)
class Trial:
    """One picture changed: the one with the cue put in (or taken out), and its placebos. All (C, H, W)."""

    before: Tensor
    changed: Tensor
    placebos: tuple[Tensor, ...]


def pasted(picture: Tensor, other: Tensor, box: Box) -> Tensor:
    """`picture` (C, H, W) with the box of `other`, which has the same size."""
    rows, columns = box.pixels(*picture.shape[-2:])
    found = picture.clone()
    found[..., rows, columns] = other[..., rows, columns]
    return found


def insertions(
    recipients: Sequence[Tensor],
    members: Sequence[tuple[Tensor, Box]],
    mates: Sequence[tuple[Tensor, Box]],
    generator: np.random.Generator,
) -> list[Trial]:
    """Each recipient with a member's region put in at its place.

    Placebos: the region of a class-mate without the cue at its place; another region of the member at its own place.
    """
    trials = []
    for recipient in recipients:
        member, box = members[int(generator.integers(len(members)))]
        mate, place = mates[int(generator.integers(len(mates)))]
        elsewhere = pasted(recipient, member, box.moved(generator))
        trials.append(Trial(recipient, pasted(recipient, member, box), (pasted(recipient, mate, place), elsewhere)))
    return trials


def removals(
    members: Sequence[tuple[Tensor, Box]], mates: Sequence[Tensor], generator: np.random.Generator
) -> list[Trial]:
    """Each member with its region replaced by that of a class-mate; the placebo replaces another region so."""
    trials = []
    for member, box in members:
        mate = mates[int(generator.integers(len(mates)))]
        trials.append(Trial(member, pasted(member, mate, box), (pasted(member, mate, box.moved(generator)),)))
    return trials


Told = Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Measured:
    """Trials with what the classifier said, and the class followed in each.

    `told` are the probabilities (n, K) before, changed, and of each placebo; `controlled` those of the controls (m, K).
    """

    trials: Sequence[Trial]
    answers: NDArray[np.int64]
    told: Told
    controlled: Told
    effect: Effect


def measure(
    trials: Sequence[Trial],
    answer: int | NDArray[np.int64],
    predict: Predict,
    *,
    kind: Kind,
    controls: Sequence[Trial] = (),
    known: Measured | None = None,
    batch: int = 32,
) -> Measured | None:
    """What the trials do to the probability of `answer` (one class, or one per trial); None for too few trials.

    For `remove` and for a class per trial the loss counts, else the gain. `controls` are the same change in other
    pictures of the answer, without the cue; they are made where the trials show something. `known` holds what was said
    of the first of them all, which is not asked again.

    Raises:
        ModelError: a probability is not a number; a test would count that as an effect.
    """
    if len(trials) < LEAST:
        return None
    answers = np.broadcast_to(np.asarray(answer), (len(trials),))
    sign = 1.0 if kind in ("insert", "swap") or (kind == "apply" and np.ndim(answer) == 0) else -1.0
    told = _told(trials, predict, batch, known.told if known else ())
    own = [rows[np.arange(len(trials)), answers] for rows in told]
    change, *placebos = (sign * (column - own[0]) for column in own[1:])
    control, controlled = None, known.controlled if known else ()
    if controls and max(sign_flip_p(change - placebo - LEAST_EFFECT) for placebo in placebos) <= SUSPECTED:
        controlled = _told(controls, predict, batch, controlled)
        _, made, placebo = (rows[:, int(answers[0])] for rows in controlled)
        control = sign * (made - placebo)
    return Measured(trials, answers, told, controlled, beyond(change, placebos, control, kind=kind))


def beyond(
    change: NDArray[np.float64],
    placebos: Sequence[NDArray[np.float64]],
    control: NDArray[np.float64] | None = None,
    *,
    kind: Kind,
) -> Effect:
    """Changes (n,) beyond each placebo's (n,), and beyond what other pictures change beyond theirs (m,).

    The weakest of the comparisons counts (intersection-union).
    """
    differences = [change - placebo for placebo in placebos]
    compared = [(float(values.mean()), _error(values)) for values in differences]
    p_values = [sign_flip_p(values - LEAST_EFFECT) for values in differences]
    if control is not None:
        own = differences[0]
        compared.append((float(own.mean() - control.mean()), float(np.hypot(_error(own), _error(control)))))
        p_values.append(permutation_p(own - LEAST_EFFECT, control))
    mean, error = min(compared)
    moved = float(change.mean())
    return Effect(
        kind,
        mean,
        mean - 1.96 * error,
        mean + 1.96 * error,
        moved,
        moved + 1.645 * _error(change),
        moved - mean,
        max(p_values),
        int(change.size),
    )


def _error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of values (n,)."""
    return float(values.std(ddof=1) / np.sqrt(values.size))


def sign_flip_p(differences: NDArray[np.float64], *, seed: int = 0) -> float:
    """One-sided p-value that the mean of paired differences (n,) is above zero by chance (Fisher's sign flips)."""
    generator = np.random.default_rng(seed)
    signs = generator.integers(0, 2, (FLIPS, differences.size)) * 2 - 1
    return float((1 + np.count_nonzero(signs @ differences >= differences.sum() - 1e-12)) / (FLIPS + 1))


def permutation_p(values: NDArray[np.float64], others: NDArray[np.float64], *, seed: int = 0) -> float:
    """One-sided p-value that the mean of values (n,) is above that of others (m,) by chance (Fisher's permutations)."""
    every = np.concatenate([values, others])
    generator = np.random.default_rng(seed)
    drawn = generator.permuted(np.broadcast_to(every, (FLIPS, every.size)), axis=1)[:, : values.size].sum(axis=1)
    return float((1 + np.count_nonzero(drawn >= values.sum() - 1e-12)) / (FLIPS + 1))


def _told(trials: Sequence[Trial], predict: Predict, batch: int, known: Told) -> Told:
    """Probabilities (n, K) before, changed, and of each placebo; `known` are those of the first trials."""
    rest = trials[len(known[0]) if known else 0 :]
    if not rest:
        return known
    stacks = [[trial.before for trial in rest], [trial.changed for trial in rest]]
    stacks += [[trial.placebos[place] for trial in rest] for place in range(len(rest[0].placebos))]
    found = [_probabilities(stack, predict, batch) for stack in stacks]
    return [np.concatenate(pair) for pair in zip(known, found, strict=True)] if known else found


def _probabilities(pictures: Sequence[Tensor], predict: Predict, batch: int) -> NDArray[np.float64]:
    """The probabilities (n, K) of pictures, a batch at a time."""
    rows = [predict(torch.stack(list(pictures[start : start + batch]))) for start in range(0, len(pictures), batch)]
    found = np.concatenate(rows)
    if not np.isfinite(found).all():
        raise ModelError("its answer to a changed picture is not a number")
    return found
