"""What a picture is like as a whole, from its pixels: light, contrast, colour, sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace
from skimage.color import rgb2hsv

SIDE = 128
"""Longer side at which properties are measured, so that they mean the same for large and small files."""
LUMA = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601."""
_GREY_BELOW = 0.15
"""Mean saturation below which a picture has no colour."""
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
_BORDERS = (0.04, 0.11, 0.18, 0.44, 0.53, 0.72, 0.83, 0.94)
"""Upper hue (0 to 1) of each of them; beyond the last it is red again."""


@dataclass(frozen=True)
class Properties:
    """Properties of one picture; columns of table `images` and of `samples`.

    brightness: mean luma, 0 to 1. contrast: its standard deviation, 0 to 0.5. saturation: mean of HSV's S, 0 to 1.
    warmth: mean of red less blue, -1 to 1. sharpness: root mean square of the Laplacian, 0 to about 1. colour: the
    commonest hue among the coloured pixels, or grey.
    """

    brightness: float
    contrast: float
    saturation: float
    warmth: float
    sharpness: float
    colour: str


def properties(picture: Image.Image) -> Properties:
    """The properties of an RGB picture, measured at 128 pixels or fewer on its longer side."""
    pixels = _pixels(picture)
    luma = pixels @ LUMA  # (H, W)
    hue, saturation, value = np.moveaxis(rgb2hsv(pixels), -1, 0)
    return Properties(
        brightness=float(luma.mean()),
        contrast=float(luma.std()),
        saturation=float(saturation.mean()),
        warmth=_warmth(pixels),
        sharpness=_sharpness(luma),
        colour=_colour(hue, saturation * value),
    )


def level(picture: Image.Image, name: str) -> float:
    """One of the properties that are numbers, as `properties` measures it."""
    pixels = _pixels(picture)
    if name == "saturation":
        return float(rgb2hsv(pixels)[..., 1].mean())
    if name == "warmth":
        return _warmth(pixels)
    luma = pixels @ LUMA
    return _sharpness(luma) if name == "sharpness" else float(luma.std() if name == "contrast" else luma.mean())


def _pixels(picture: Image.Image) -> NDArray[np.float32]:
    """(H, W, 3), 0 to 1."""
    small = picture.convert("RGB")
    if max(small.size) > SIDE:
        scale = SIDE / max(small.size)
        size = (max(3, round(small.width * scale)), max(3, round(small.height * scale)))
        small = small.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(np.asarray(small) / np.float32(255), dtype=np.float32)


def _warmth(pixels: NDArray[np.float32]) -> float:
    return float((pixels[..., 0] - pixels[..., 2]).mean())


def _sharpness(luma: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(laplace(luma) ** 2))) if min(luma.shape) >= 3 else 0.0


def _colour(hue: NDArray[np.float32], strength: NDArray[np.float32]) -> str:
    """The hue that most of the colour has; `strength` weighs the pixels."""
    if float(strength.mean()) < _GREY_BELOW / 2:
        return "grey"
    places = np.searchsorted(_BORDERS, hue.ravel()) % len(HUES)
    return HUES[int(np.bincount(places, weights=strength.ravel(), minlength=len(HUES)).argmax())]
