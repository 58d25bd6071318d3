"""Which pictures a judge with a budget looks at: wrong predictions before all, and a uniform sample of the others.

The order within a group is that of a seeded hash, so a larger budget asks again about all of a smaller one's pictures;
the groups come mixed, so a run that is stopped has judged a uniform sample of each.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

WRONG_SHARE = 2 / 3
"""At most this share of a budget goes to wrong predictions: without the others no dataset-level figure is known."""
SEED = 0


def hashed(image_id: str, seed: int = SEED) -> bytes:
    """The place of a picture in a random order that depends on the seed alone."""
    return hashlib.sha256(f"{seed} {image_id}".encode()).digest()


def choose(wrong: Mapping[str, bool], budget: int | None, *, seed: int = SEED) -> list[str]:
    """The pictures to judge, in the order in which to judge them.

    Of W wrong predictions min(W, 2/3 of the budget) are taken, of the others as many as are left, and of the wrong
    ones again where the others are too few. Each picture of a group has the same chance, so it stands for
    (size of the group) / (number judged of it) pictures: the weight of Horvitz & Thompson (1952, JASA 47:663).

    Args:
        wrong: by image id, whether the prediction is known to be wrong.
        budget: pictures to judge; None judges all.
        seed: of the random order.
    """
    order = sorted(wrong, key=lambda image_id: hashed(image_id, seed))
    if budget is None or budget >= len(order):
        return order
    groups = {flag: [image_id for image_id in order if wrong[image_id] is flag] for flag in (True, False)}
    most = max(math.ceil(budget * WRONG_SHARE), budget - len(groups[False]))
    taken = groups[True][:most]
    others = groups[False][: budget - len(taken)]
    placed = [
        ((place + 0.5) / len(group), image_id) for group in (taken, others) for place, image_id in enumerate(group)
    ]
    return [image_id for _, image_id in sorted(placed)]
