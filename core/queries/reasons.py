"""Right, and for the right reason? Two claims about each picture, each by what measures it.

The judge's score says whether the attended part supports the answer; the causal check says whether the answer rests on
it. Shares over the run are corrected for the judge's errors where its report card carries that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.queries.report_card import JudgeCard, judge_card
from core.queries.rows import Connection
from core.records import FEWEST_DRAWS
from core.statistics import Interval, weighted_rate

RESTS = 0.1
"""Probability that removing the attended part must cost, beyond removing a random part of its size."""
MEASURED_SQL = f"causal_draws >= {FEWEST_DRAWS}"
"""With fewer random regions nothing is said of a single picture: see FEWEST_DRAWS."""
RESTS_SQL = f"{MEASURED_SQL} AND causal_drop - causal_drop_random >= {RESTS}"
DRAWS = 4000


@dataclass(frozen=True)
class Share:
    """A share as counted, and corrected for the judge's errors; None where the report card does not carry that."""

    counted: Interval
    corrected: Interval | None


@dataclass(frozen=True)
class Reasons:
    """What a run's judged pictures with labels say of its reasons.

    `right_reason` is the share of pictures that are right, whose attended part supports the answer and whose answer
    rests on it. `measured` is whether a causal check was made: without one the share is unknown. What is left of the
    accuracy rests on something else, or on what the judge cannot see.
    """

    right_reason: Share
    measured: bool


def reasons(con: Connection, run: str) -> Reasons | None:
    """Both claims over a run; None without judged pictures that have labels."""
    found = con.execute(
        f"""SELECT cell IN ('correct_high', 'wrong_high') AS supported, correct, weight,
               coalesce({RESTS_SQL}, false) AS rests, coalesce({MEASURED_SQL}, false) AS measured
        FROM samples WHERE run = ? AND cell IS NOT NULL ORDER BY image_id""",
        [run],
    ).fetchnumpy()
    if not found["correct"].size:
        return None
    supported, correct, rests, measured = (
        np.asarray(found[name], dtype=bool) for name in ("supported", "correct", "rests", "measured")
    )
    weights = np.asarray(found["weight"], dtype=np.float64)
    card = judge_card(con, run)
    usable = card if card is not None and card.carries else None
    return Reasons(
        _share(supported, correct & rests & measured, weights, usable, of=measured),
        bool(measured.any()),
    )


def _share(
    hits: NDArray[np.bool_],
    within: NDArray[np.bool_],
    weights: NDArray[np.float64],
    card: JudgeCard | None,
    *,
    of: NDArray[np.bool_],
) -> Share:
    """How many of the pictures `of` are `within` and `hits` (the judge found support), all of shape (n,)."""
    counted = weighted_rate((hits & within)[of], weights[of])
    if card is None or not of.any():
        return Share(counted, None)
    rate = weighted_rate(hits[within], weights[within])
    part = weighted_rate(within[of], weights[of])
    worth = [
        max(1.0, float(weights[some].sum() ** 2 / max((weights[some] ** 2).sum(), 1e-12))) for some in (within, of)
    ]
    rng = np.random.default_rng(0)
    told = rate.value if rate.known else 0.0
    said, share = _drawn(rng, told, worth[0]), _drawn(rng, part.value, worth[1])
    sensitivity, false_high = (_drawn(rng, known.value, known.n) for known in (card.sensitivity, card.false_high))
    drawn = share * rogan_gladen(said, sensitivity, false_high)
    value = part.value * float(rogan_gladen(told, card.sensitivity.value, card.false_high.value))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Share(counted, Interval(value, float(min(low, value)), float(max(high, value)), counted.n))


def _drawn(rng: np.random.Generator, rate: float, n: float) -> NDArray[np.float64]:
    """Rates (DRAWS,) that n pictures with this rate leave possible: Jeffreys' posterior."""
    return np.asarray(rng.beta(rate * n + 0.5, (1 - rate) * n + 0.5, DRAWS))


def rogan_gladen(said: ArrayLike, sensitivity: ArrayLike, false_high: ArrayLike) -> NDArray[np.float64]:
    """True share from the share said high: (said - false_high) / (sensitivity - false_high), kept in [0, 1].

    Rogan & Gladen 1978, American Journal of Epidemiology 107:71.
    """
    told, right, wrong = (np.asarray(values, dtype=np.float64) for values in (said, sensitivity, false_high))
    return np.asarray(np.clip((told - wrong) / np.maximum(right - wrong, 1e-9), 0.0, 1.0))
