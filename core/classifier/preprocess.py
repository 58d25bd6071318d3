"""A transform that is checked each time it runs, and whether it shrinks large pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from core.errors import ModelError, translate_errors
from core.placing import WHOLE, Part

LARGEST_SIDE = 512
"""A transform that returns more pixels a side than this is not taken for one that makes pictures small."""
ALIKE = 0.02
"""Two sizes of one scene give the same tensor when they differ by this share of its spread at most, on average."""
_RAMP, _LARGEST_RAMP = 256, 1024
"""Longest side in pixels of the pictures that show which part is seen, and of a picture of which it is asked."""
_BENT = 0.03
"""How far from a straight line, in shares of the whole, a cut and resized ramp may lie."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess:
    """A user's or a checkpoint's transform, which may raise or return anything, as one that returns (C, H, W) floats.

    They have the precision `dtype` of the model's weights: a half-precision layer takes no other input. The
    `repr` is the transform's, for that is part of the classifier's fingerprint.
    """

    def __init__(self, transform: Callable[[Image.Image], object], *, dtype: torch.dtype = torch.float32) -> None:
        self.transform = transform
        self.dtype = dtype
        self._seen: dict[tuple[int, int], Part | None] = {}

    @cached_property
    def side(self) -> int | None:
        """The longer side in pixels of what it makes of a picture of 3 x 2; None where that depends on its size.

        Found by running it once on a smooth scene in two sizes: the tensors must be alike, for a transform that cuts a
        fixed piece out of the middle also returns one size, and sees something else in a smaller picture.
        """
        try:
            return self._measure_side()
        except ModelError:
            return None

    def _measure_side(self) -> int | None:
        """What `side` says, measured."""
        tried = self(_scene(64))
        side = max(tried.shape[1:])
        if side > LARGEST_SIDE:
            return None
        twice, fourfold = self(_scene(2 * side)), self(_scene(4 * side))
        if not tried.shape == twice.shape == fourfold.shape:
            return None
        twice, fourfold = twice.float(), fourfold.float()
        spread = max(float(twice.std()), torch.finfo(torch.float32).tiny)
        return side if float((twice - fourfold).abs().mean()) <= ALIKE * spread else None

    def seen(self, size: tuple[int, int]) -> Part | None:
        """The part of a picture of `size` (width, height) that its result shows; None: the whole, or it cannot be told.

        Found by running it on pictures that grow brighter from left to right and from top to bottom: cut, padded and
        resized, they stay straight lines. What turns, mirrors or draws at random cannot be told so.
        """
        width, height = size
        if self.side is not None:  # the same at every size
            shrink = _RAMP / max(size)
            width, height = max(2, round(width * shrink)), max(2, round(height * shrink))
        if max(width, height) > _LARGEST_RAMP:
            return None
        key = (width, height)
        if key not in self._seen:
            self._seen[key] = self._measure_seen(width, height)
        return self._seen[key]

    def _measure_seen(self, width: int, height: int) -> Part | None:
        flat = np.zeros((height, width), np.float32)
        across = np.broadcast_to(np.linspace(0, 255, width, dtype=np.float32), (height, width))
        down = np.broadcast_to(np.linspace(0, 255, height, dtype=np.float32)[:, None], (height, width))
        try:
            black, white, x, y = (
                self(Image.fromarray(np.stack([grey.round().astype(np.uint8)] * 3, axis=-1))).float().mean(dim=0)
                for grey in (flat, flat + 255, across, down)
            )
        except ModelError:
            return None
        if not black.shape == white.shape == x.shape == y.shape:
            return None
        scale = (white - black).numpy()  # zero where it pads
        horizontal = _ends((x - black).numpy(), scale, width)
        vertical = _ends((y - black).numpy().T, scale.T, height)
        if horizontal is None or vertical is None:
            return None
        part = (vertical[0], horizontal[0], vertical[1], horizontal[1])
        return None if max(abs(own - all_) for own, all_ in zip(part, WHOLE, strict=True)) <= ALIKE else part

    def __call__(self, image: Image.Image) -> Tensor:
        """The picture as the model wants it.

        Raises:
            ModelError: the transform raised, or returned no floating-point tensor (C, H, W) of finite numbers.
        """
        with translate_errors("the classifier's transform failed"), torch.no_grad():
            tensor = self.transform(image)
        if not isinstance(tensor, Tensor) or tensor.ndim != 3 or not tensor.is_floating_point() or not tensor.numel():
            told = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ModelError(f"the classifier's transform returned {told}, expected a float tensor (channels, H, W)")
        # torchvision's v2 returns a subclass that costs time in every operation.
        plain = tensor.as_subclass(Tensor).detach()
        if not torch.isfinite(plain).all():
            raise ModelError("the classifier's transform returned values that are not finite")
        return plain.to(self.dtype)

    def __repr__(self) -> str:
        return repr(self.transform)


def seen_part(transform: Callable[[Image.Image], Tensor], size: tuple[int, int]) -> Part | None:
    """`Preprocess.seen` of any transform; None, the whole, of one that is no `Preprocess`."""
    return transform.seen(size) if isinstance(transform, Preprocess) else None


def _ends(values: NDArray[np.float32], scale: NDArray[np.float32], length: int) -> tuple[float, float] | None:
    """Where the first and last column of (H, W) lie in a picture of `length` columns, as shares; None if nowhere.

    `values` over `scale` is 0 at the centre of the picture's first column and 1 at that of its last.
    """
    shown = np.abs(scale) > 1e-3 * np.abs(scale).max(initial=0)
    columns, rows = shown.any(axis=0), shown.any(axis=1)
    if columns.sum() < 3 or not rows.any():
        return None
    ramp = values[rows][:, columns] / scale[rows][:, columns]
    place = np.flatnonzero(columns)
    line = np.median(ramp, axis=0)
    slope, start = np.polyfit(place[1:-1], line[1:-1], 1)  # resizing bends the ends
    if slope <= 0 or np.abs(ramp[:, 1:-1] - (start + slope * place[1:-1])).max() > _BENT:
        return None
    ends = [(start + slope * end) * (length - 1) + 0.5 for end in (-0.5, values.shape[1] - 0.5)]
    return float(ends[0] / length), float(ends[1] / length)


def _scene(height: int) -> Image.Image:
    """A smooth picture, half as wide again as high: the same scene at every size."""
    y, x = np.mgrid[0:height, 0 : height * 3 // 2].astype(np.float32) + 0.5
    y, x = y / height, x / (height * 3 // 2)
    waves = (np.sin(5 * x + 2 * y), np.cos(4 * y - x), np.sin(3 * x) * np.cos(3 * y))
    return Image.fromarray(np.stack([127.5 + 127 * wave for wave in waves], axis=-1).astype(np.uint8))


def plain_transform() -> Callable[[Image.Image], Tensor]:
    """Pixels to 0..1, ImageNet mean and deviation, at the picture's own size: for a model that came without any."""
    compose: Callable[[Image.Image], Tensor] = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))]
    )
    return compose
