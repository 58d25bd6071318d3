"""What a map looks like, in numbers that can be filtered in SQL."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import label
from scipy.special import entr
from scipy.stats import rankdata

from core.records import ATTENDED


def attention_statistics(map_: ArrayLike) -> dict[str, float | None]:
    """Attention statistics of a map v (h, w) in 0..1; p = v / sum(v).

    - attention_area: share of cells with v >= 0.4; 0..1.
    - attention_entropy: -sum p log p / log(h w); 0 all in one cell, 1 the same everywhere.
    - attention_border: sum of p over the outermost ring of cells; 0..1.
    - attention_x, attention_y: centre of mass sum p (column + 0.5) / w and sum p (row + 0.5) / h; 0 left and top,
      1 right and bottom.
    - attention_islands: connected components of v >= 0.4, corners count as touching; 1 or more.

    A map that is empty of mass or not finite has none of them: all None.

    Raises:
        ValueError: the map is not two-dimensional.
    """
    values = np.asarray(map_, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"a map must have shape (h, w), got {values.shape}")
    names = (
        "attention_area",
        "attention_entropy",
        "attention_border",
        "attention_x",
        "attention_y",
        "attention_islands",
    )
    mass = float(values.sum()) if values.size else 0.0
    if not math.isfinite(mass) or mass <= 0 or float(values.min()) < 0:
        return dict.fromkeys(names)
    height, width = values.shape
    share = values / mass
    entropy = float(entr(share).sum()) / math.log(values.size) if values.size > 1 else 0.0
    numbers = (
        float((values >= ATTENDED).mean()),
        min(1.0, max(0.0, entropy)),
        min(1.0, max(0.0, 1.0 - float(share[1:-1, 1:-1].sum()))),
        float((share.sum(axis=0) * (np.arange(width) + 0.5)).sum()) / width,
        float((share.sum(axis=1) * (np.arange(height) + 0.5)).sum()) / height,
        int(label(values >= ATTENDED, structure=np.ones((3, 3)))[1]),
    )
    return dict(zip(names, numbers, strict=True))


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation of two maps of one size, -1..1; None where either is constant."""
    ranks = [rankdata(np.asarray(map_, dtype=np.float64).ravel()) for map_ in (first, second)]
    if any(ranked.std() == 0 for ranked in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
