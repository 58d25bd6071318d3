"""One picture file to one RGB picture, whatever it holds, or an `ImageError` that says why not.

Knows: Pillow's formats, modes and failures, what a picture costs in memory. Does not know: folders, labels, models.

A picture of more than `LARGE_PIXELS` whose reader makes it small anyway is made smaller while it is decoded, by a whole
factor and never below twice the side that the reader makes of it. This depends on the picture and the reader alone,
never on the machine, and leaves all smaller pictures exactly as they are.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import ImageError
from core.images.colour import to_rgb
from core.images.files import open_regular
from core.images.structure import check_plain, check_time, memory_beside
from core.memory import NoRoom, picture_budget

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "TGA")
"""What is decoded, whatever a file is called. Pillow knows more; PostScript, for one, would start Ghostscript."""

MAX_PIXELS = 178_956_970
"""Pictures with more pixels than this (half a gigabyte as RGB) are refused before they are decompressed."""

LARGE_PIXELS = 2**25
"""From 33.5 megapixels on a picture is made smaller while it is decoded, where its reader says that it may be."""

WEBP_QUALITY = 82
_HEADER_FIRST = 2**25
"""Files up to this size are read before their place in the budget is known; a larger one only after that."""
_ICON_SIDE = 2048
_ICON_HEAD = 2**16
# Bytes per pixel that Pillow keeps by mode (4 for all others), and that decoders take beside it.
_DEPTH = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_DECODER = {"WEBP": 12, "AVIF": 12, "JPEG2000": 16, "TIFF": 4, "GIF": 5}
_PROGRESSIVE = 6
# Pillow's decoders raise all of these on damaged files, depending on the format and on where the damage is.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
# We hold the limit ourselves and record what is damaged; Pillow's warnings would only print between progress bars.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")


@dataclass(frozen=True)
class Reader:
    """What becomes of a picture: `per_pixel` bytes that are taken for it, and whether it is made small anyway.

    `side` is the longer side in pixels of what is made of any picture; None where that depends on the picture.
    """

    side: int | None = None
    per_pixel: int = 0


@dataclass
class Opened:
    """An upright RGB picture and the size (width, height) that it has in its file, upright."""

    picture: Image.Image
    size: tuple[int, int]


Hold = Callable[[int], AbstractContextManager[None]]
"""Holds so many bytes of memory while inside; may raise `NoRoom`."""


def decode(path: Path) -> Image.Image:
    """Read a picture as RGB, turned upright by its EXIF tag; of an animation the first frame.

    16-bit grey is divided by 257; floating point is taken as 0..1, or 0..255 when it exceeds 1; CMYK, grey, palette and
    the like are converted by Pillow; transparent parts are laid on white, as a person would see them.

    Raises:
        ImageError: it cannot be read, is no picture, is damaged or truncated, has more than `MAX_PIXELS` pixels, or
            needs more memory than there is.
    """
    with opened(path) as found:
        return found.picture


@contextmanager
def opened(
    path: Path,
    *,
    image_id: str | None = None,
    reader: Callable[[int], Reader] = lambda pixels: Reader(),
    hold: Hold | None = None,
) -> Iterator[Opened]:
    """A picture as `decode` reads it, with its memory held while inside.

    The file is read once: the bytes that are hashed are those that are decoded.

    Args:
        path: the file.
        image_id: the first digits of the sha256 that its bytes must have.
        reader: what becomes of a picture of so many pixels.
        hold: holds memory before a picture is decompressed; the process's budget where it is None.

    Raises:
        ImageError: as for `decode`, or it holds other bytes than `image_id` says.
    """
    with ExitStack() as held:
        with _explained():
            found = _open(path, image_id, reader, hold or picture_budget().hold, held)
        try:
            yield found
        finally:
            found.picture = Image.new("RGB", (1, 1))  # what is not held any more must not be kept by a name either


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever a file does to a decoder, as an `ImageError`."""
    try:
        yield
    except (ImageError, NoRoom):
        raise
    except Image.DecompressionBombError as error:
        count = re.search(r"\((\d+) pixels\)", str(error))
        raise ImageError(_too_many(f"{int(count[1]) / 1e6:,.0f} megapixels" if count else "")) from error
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format") from error
    except OSError as error:
        if error.errno is not None:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error
        raise ImageError(f"damaged: {error}") from error
    except _DAMAGE as error:
        raise ImageError(f"damaged: {error or type(error).__name__}") from error


def _too_many(size: str) -> str:
    """What to say of a picture above the ceiling."""
    return (
        f"{size or 'its size'} is above the ceiling of {MAX_PIXELS / 1e6:.0f} megapixels, whatever the model's "
        "transform (a decompression bomb?): make the picture smaller"
    )


