"""A transform that is checked each time it runs.

Knows: what a transform must return. Does not know: models, files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from core.errors import ModelError
from core.foreign import Foreign

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess:
    """A user's or a checkpoint's transform, which may raise or return anything, as one that returns (C, H, W) floats.

    They have the precision `dtype` of the model's weights: a half-precision layer takes no other input. The
    `repr` is the transform's, for that is part of the classifier's fingerprint.
    """

    def __init__(self, transform: Callable[[Image.Image], Any], *, dtype: torch.dtype = torch.float32) -> None:
        self.transform = transform
        self.dtype = dtype

    def __call__(self, image: Image.Image) -> Tensor:
        """The picture as the model wants it.

        Raises:
            ModelError: the transform raised, or returned no floating-point tensor (C, H, W) of finite numbers.
        """
        with Foreign("the classifier's transform failed"), torch.no_grad():
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


def plain_transform() -> Callable[[Image.Image], Tensor]:
    """Pixels to 0..1, ImageNet mean and deviation, at the picture's own size: for a model that came without any."""
    compose: Callable[[Image.Image], Tensor] = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))]
    )
    return compose
