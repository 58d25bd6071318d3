"""Where a group of pictures differs from others of its class, as a box of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 3
"""Cells a side of a region, on grids of six cells or more; two on smaller ones."""


@dataclass(frozen=True)
class Box:
    """A part of a picture: its borders as shares (0 to 1) of the height and width."""

    top: float
    left: float
    bottom: float
    right: float

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns in a picture of that size."""
        rows = slice(round(self.top * height), max(round(self.bottom * height), round(self.top * height) + 1))
        columns = slice(round(self.left * width), max(round(self.right * width), round(self.left * width) + 1))
        return rows, columns

    def moved(self, generator: np.random.Generator) -> Box:
        """A box of the same size elsewhere, overlapping this by half at most."""
        height, width = self.bottom - self.top, self.right - self.left
        best, least = self, 2.0
        for _ in range(20):
            top, left = generator.uniform(0, 1 - height), generator.uniform(0, 1 - width)
            shared = max(0.0, 1 - abs(top - self.top) / height) * max(0.0, 1 - abs(left - self.left) / width)
            if shared < least:
                best, least = Box(top, left, top + height, left + width), shared
            if shared == 0:
                break
        return best


def differing(inside: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[Box, float]:
    """The window in which a group's activations differ most from those of others.

    Args:
        inside: (n, C, h, w) of the group's pictures.
        others: (m, C, h, w) of others of the same answer.

    Returns:
        The box, and how many times the mean over all windows its difference is: mean difference over pooled
        standard deviation, squared, averaged over channels.
    """
    spread = np.sqrt((others.var(axis=0) + inside.var(axis=0)) / 2) + 1e-6 * (1 + np.abs(others).max(initial=0))
    difference = ((inside.mean(axis=0) - others.mean(axis=0)) / spread) ** 2  # (C, h, w)
    cells = np.minimum(difference, 25).mean(axis=0)  # one odd channel says little
    height, width = cells.shape
    tall, wide = (min(WINDOW if side >= 2 * WINDOW else 2, side) for side in (height, width))
    windows = np.lib.stride_tricks.sliding_window_view(cells, (tall, wide)).mean(axis=(2, 3))
    row, column = divmod(int(windows.argmax()), windows.shape[1])
    box = Box(row / height, column / width, (row + tall) / height, (column + wide) / width)
    return box, float(windows.max() / max(float(cells.mean()), 1e-12))


def around(centre: tuple[float, float], grid: tuple[int, int]) -> Box:
    """The window about a cell's centre (row, column as shares) on a grid (h, w), moved inside the picture."""
    height, width = (min(1.0, (WINDOW if side >= 2 * WINDOW else 2) / side) for side in grid)
    top = min(max(centre[0] - height / 2, 0.0), 1 - height)
    left = min(max(centre[1] - width / 2, 0.0), 1 - width)
    return Box(top, left, top + height, left + width)