def _open(path: Path, image_id: str | None, reader: Callable[[int], Reader], hold: Hold, held: ExitStack) -> Opened:
    """The picture in a file; `held` holds its memory."""
    reserved = 0
    with open_regular(path) as (file, size):
        check_plain(file.read(3), size)
        file.seek(0)
        if size > _HEADER_FIRST:
            _check_icon(file.read(_ICON_HEAD))
            file.seek(0)
            with Image.open(file, formats=FORMATS) as header:
                reserved = size + _price(header, reader) + memory_beside(header, file)
            _hold(hold, reserved, header, held)
            file.seek(0)
        content = file.read(size + 1)
    digest = hashlib.sha256(content).hexdigest()
    if len(content) != size or (image_id is not None and not digest.startswith(image_id)):
        raise ImageError("the file changed while the run was reading the folder: start the run again")
    _check_icon(content)
    check_time(content)
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    factor = _factor(image, reader(_pixels(image)))
    if factor > 1:  # JPEG alone can do that while it decompresses
        image.draft(None, (width // factor, height // factor))
    price = size + _price(image, reader, full=width * height) + memory_beside(image, io.BytesIO(content))
    if not reserved:
        _hold(hold, price, image, held)
    elif price > reserved:
        raise ImageError("the file changed while the run was reading the folder: start the run again")
    return _finish(image, (width, height), factor)


def _hold(hold: Hold, price: int, image: Image.Image, held: ExitStack) -> None:
    """Enter the budget, or say for which picture there is no room."""
    try:
        held.enter_context(hold(price))
    except NoRoom as error:
        raise ImageError(
            f"{image.width:,} x {image.height:,} pixels {error}: make the picture smaller or give the process more "
            "memory (WHYLOOK_MEMORY, where it is set)"
        ) from error


def _pixels(image: Image.Image) -> int:
    """How many pixels will be decompressed.

    Raises:
        ImageError: more than `MAX_PIXELS`.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_many(f"{image.width:,} x {image.height:,} pixels"))
    return image.width * image.height


def _check_icon(content: bytes) -> None:
    """An icon is decompressed as soon as it is opened, and what is in it may be larger than it says: look before.

    Raises:
        ImageError: it holds a picture that is no icon.
    """
    if not content.startswith(b"\0\0\1\0"):
        return
    for entry in range(struct.unpack_from("<H", content, 4)[0]):
        (place,) = struct.unpack_from("<I", content, 6 + 16 * entry + 12)
        png = content[place : place + 4] == b"\x89PNG"
        width, height = struct.unpack_from(">II" if png else "<ii", content, place + (16 if png else 4))
        if not (0 < width <= _ICON_SIDE and 0 < abs(height) <= 2 * _ICON_SIDE):
            raise ImageError(f"an icon that holds {width:,} x {abs(height):,} pixels (decompression bomb?)")


def _factor(image: Image.Image, reader: Reader) -> int:
    """By which whole number both sides may be divided; see the top of this file."""
    if reader.side is None or image.width * image.height <= LARGE_PIXELS:
        return 1
    return max(1, min(image.size) // (2 * reader.side))


def _price(image: Image.Image, reader: Callable[[int], Reader], *, full: int = 0) -> int:
    """Bytes at the peak of decoding, turning and converting, or of what the reader makes of the result."""
    pixels = _pixels(image)
    use = reader(max(pixels, full))
    depth = _DEPTH.get(image.mode, 4)
    beside = max(_DECODER.get(image.format or "", 0), 0 if image.mode == "RGB" and not _turned(image) else 4)
    progressive = _PROGRESSIVE * max(pixels, full) if image.info.get("progressive") else 0
    kept = pixels // max(1, _factor(image, use)) ** 2
    return progressive + max(pixels * (depth + beside), (4 + use.per_pixel) * kept)


def _turned(image: Image.Image) -> bool:
    """Whether a large picture will be turned, which takes a copy; small ones are taken to be."""
    if image.width * image.height <= LARGE_PIXELS:
        return True
    if image.format == "PNG":  # asked for its EXIF block, Pillow would decompress it to look behind the pixels, too
        return "exif" in image.info
    try:
        return bool(image.getexif().get(0x0112, 1) != 1)
    except _DAMAGE:
        return False


def _finish(image: Image.Image, size: tuple[int, int], factor: int) -> Opened:
    """Decompressed, upright, RGB, and made smaller where it may be."""
    lying = image.size
    image.load()
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_many(f"{image.width:,} x {image.height:,} pixels"))
    reduced = lying != size
    if not reduced:
        size = image.size  # an icon says its size only now
    before = image.size
    _set_upright(image)
    if image.size != before:
        size = size[::-1]
    picture = to_rgb(image)
    return Opened(picture.reduce(factor) if factor > 1 and not reduced else picture, size)


def _set_upright(image: Image.Image) -> None:
    """Turn it as its EXIF orientation says; a damaged EXIF block is no reason to lose a picture."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except _DAMAGE:
        return


def thumbnail(image: Image.Image, *, side: int = 224) -> bytes:
    """The picture as WebP bytes, at most `side` pixels on its longer side; smaller pictures keep their size."""
    small = image if image.mode == "RGB" else image.convert("RGB")
    small = small.resize(_fitted(small.size, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY, method=2)
    return buffer.getvalue()


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size within `side` whose aspect ratio is nearest to that of `size`; never larger than it."""
    width, height = size
    if max(size) <= side:
        return size
    ratio = width / height
    exact = side / ratio if ratio >= 1 else side * ratio
    shorts = [max(1, int(exact)), max(1, -int(-exact // 1))]
    if ratio >= 1:
        return side, min(shorts, key=lambda short: abs(ratio - side / short))
    return min(shorts, key=lambda short: abs(ratio - short / side)), side
