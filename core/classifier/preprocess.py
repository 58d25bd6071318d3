"""A transform that is checked each time it runs, and whether it shrinks large pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from core.errors import ModelError, translate_errors

LARGEST_SIDE = 512
"""A transform that returns more pixels a side than this is not taken for one that makes pictures small."""
ALIKE = 0.02
"""Two sizes of one scene give the same tensor when they differ by this share of its spread at most, on average."""
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
