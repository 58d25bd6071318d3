"""How far attention moved between two runs: overlap of the attended parts and rank correlation of the maps.

Both maps of a picture are laid over the whole picture and brought to one size, whatever the two classifiers were shown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from core import queries
from core.comparison.pairs import Pairs
from core.comparison.result import Moved
from core.queries import Connection
from core.records import ATTENDED
from core.statistics import mean_interval

SIDE = 20
"""Cells along each side of a map that is compared."""
MOST_MAPS = 10_000
"""Pictures whose maps are compared at most; the order of image ids is a random one."""
MOST_RANKED = 4000
"""Pictures whose maps are ranked at most: sorting takes time."""
MOST_MOVED = 60
_AT_ONCE = 2000
Floats = NDArray[np.float32]


def moved(con: Connection, pairs: Pairs) -> Moved | None:
    """How far attention moved; None where no picture has a map in both runs."""
    ids = [str(value) for value in pairs.ids[:MOST_MAPS]]
    both: list[tuple[int, Floats, Floats]] = []
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        a, b = (queries.maps(con, run.name, part) for run in (pairs.a, pairs.b))
        both += [
            (start + place, _sized(a[name]), _sized(b[name]))
            for place, name in enumerate(part)
            if name in a and name in b
        ]
    if not both:
        return None
    places = [place for place, _, _ in both]
    first, second = (np.stack([item[side] for item in both]).reshape(len(both), -1) for side in (1, 2))  # (m, cells)
    another = np.roll(second, 1, axis=0)  # the order of image ids is a random one
    overlaps = overlap(first, second)
    order = np.argsort(np.nan_to_num(overlaps, nan=2.0), kind="stable")[:MOST_MOVED]
    least = [place for place in order if np.isfinite(overlaps[place])]
    return Moved(
        overlap=mean_interval(overlaps),
        other=mean_interval(overlap(first, another) if len(both) > 1 else []),
        rank=mean_interval(rank_correlation(first[:MOST_RANKED], second[:MOST_RANKED])),
        rank_other=mean_interval(rank_correlation(first[:MOST_RANKED], another[:MOST_RANKED]) if len(both) > 1 else []),
        area=mean_interval((second >= ATTENDED).mean(axis=1) - (first >= ATTENDED).mean(axis=1)),
        most=tuple(pairs.pair(places[place], overlap=float(overlaps[place])) for place in least),
    )


def _sized(heat: Floats) -> Floats:
    return np.asarray(Image.fromarray(heat).resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)


def overlap(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Intersection over union of what is attended to in each row, (m, cells) to (m,); NaN where nothing is in both."""
    a, b = first >= ATTENDED, second >= ATTENDED
    union = (a | b).sum(axis=1)
    return np.where(union > 0, (a & b).sum(axis=1) / np.maximum(union, 1), np.nan)


def rank_correlation(first: Floats, second: Floats) -> NDArray[np.float64]:
    """Spearman's rho of each row over the cells where either map is not 0, (m, cells) to (m,); NaN where one is flat.

    What neither classifier was shown is 0 in both: it would count as agreement.
    """
    shown = (first > 0) | (second > 0)
    n = np.maximum(shown.sum(axis=1, keepdims=True), 1)
    ranks = []
    for rows in (first, second):
        own = rankdata(np.where(shown, rows, -1), axis=1)  # what is not shown comes first, and shifts the others alike
        own = np.where(shown, own, 0)
        ranks.append(np.where(shown, own - own.sum(axis=1, keepdims=True) / n, 0))
    a, b = ranks
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(scale > 0, (a * b).sum(axis=1) / np.where(scale > 0, scale, 1), np.nan)
