"""Pictures that the model sees alike: the cosine of what it saw of them, over all pictures of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.queries.features import Matrix, pooled
from core.queries.rows import Connection

FLOOR = 0.5
"""Below it nothing is alike: on the demo, pictures there are rather of another class than of the same."""


@dataclass(frozen=True)
class Seen:
    """What the model saw of a run's pictures, in the order of `image_ids`.

    `units` (n, d): each number less its mean over the run, over its spread, then each picture at length 1. A picture
    that is in nothing unlike the mean is all 0, and like none.
    """

    image_ids: tuple[str, ...]
    units: Matrix


def seen(con: Connection, run: str) -> Seen | None:
    """What the model saw of a run's pictures, ready to be compared; None where nothing of it is kept."""
    found = pooled(con, run)
    if found is None:
        return None
    ids, numbers = found
    units = numbers  # in place: of a million pictures every copy counts
    same = (units == units[0]).all(axis=0)
    units -= units.mean(axis=0)
    units[:, same] = 0  # but for what rounding left of them
    spread = np.sqrt(np.einsum("nd,nd->d", units, units) / len(units))
    units /= np.where(spread > 0, spread, 1)
    length = np.sqrt(np.einsum("nd,nd->n", units, units))[:, None]
    units /= np.where(length > 0, length, 1)
    return Seen(ids, units)


def alike(known: Seen, image_id: str, *, most: int, floor: float = FLOOR) -> list[tuple[str, float]] | None:
    """The pictures most like one, nearest first, each with its cosine; None where nothing is kept of that one.

    Equally near ones stand in the order of their ids.
    """
    if image_id not in known.image_ids:
        return None
    here = known.image_ids.index(image_id)
    cosine = known.units @ known.units[here]
    cosine[here] = -1
    near = np.flatnonzero(cosine >= floor)
    order = near[np.argsort(-cosine[near], kind="stable")][:most]
    return [(known.image_ids[at], float(min(1.0, cosine[at]))) for at in order]
