"""One picture file to one RGB picture, whatever it holds, or an `ImageError` that says why not.

Knows: Pillow's modes and failures. Does not know: folders, labels, models.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import ImageError

MAX_PIXELS = 178_956_970
"""Pictures with more pixels than this (half a gigabyte as RGB) are refused before they are decompressed."""

WEBP_QUALITY = 82
# Pillow's decoders raise all of these on damaged files, depending on the format and on where the damage is.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
# We hold the limit ourselves and record what is damaged; Pillow's warnings would only print between progress bars.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")


def decode(path: Path) -> Image.Image:
    """Read a picture as RGB, turned upright by its EXIF tag; of an animation the first frame.

    16-bit grey is divided by 257; floating point is taken as 0..1, or 0..255 when it exceeds 1; CMYK, grey, palette and
    the like are converted by Pillow; transparent parts are laid on white, as a person would see them.

    Raises:
        ImageError: it cannot be read, is no picture, is damaged or truncated, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with path.open("rb") as file:
            return _decode_open(io.BytesIO(file.read()))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels (decompression bomb?)") from error
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format") from error
    except OSError as error:
        if error.errno is not None:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error
        raise ImageError(f"damaged: {error}") from error
    except _DAMAGE as error:
        raise ImageError(f"damaged: {error or type(error).__name__}") from error


def _decode_open(data: io.BytesIO) -> Image.Image:
    """The RGB picture in these bytes."""
    if not data.getbuffer().nbytes:
        raise ImageError("empty file (0 bytes)")
    with Image.open(data) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels (decompression bomb?)")
        image.load()
        return _to_rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a damaged EXIF block is no reason to lose a picture."""
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE:
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    converted: Image.Image = image.convert("RGB")
    # `convert` hands back a lazy copy for RGB; a copy of our own survives the closed file.
    return converted.copy() if converted is image else converted


def _to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Deep grey values (H, W) to 8 bits, by the scale of their type and never by their own contrast."""
    data = values.astype(np.float64)
    if not np.isfinite(data).all():
        raise ImageError("holds values that are not finite")
    top = float(data.max(initial=0.0))
    if values.dtype.kind == "f":
        factor = 255.0 if top <= 1.0 else 1.0 if top <= 255.0 else 255.0 / top
    else:
        factor = 1 / 257 if top <= 65_535 else 255.0 / top
    scaled: NDArray[np.uint8] = np.clip(np.rint(data * factor), 0, 255).astype(np.uint8)
    return scaled


def thumbnail(image: Image.Image, *, side: int = 224) -> bytes:
    """The picture as WebP bytes, at most `side` pixels on its longer side; smaller pictures keep their size."""
    small = image.convert("RGB") if image.mode != "RGB" else image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY, method=2)
    return buffer.getvalue()
