"""From the classifier's input to the picture: a transform that crops or pads shows the classifier a part of it.

Knows: parts as shares of a picture, arithmetic on maps. Does not know: transforms, models, files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Part = tuple[float, float, float, float]
"""Top, left, bottom, right as shares of the picture's height and width; beyond 0 and 1 where the transform pads."""
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
_FINE = 4
"""Cells of a placed map for each of the map's own, so that the border of the part is nearly where it belongs."""
_MOST = 256


def placed(map_: NDArray[np.float32], seen: Part | None) -> NDArray[np.float32]:
    """A map (h, w) of the input as one of the whole picture (H, W): zero where the classifier saw nothing.

    `seen` is the part that the input shows; None means the whole, for which the map stays as it is.
    """
    if seen is None:
        return map_
    top, left, bottom, right = seen
    rows, columns = (
        _weights(length, low, high)
        for length, low, high in zip(map_.shape, (top, left), (bottom, right), strict=True)
    )  # fmt: skip
    return np.asarray(rows @ map_ @ columns.T, dtype=np.float32)


def inside(box: Part, seen: Part | None) -> Part:
    """A box of the input as a box of the picture, cut at its borders."""
    if seen is None:
        return box
    top, left, bottom, right = seen
    height, width = bottom - top, right - left
    found = (top + box[0] * height, left + box[1] * width, top + box[2] * height, left + box[3] * width)
    up, before, down, after = (min(max(value, 0.0), 1.0) for value in found)
    return up, before, down, after


def _weights(length: int, low: float, high: float) -> NDArray[np.float64]:
    """How much each of the map's cells (columns) gives to each of the picture's (rows), along one axis."""
    n = min(_MOST, max(1, round(_FINE * length / (high - low))))
    share = ((np.arange(n) + 0.5) / n - low) / (high - low)  # where each fine cell's centre lies in the input
    place = np.clip(share * length - 0.5, 0, length - 1)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, length - 1)
    weights = np.zeros((n, length))
    weights[np.arange(n), lower] += 1 - (place - lower)
    weights[np.arange(n), upper] += place - lower
    return weights * ((share >= 0) & (share <= 1))[:, None]
