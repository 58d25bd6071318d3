"""Pictures with one property changed: darker, warmer, blurred, greyer, flatter."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from core.images.properties import level

CHANGEABLE = ("brightness", "contrast", "saturation", "warmth", "sharpness")
SIGNED = ("warmth",)
"""Properties that can be negative: they are moved by a difference, the others by a factor."""
_STEPS = 7
_MOST = 6.0


def changed(picture: Image.Image, name: str, wanted: float) -> Image.Image:
    """An RGB picture whose property `name` is near `wanted`; what lies out of reach is approached.

    The strength is found by halving its range: each change raises or lowers its property steadily.
    """
    low, high = _limits(name)
    before = level(picture, name)
    if name == "sharpness" and wanted >= before:
        return picture  # detail that is not there cannot be put in
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if level(_apply(picture, name, middle), name) < wanted:
            low = middle
        else:
            high = middle
    return _apply(picture, name, (low + high) / 2)


def as_far(picture: Image.Image, other: Image.Image) -> Image.Image:
    """A picture with less contrast, whose pixels are as far from it on average as those of `other`."""
    pixels, low, high = np.asarray(picture, dtype=np.float32), 0.0, 1.0
    wanted = float(np.abs(np.asarray(other, dtype=np.float32) - pixels).mean())
    for _ in range(_STEPS):
        middle = (low + high) / 2
        made = np.asarray(_apply(picture, "contrast", middle), dtype=np.float32)
        low, high = (middle, high) if float(np.abs(made - pixels).mean()) > wanted else (low, middle)
    return _apply(picture, "contrast", (low + high) / 2)


def moved(before: float, name: str, *, start: float, end: float) -> float:
    """A property's level after the change that leads from `start` to `end`: the same dose for every picture."""
    return before + end - start if name in SIGNED else before * max(end, 1e-3) / max(start, 1e-3)


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
