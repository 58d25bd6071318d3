"""Vectors of explanations in eight bits a number, as merged shards hold them beside the exact ones.

Knows: arrays. Does not know: shards, searches.

Each vector is scaled so that its greatest number is 127 and rounded, by which a cosine changes by some thousandths
(tests/test_vectors.py measures that, and recall).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

DIMENSIONS = 384
COLUMN = "eight_bits"


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Vectors (N, 384) with the greatest number of each at 127, as whole numbers."""
    greatest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(np.rint(vectors * (127 / greatest)), dtype=np.int8)


def packed(lists: pa.ChunkedArray) -> pa.Array:
    """A column of vectors as bytes, 384 each; none where there is no vector."""
    known = np.asarray(lists.is_valid())
    rows = np.zeros((len(lists), DIMENSIONS), np.int8)
    rows[known] = rounded(np.asarray(lists.combine_chunks().flatten(), dtype=np.float32).reshape(-1, DIMENSIONS))
    whole = pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIMENSIONS), len(rows), [None, pa.py_buffer(rows)])
    return pc.if_else(pa.array(known), whole, None).cast(pa.binary())
