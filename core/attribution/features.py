"""What the model sees, in 512 bytes a picture: with its places, as a whole, and where the answer rests most.

Sketches of the one forward pass that is made anyway. A sketch keeps distances: every number of a long vector goes, with
a random sign, into one of a few sums (count sketch: Charikar et al. 2002; Weinberger et al. 2009, arXiv 0902.2206).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attribution.forward_pass import ForwardPass
from core.attribution.head import Grid
from core.model_outputs import first

POOLED, PLACES, PART = 60, 96, 32
"""Numbers kept of the mean over places, of all places, and of each part of `detail`."""
DETAIL = 3 * PART
MOST_CELLS = 14
"""Cells a side of what is kept with its places."""
_LARGEST = 6e4
_SEED = 13


@dataclass(frozen=True)
class Features:
    """Sketches of a batch, float16 on the CPU.

    `pooled` (B, 60): the target layer's activations, mean over places. `places` (B, 96): the same with their places.
    `detail` (B, 96): what lies where the answer rests most: the target layer's cell, and mean and maximum of an earlier
    layer under it, 32 numbers each. `cells` (B, 2) int64: row and column of that cell, as shares of 10,000 of the
    height and width (its centre).
    """

    pooled: Tensor
    places: Tensor
    detail: Tensor
    cells: Tensor


class Sketcher:
    """Sketches what one classifier sees; the same network gives the same sketch in every run."""

    def __init__(self, size: Sequence[int], *, early: str = "", layout: Grid | None = None) -> None:
        """`size` (h, w) of the target layer's grid; `early` an earlier layer's dotted name, with its layout."""
        self._size = (min(size[0], MOST_CELLS), min(size[1], MOST_CELLS))
        self._early, self._layout = early, layout
        self._hashes: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._seen: Tensor | None = None

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Keeps the earlier layer's output of a forward pass made inside."""
        self._seen = None
        if not self._early:
            yield
            return

        def keep(module: nn.Module, inputs: object, output: object) -> None:
            found = first(output)
            self._seen = found.detach() if isinstance(found, Tensor) else None

        handle = model.get_submodule(self._early).register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def features(self, seen: ForwardPass, maps: Tensor) -> Features:
        """Sketches of a pass that was watched; `maps` (B, h', w') say where the answer rests if no gradient does."""
        grid = seen.grid  # (B, C, h, w)
        row, column = _strongest(grid, seen.gradients if "gradients" in vars(seen) else None, maps)
        height, width = grid.shape[2:]
        parts = [self._sketch(grid[torch.arange(len(grid)), :, row, column], PART), *self._under(grid, row, column)]
        places = grid if grid.shape[2:] == self._size else F.adaptive_avg_pool2d(grid, self._size)
        centre = torch.stack([(row + 0.5) / height, (column + 0.5) / width], dim=1)
        return Features(
            _half(self._sketch(grid.mean(dim=(2, 3)), POOLED)),
            _half(self._sketch(places.flatten(1), PLACES)),
            _half(torch.cat(parts, dim=1)),
            (centre * 10_000).round().long().cpu(),
        )

    def _under(self, grid: Tensor, row: Tensor, column: Tensor) -> list[Tensor]:
        """Mean and maximum of the earlier layer under one cell of each picture and a quarter cell around it."""
        nothing = [torch.zeros(len(grid), PART, device=grid.device)] * 2
        if self._seen is None or self._layout is None or not self._layout.fits(self._seen, len(grid)):
            return nothing
        early = self._layout.to_grid(self._seen).float()  # (B, C', h', w')
        (high, wide), (height, width) = early.shape[2:], grid.shape[2:]
        mean, most = [], []
        for picture, y, x in zip(early, row.tolist(), column.tolist(), strict=True):
            top, left = int((y - 0.25) * high / height), int((x - 0.25) * wide / width)
            bottom, right = int((y + 1.25) * high / height + 0.999), int((x + 1.25) * wide / width + 0.999)
            window = picture[:, max(0, top) : max(bottom, 1), max(0, left) : max(right, 1)].flatten(1)
            mean.append(window.mean(dim=1))
            most.append(window.amax(dim=1))
        return [self._sketch(torch.stack(vectors), PART) for vectors in (mean, most)]

    def _sketch(self, vectors: Tensor, size: int) -> Tensor:
        """Vectors (B, D) as (B, size): sums of their numbers with random signs."""
        length = vectors.shape[1]
        if (length, size) not in self._hashes:
            generator = torch.Generator().manual_seed(_SEED * length + size)
            place = torch.randint(size, (length,), generator=generator)
            sign = torch.randint(2, (length,), generator=generator) * 2.0 - 1
            self._hashes[length, size] = place.to(vectors.device), sign.to(vectors.device)
        place, sign = self._hashes[length, size]
        return torch.zeros(len(vectors), size, device=vectors.device).index_add_(1, place, vectors * sign)


def _strongest(grid: Tensor, gradients: Tensor | None, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (B,) of the cell that contributes most to the answer: gradient times activation over channels."""
    height, width = grid.shape[2:]
    if gradients is not None:
        share = (grid * gradients).sum(dim=1)
    else:
        share = F.interpolate(maps[:, None].to(grid.device), (height, width), mode="bilinear")[:, 0]
    place = torch.nan_to_num(share).flatten(1).argmax(dim=1)
    return place // width, place % width


def _half(values: Tensor) -> Tensor:
    return torch.nan_to_num(values).clamp(-_LARGEST, _LARGEST).half().cpu()
