"""Masked pictures and overlays from a picture and a map.

Knows: arithmetic on pixels. Does not know: models, files, judges. Maps are kept small and enlarged only here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import zoom

from core.records import ATTENDED, Fill

ALPHA = 25.0
"""Steepness of the mask's edge (arXiv 2508.20227)."""
BETA = ATTENDED
"""Map value at which the mask is one half (arXiv 2508.20227)."""
GREY = 128.0

# The scale "inferno" of matplotlib (CC0), 33 points; linear between them it is within 2 of 255 of the original. It is
# kept as a table: of the libraries that whylook needs none has it, and matplotlib would be 30 MB for it.
INFERNO = np.array(
    list(
        bytes.fromhex(
            "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b56106e63156e70196e"
            "7d1e6d89226a962766a32c61af315bbb3654c63d4dd14545da4f3ce35932eb6529"
            "f1721ef67f14f98c0afb9b06fcaa0ffbba1ff9c932f5d949f2e865f3f586fcffa4"
        )
    ),
    dtype=np.float64,
).reshape(-1, 3)


def enlarge(map_: ArrayLike, *, size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w) enlarged to `size` (H, W) by bilinear interpolation between cell centres.

    The same as torch's `interpolate(mode="bilinear", align_corners=False)`; torch itself takes seconds to import.

    Raises:
        ValueError: the map is not two-dimensional or is empty.
    """
    values = np.asarray(map_, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"a map must have shape (h, w), got {values.shape}")
    factors = [there / here for there, here in zip(size, values.shape, strict=True)]
    larger: NDArray[np.float32] = zoom(values, factors, order=1, mode="nearest", grid_mode=True)
    return larger


def mask_weights(
    map_: ArrayLike, *, size: tuple[int, int], alpha: float = ALPHA, beta: float = BETA
) -> NDArray[np.float32]:
    """The mask M (H, W) in 0..1: M = 1 / (1 + exp(alpha * (beta - v))) of the enlarged map v (arXiv 2508.20227)."""
    value = enlarge(map_, size=size)
    # tanh says the same as the formula and does not overflow for a steep edge.
    weights: NDArray[np.float32] = (0.5 * (1.0 + np.tanh(0.5 * alpha * (value - beta)))).astype(np.float32)
    return weights


def masked_image(
    rgb: NDArray[np.uint8], map_: ArrayLike, *, alpha: float = ALPHA, beta: float = BETA, fill: Fill = "black"
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with unattended pixels replaced: I * M + F * (1 - M), where F is black, grey or blurred.

    Raises:
        ValueError: the picture is not (H, W, 3), or `fill` is none of the three.
    """
    _check_picture(rgb)
    weights = mask_weights(map_, size=rgb.shape[:2], alpha=alpha, beta=beta)[..., None]  # (H, W, 1)
    picture = rgb.astype(np.float32)
    return _to_uint8(picture * weights + _filling(rgb, fill) * (1 - weights))


def _filling(rgb: NDArray[np.uint8], fill: Fill) -> NDArray[np.float32]:
    """What unattended pixels are replaced with, broadcastable to (H, W, 3)."""
    if fill == "black":
        return np.zeros(1, np.float32)
    if fill == "grey":
        return np.full(1, GREY, np.float32)
    if fill == "blur":
        blurred = Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(max(rgb.shape[:2]) / 16))
        return np.asarray(blurred, dtype=np.float32)
    raise ValueError(f"fill must be black, grey or blur, got {fill!r}")


def overlay(rgb: NDArray[np.uint8], map_: ArrayLike, *, strength: float = 0.5) -> NDArray[np.uint8]:
    """The picture (H, W, 3) under its map in the colours of `colours`; strength 0 is the picture, 1 the map alone.

    Raises:
        ValueError: the picture is not (H, W, 3), or strength is not in 0..1.
    """
    _check_picture(rgb)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    tint = colours(enlarge(map_, size=rgb.shape[:2]))
    return _to_uint8((1 - strength) * rgb.astype(np.float32) + strength * tint.astype(np.float32))


def colours(values: ArrayLike) -> NDArray[np.uint8]:
    """Values in 0..1, any shape, as RGB of a perceptually uniform scale (inferno): shape (..., 3) uint8."""
    place = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64)), 0, 1) * (len(INFERNO) - 1)
    channels = [np.interp(place, np.arange(len(INFERNO)), INFERNO[:, channel]) for channel in range(3)]
    return _to_uint8(np.stack(channels, axis=-1))


def _to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Rounded and clipped to 0..255."""
    rounded: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _check_picture(rgb: NDArray[np.uint8]) -> None:
    """Refuse anything but (H, W, 3) uint8."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a picture must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
