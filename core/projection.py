"""A map of many vectors: two numbers for each, so that those that are alike lie close together.

Knows: vectors. Does not know: what they are of.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FEWEST = 30
"""Different vectors from which PaCMAP is asked; fewer are laid along their two principal components."""
ITERATIONS = 450
"""Of PaCMAP, by default."""
SPREAD = 0.15
"""Share of the map that all pictures would cover if each were the double of one other."""
_ITERATION = re.compile(r"Iteration:\s+(\d+)")

Floats = NDArray[np.float32]


def project(vectors: Floats, *, seed: int = 0, progress: Callable[[float], None] = lambda share: None) -> Floats:
    """Lays vectors out in the plane by PaCMAP (Wang et al. 2021, JMLR 22(201)): neighbours stay neighbours.

    Equal vectors lie side by side in a disc, so that none hides another. Distances between groups mean little.

    Args:
        vectors: (n, d), finite.
        seed: the same one gives the same map on the same machine.
        progress: called with the share that is done.

    Returns:
        (n, 2), each 0 to 1.
    """
    distinct, places, counts = np.unique(vectors, axis=0, return_inverse=True, return_counts=True)
    laid = _pacmap(distinct, seed, progress) if len(distinct) >= FEWEST else _principal(distinct)
    low, high = laid.min(axis=0), laid.max(axis=0)
    span = float((high - low).max()) or 1.0
    middle = (laid - (low + high) / 2) / span  # one scale for both
    spread = middle[places] + _discs(places, counts)
    return np.asarray(0.5 + spread / (2 * max(0.5, float(np.abs(spread).max()))), dtype=np.float32)


def _pacmap(vectors: Floats, seed: int, progress: Callable[[float], None]) -> Floats:
    import pacmap  # only here: it compiles when it is first asked, which no page waits for

    logging.getLogger("pacmap.pacmap").setLevel(logging.ERROR)  # a fixed seed is no news
    with contextlib.redirect_stdout(_Said(progress)):
        found = pacmap.PaCMAP(n_components=2, random_state=seed, verbose=True).fit_transform(vectors)
    return np.asarray(found, dtype=np.float32)


def _principal(vectors: Floats) -> Floats:
    """The first two principal components, (n, 2)."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    found = centred @ axes[:2].T
    return np.asarray(np.pad(found, ((0, 0), (0, 2 - found.shape[1]))), dtype=np.float32)


def _discs(places: NDArray[np.intp], counts: NDArray[np.intp]) -> Floats:
    """Where each vector lies about the spot of its equals: along a sunflower's spiral, in a disc as large as many."""
    order = np.argsort(places, kind="stable")
    firsts = np.cumsum(counts) - counts
    rank = np.empty(len(places))
    rank[order] = np.arange(len(places)) - firsts[places[order]]
    alone = counts[places] == 1
    radius = np.where(alone, 0.0, SPREAD * np.sqrt((rank + 0.5) / len(places)))
    angle = rank * np.pi * (3 - np.sqrt(5))
    return np.asarray(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), dtype=np.float32)


class _Said(io.TextIOBase):
    """Hears how far PaCMAP is from what it prints; nothing of that is shown."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        self._progress = progress

    def write(self, text: str) -> int:
        if found := _ITERATION.search(text):
            self._progress(int(found[1]) / ITERATIONS)
        return len(text)
