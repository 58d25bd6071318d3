"""Pictures with one property changed: darker, warmer, blurred, greyer, flatter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from core.images.properties import Properties, properties

CHANGEABLE = ("brightness", "contrast", "saturation", "warmth", "sharpness")
_STEPS = 7
_MOST = 6.0


def changed(picture: Image.Image, name: str, level: float) -> Image.Image:
    """An RGB picture whose property `name` is near `level`; what lies out of reach is approached.

    The strength is found by halving its range: each change raises or lowers its property steadily.
    """
    low, high = _limits(name)
    before = getattr(properties(picture), name)
    if name == "sharpness" and level >= before:
        return picture  # detail that is not there cannot be put in
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if getattr(properties(_apply(picture, name, middle)), name) < level:
            low = middle
        else:
            high = middle
    return _apply(picture, name, (low + high) / 2)


def _limits(name: str) -> tuple[float, float]:
    """Strengths between which the property rises."""
    return (-1.0, 1.0) if name == "warmth" else (-_MOST, 0.0) if name == "sharpness" else (0.0, 4.0)


def _apply(picture: Image.Image, name: str, strength: float) -> Image.Image:
    if name == "brightness":
        return ImageEnhance.Brightness(picture).enhance(strength)
    if name == "contrast":
        return ImageEnhance.Contrast(picture).enhance(strength)
    if name == "saturation":
        return ImageEnhance.Color(picture).enhance(strength)
    if name == "sharpness":
        radius = -strength * max(picture.size) / 128  # in pixels of the size at which sharpness is measured
        return picture.filter(ImageFilter.GaussianBlur(radius))
    cast = np.asarray([1 + 0.5 * strength, 1.0, 1 - 0.5 * strength])
    pixels = np.asarray(picture, dtype=np.float32) * cast
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


__all__ = ["CHANGEABLE", "Properties", "changed"]
