"""What a picture's own structure costs beside its pixels, read from its header before anything is decompressed.

Bounded are: the memory of a TIFF's tile, which libtiff takes whole however small the picture is, and of JPEG 2000's
records per tile; the scans of a JPEG, each of which goes through the whole picture; and the size of a plain-text PNM,
which is read letter by letter. What no picture from a real program has is refused; the rest is priced.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import IO

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from core.errors import ImageError

MOST_SCANS = 64
"""A progressive JPEG has about ten."""
MOST_PLAIN = 8 * 2**20
"""Bytes of a PNM file written as text."""
_TILE_SIDE = 4096
"""A tile may be this long, or twice as long as the picture, whichever is more: small levels keep the large one's."""
_TILE_RECORD = 2**14
"""Bytes that OpenJPEG keeps for a tile, measured at 12 thousand with three colours."""
_SMALL_TILE, _MANY_TILES = 32 * 32, 1024
_PIECE = 2**22
_BITS, _SAMPLES, _ROWS, _WIDTH, _LENGTH = 258, 277, 278, 322, 323
_SIZ = b"\xff\x4f\xff\x51"
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)


def memory_beside(image: Image.Image, file: IO[bytes]) -> int:
    """Bytes that the decoder takes for the structure of an opened picture; `file` is what it was opened from.

    Raises:
        ImageError: no real picture is built like this.
    """
    if isinstance(image, TiffImageFile):
        return _tiff(image, file)
    if image.format == "JPEG2000":
        return _jpeg_2000(file)
    return 0


def _tiff(image: TiffImageFile, file: IO[bytes]) -> int:
    """Bytes of a tile, coded and decoded, or of a strip where its pixels are larger than usual."""
    _check_tags(file)
    tags = image.tag_v2
    bits = tags.get(_BITS, 1)
    each = max(bits) if isinstance(bits, tuple) else bits
    pixel = max(1, each * tags.get(_SAMPLES, 1) // 8)
    if _WIDTH not in tags and _LENGTH not in tags:
        return int(min(tags.get(_ROWS, image.height), image.height) * image.width * max(0, pixel - 4))
    width, length = tags.get(_WIDTH, 1), tags.get(_LENGTH, 1)
    if width > max(_TILE_SIDE, 2 * image.width) or length > max(_TILE_SIDE, 2 * image.height):
        raise ImageError(
            f"holds tiles of {width} x {length} for a picture of {image.width} x {image.height} (decompression bomb?)"
        )
    return int(2 * width * length * pixel)


def _check_tags(file: IO[bytes]) -> None:
    """Refuse a tag that is there twice: of two, Pillow goes by the last and libtiff by the first."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = struct.unpack(f"{order}H", head[2:4]) == (43,)
    (place,) = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])
    file.seek(place)
    (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    entry = 20 if big else 12
    entries = file.read(entry * min(count, 2**16))
    tags = [entries[at : at + 2] for at in range(0, len(entries), entry)]
    if len(set(tags)) < len(tags):
        raise ImageError("damaged: a TIFF that names a tag twice")


def _jpeg_2000(file: IO[bytes]) -> int:
    """Bytes of the records of all tiles, by the largest number that any header in the file gives."""
    most = 0
    for place in _places(file, _SIZ):
        file.seek(place + 8)
        fields = file.read(32)
        if len(fields) < 32:
            continue
        right, bottom, _, _, width, height, left, top = struct.unpack(">8I", fields)
        tiles = -(-max(0, right - left) // max(1, width)) * -(-max(0, bottom - top) // max(1, height))
        if tiles > _MANY_TILES and width * height < _SMALL_TILE:
            raise ImageError(f"holds {tiles:,} tiles of {width} x {height} (decompression bomb?)")
        most = max(most, tiles)
    return most * _TILE_RECORD


def _places(file: IO[bytes], wanted: bytes) -> Iterator[int]:
    """Where bytes occur in a file, which is read piece by piece."""
    start, kept = 0, b""
    while True:
        file.seek(start + len(kept))
        piece = kept + file.read(_PIECE)
        if len(piece) <= len(kept):
            return
        at = piece.find(wanted)
        while at >= 0:
            yield start + at
            at = piece.find(wanted, at + 1)
        kept = piece[1 - len(wanted) :]
        start += len(piece) - len(kept)


def check_time(content: bytes) -> None:
    """Refuse a picture whose structure takes far more time than its pixels.

    Raises:
        ImageError: a JPEG of more than `MOST_SCANS` scans.
    """
    if content.startswith(b"\xff\xd8") and content.count(b"\xff\xda") > MOST_SCANS and _scans(content) > MOST_SCANS:
        raise ImageError(f"a JPEG of more than {MOST_SCANS} scans, where real ones have about ten")


def check_plain(head: bytes, size: int) -> None:
    """Refuse a PNM file that is written as text and long.

    Raises:
        ImageError: it has more than `MOST_PLAIN` bytes.
    """
    if size > MOST_PLAIN and re.match(rb"P[123]\s", head):
        raise ImageError(
            f"a plain-text PNM file of {size / 1e6:,.0f} MB, more than {MOST_PLAIN >> 20} MB: "
            "save it as binary PNM or PNG"
        )


def _scans(content: bytes) -> int:
    """How many scans a JPEG has, up to its end; what its other segments hold (small pictures, say) does not count."""
    scans, at = 0, 2
    while scans <= MOST_SCANS:
        found = _MARKER.search(content, at)
        if found is None or found[0] == b"\xff\xd9":
            break
        scans += found[0] == b"\xff\xda"
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return scans
