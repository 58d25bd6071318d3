"""The pictures of a slice one after the other: the original file where it still is, else the kept thumbnail."""

from __future__ import annotations

import hashlib
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core import queries
from core.errors import ImageError
from core.images import IMAGE_SUFFIXES
from core.images.files import open_regular, why
from core.records import Row

AT_ONCE = 100
_CHUNK = 1 << 20
_IN_MEMORY = 16 << 20
_LONGEST_STEM = 120
"""Bytes of a file's name that are kept, so that with id and end it fits every file system."""
Kind = Literal["original", "thumbnail", "missing"]


@dataclass(frozen=True)
class Picture:
    """One picture: its row of `samples`, and its bytes, readable from the start until the next picture is asked for."""

    row: Row
    name: str
    """A file name that no other picture of the slice has, whatever the case; empty where there are no bytes."""
    kind: Kind
    content: IO[bytes]
    heat: NDArray[np.float32] | None
    path: Path | None
    """Where the original lies; None where it is not there any more."""


@dataclass(frozen=True)
class Source:
    """What pictures are read from: a run, its folder and the tags that people gave meanwhile."""

    con: queries.Connection
    run: str
    folder: Path
    tags: dict[str, list[str]]


def batches(source: Source, ids: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of `samples` of some pictures, typed, in the order of `ids`, `AT_ONCE` at a time."""
    for start in range(0, len(ids), AT_ONCE):
        table = queries.sample_rows(source.con, source.run, ids[start : start + AT_ONCE])
        tags = [sorted(source.tags.get(image_id, ())) for image_id in table["image_id"].to_pylist()]
        place = table.schema.get_field_index("tags")
        named = pa.array(tags, pa.list_(pa.string()))
        yield table.append_column("tags", named) if place < 0 else table.set_column(place, "tags", named)


class Pictures:
    """Reads the pictures of batches; their names are unique over all of them."""

    def __init__(self, source: Source, *, maps: bool = False, done: Callable[[Kind], None] = lambda kind: None) -> None:
        """`maps`: with the map of each; `done` is told of every picture when the next one is asked for."""
        self._source = source
        self._maps = maps
        self._done = done
        self._taken: set[str] = set()

    def of(self, rows: Sequence[Row]) -> Iterator[Picture]:
        """The pictures of some rows, in their order."""
        ids = [row["image_id"] for row in rows]
        paths = queries.paths_of(self._source.con, self._source.run, ids)
        kept = queries.thumbnails(self._source.con, ids)
        heats = queries.maps(self._source.con, self._source.run, ids) if self._maps else {}
        for row in rows:
            image_id = row["image_id"]
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as content:
                path = self._original(image_id, paths.get(image_id, ()), content)
                kind: Kind = "original" if path else _thumbnail(kept.get(image_id), content)
                suffix = _suffix(path, content) if path else ".webp"
                name = "" if kind == "missing" else self._name(row, suffix)
                yield Picture(row, name, kind, content, heats.get(image_id), path)
            self._done(kind)

    def _original(self, image_id: str, paths: Sequence[str], content: IO[bytes]) -> Path | None:
        """Copies the file that still has the bytes that were explained, and says which it is."""
        for path in paths:
            with suppress(ImageError):
                if _copied(self._source.folder / path, content, image_id):
                    return self._source.folder / path
        return None

    def _name(self, row: Row, suffix: str) -> str:
        stem = safe_stem(str(row.get("path") or ""), row["image_id"][:8])
        if stem.casefold() in self._taken:
            stem = safe_stem(str(row.get("path") or ""), row["image_id"])
        self._taken.add(stem.casefold())
        return stem + suffix


def safe_stem(path: str, mark: str) -> str:
    """A picture's own name without its folder, of letters, digits, `.`, `_` and `-` alone, with a mark behind it."""
    stem = unicodedata.normalize("NFC", PurePosixPath(path.replace("\\", "/")).stem)
    stem = re.sub(r"[^\w.-]+", "_", stem).encode("utf-8", "ignore")[:_LONGEST_STEM].decode("utf-8", "ignore")
    return f"{stem.strip('._-') or 'picture'}-{re.sub(r'[^0-9A-Za-z]+', '', mark)}"


def _thumbnail(kept: bytes | None, content: IO[bytes]) -> Kind:
    content.seek(0)
    content.truncate()
    content.write(kept or b"")
    content.seek(0)
    return "thumbnail" if kept else "missing"


def _copied(path: Path, content: IO[bytes], image_id: str) -> bool:
    """Copies a file; whether it still has the bytes that were explained."""
    content.seek(0)
    content.truncate()
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
        content.write(chunk)
    content.seek(0)
    return digest.hexdigest().startswith(image_id)


def _chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file; that it cannot be read is an ImageError, so that a full disk elsewhere is told apart."""
    with open_regular(path) as (file, _):
        while True:
            try:
                chunk = file.read(_CHUNK)
            except OSError as error:
                raise ImageError(why(error)) from error
            if not chunk:
                return
            yield chunk


def _suffix(path: Path, content: IO[bytes]) -> str:
    """The end of a picture's name: its own, or what its bytes are where that names no picture."""
    own = path.suffix.lower()
    if own in IMAGE_SUFFIXES:
        return own
    try:
        with Image.open(content) as image:
            return f".{(image.format or 'img').lower()}"
    except (UnidentifiedImageError, OSError, ValueError):
        return ".img"
    finally:
        content.seek(0)
