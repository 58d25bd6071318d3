"""How a layer's output lies on the picture: as channels first, channels last, or a row of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["channels_first", "channels_last", "tokens", "sequence_first"]
Size = tuple[int, int]

# Class, distillation and register tokens: no published network has more before its patches.
_MAX_PREFIX = 16


@dataclass(frozen=True)
class Layout:
    """What an output is: (B, C, h, w), (B, h, w, C), tokens (B, prefix + h * w, C), or those with the batch second.

    `prefix` counts class and register tokens; `grid` is (h, w) at the probe.
    """

    kind: Kind = "channels_first"
    prefix: int = 0
    grid: Size = (0, 0)

    def fits(self, activation: object, pictures: int) -> bool:
        """Whether this is an output of that kind for so many pictures."""
        rank = 3 if self.kind in {"tokens", "sequence_first"} else 4
        batch_axis = 1 if self.kind == "sequence_first" else 0
        return isinstance(activation, Tensor) and activation.ndim == rank and activation.shape[batch_axis] == pictures

    def to_grid(self, activation: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """The output as (B, C, h, w), a view that gradients pass through; gradients themselves convert alike.

        Args:
            activation: the layer's output, or a gradient with respect to it.
            size: (H, W) of the pictures, for tokens of pictures of another size than the probe.

        Raises:
            ValueError: tokens that make no grid.
        """
        if self.kind == "channels_first":
            return activation
        if self.kind == "channels_last":
            return activation.permute(0, 3, 1, 2)
        tokens = activation.transpose(0, 1) if self.kind == "sequence_first" else activation
        patches = tokens[:, self.prefix :]  # (B, h * w, C)
        grid = self.grid if self.grid[0] * self.grid[1] == patches.shape[1] else _rectangle(patches.shape[1], size)
        if grid is None:
            raise ValueError(f"{patches.shape[1]} tokens make no grid like the picture's")
        return patches.transpose(1, 2).reshape(len(patches), -1, *grid)

    def from_grid(self, grid: Tensor, activation: Tensor) -> Tensor:
        """The inverse: the output with its grid replaced by (n, C, h, w); a single `activation` serves n grids."""
        if self.kind == "channels_first":
            return grid
        if self.kind == "channels_last":
            return grid.permute(0, 2, 3, 1)
        tokens = activation.transpose(0, 1) if self.kind == "sequence_first" else activation
        others = tokens[:, : self.prefix].expand(len(grid), -1, -1)
        tokens = torch.cat([others, grid.flatten(2).transpose(1, 2)], dim=1)
        return tokens.transpose(0, 1) if self.kind == "sequence_first" else tokens


def find_layouts(shapes: Iterable[tuple[int, ...]], size: Size) -> list[Layout | None]:
    """The layouts of a network's outputs for one picture (H, W), in the order in which they were made.

    Tokens are recognised by their number: that of a grid seen before, or of one that it was halved to, and up to 16
    tokens more. Without any grid before them, by the number of equal patches the picture can be cut into.
    """
    seen: dict[Size, None] = {}
    counts: set[int] = set()
    found = []
    for shape in shapes:
        layout = None
        if len(shape) == 3 and 1 in shape[:2] and shape[2] > 1:
            kind: Kind = "tokens" if shape[0] == 1 else "sequence_first"
            layout = _tokens(kind, max(shape[:2]), _halved(seen) if seen else _cut(size))
        elif len(shape) == 4 and shape[0] == 1 and shape[2] not in counts:  # else attention: (1, heads, N, ...)
            layout = _image(shape, size, {*_halved(seen), *_cut(size)})
        if layout is not None and len(shape) == 3:
            counts.add(max(shape[:2]))
        elif layout is not None:
            seen[layout.grid] = None
        found.append(layout)
    return found


def _tokens(kind: Kind, count: int, grids: Iterable[Size]) -> Layout | None:
    """Tokens whose number is that of a grid and as few others as possible."""
    extra = [(count - h * w, (h, w)) for h, w in grids if 0 <= count - h * w <= min(_MAX_PREFIX, h * w - 1)]
    return Layout(kind, *min(extra)) if extra else None


def _image(shape: tuple[int, ...], size: Size, known: set[Size]) -> Layout | None:
    """Channels first or last, if one of them has the picture's shape; a grid that is known decides."""
    first, last = (shape[2], shape[3]), (shape[1], shape[2])
    options: list[Layout] = []
    if _is_like(first, size):
        options.append(Layout("channels_first", grid=first))
    if _is_like(last, size):
        options.append(Layout("channels_last", grid=last))
    return next((layout for layout in options if layout.grid in known), options[0] if options else None)


def _is_like(grid: Size, size: Size) -> bool:
    """Whether a grid has the picture's shape; rounding in strides may add or lose one cell on either side."""
    height, width = grid
    if min(grid) < 2 or height > size[0] or width > size[1]:
        return False
    return (height - 1) / (width + 1) <= size[0] / size[1] <= (height + 1) / (width - 1)


def _halved(grids: Iterable[Size]) -> list[Size]:
    """These grids, and those that remain when they are halved again and again."""
    return list(dict.fromkeys(small for grid in grids for small in _divided(grid, (1, 2, 4, 8, 16))))


def _cut(size: Size) -> list[Size]:
    """The grids of equal square patches that cover a picture."""
    return list(dict.fromkeys(_divided(size, range(2, min(size) // 2 + 1))))


def _divided(grid: Size, steps: Iterable[int]) -> Iterator[Size]:
    """A grid divided by each step, rounded down and up, while two cells remain on either side."""
    height, width = grid
    for step in steps:
        for small in ((height // step, width // step), (-(-height // step), -(-width // step))):
            if min(small) >= 2:
                yield small


def _rectangle(count: int, size: Sequence[int] | None) -> Size | None:
    """The grid of so many cells whose shape is nearest to the picture's (H, W), if it is like it."""
    if size is None:
        return None
    fitting = [(h, count // h) for h in range(2, count // 2 + 1) if count % h == 0]
    fitting = [grid for grid in fitting if _is_like(grid, (size[0], size[1]))]
    return min(fitting, key=lambda grid: abs(grid[0] * size[1] - grid[1] * size[0]), default=None)
