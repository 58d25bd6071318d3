"""Any of Pillow's modes to RGB, of a large picture piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import ImageError

_STRIP = 2**22
"""Pixels that are converted at a time where the conversion needs several copies."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB.

    Raises:
        ImageError: floating-point values that are not finite.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        factor = _scale(image)
        return _by_strips(image, lambda part: Image.fromarray(_to_8_bit(np.asarray(part), factor)).convert("RGB"))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        return _by_strips(image, _on_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """What a person sees of a picture with transparent parts."""
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A pixel-wise conversion to RGB, of a large picture piece by piece."""
    if image.width * image.height <= _STRIP:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for box in _boxes(image.size):
        whole.paste(convert(image.crop(box)), box[:2])
    return whole


def _boxes(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of at most `_STRIP` pixels that cover a picture."""
    width, height = size
    columns = min(width, _STRIP)
    rows = max(1, _STRIP // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _scale(image: Image.Image) -> float:
    """What deep grey values are multiplied by to be 0..255: by the scale of their type, never by their own contrast."""
    top = 0.0
    for box in _boxes(image.size):
        values: NDArray[Any] = np.asarray(image.crop(box))
        if not np.isfinite(values).all():
            raise ImageError("holds values that are not finite")
        top = max(top, float(values.max(initial=0)))
    if values.dtype.kind == "f":
        return 255.0 if top <= 1.0 else 1.0 if top <= 255.0 else 255.0 / top
    return 1 / 257 if top <= 65_535 else 255.0 / top


def _to_8_bit(values: NDArray[Any], factor: float) -> NDArray[np.uint8]:
    """Deep grey values (H, W) to 8 bits."""
    scaled: NDArray[np.uint8] = np.clip(np.rint(values.astype(np.float64) * factor), 0, 255).astype(np.uint8)
    return scaled
