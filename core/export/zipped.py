"""The pictures of a slice in one zip file, with a table of all that is known of them."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from PIL import Image

from core.errors import ImageError
from core.export.pictures import Picture, Pictures
from core.export.place import MARK
from core.export.tables import flat, spreadsheet_table
from core.images.decoding import Reader, opened
from core.images.masking import overlay

_LONGEST = 768
_QUALITY = 88
BESIDE = ("file", "picture", "overlay")
"""Columns that samples.csv has before those of `samples`."""


def write_zip(
    out: Path, tables: Iterable[pa.Table], pictures: Pictures, about: Callable[[], str], *, overlays: bool
) -> None:
    """Writes `pictures/`, `overlays/` where wanted, `samples.csv` and what they are of.

    Args:
        out: the file.
        tables: rows of `samples`, a batch at a time.
        pictures: reads their pictures.
        about: gives the text of `whylook.json` once all are written.
        overlays: with the map laid over each picture.
    """
    with zipfile.ZipFile(out, "w") as archive, tempfile.TemporaryFile() as listed:
        writer: pyarrow.csv.CSVWriter | None = None
        for table in tables:
            added = [_added(archive, picture, overlays=overlays) for picture in pictures.of(table.to_pylist())]
            rows = spreadsheet_table(flat(with_columns(table, BESIDE, added)))
            writer = writer or pyarrow.csv.CSVWriter(listed, rows.schema)
            writer.write_table(rows)
        if writer is not None:
            writer.close()
        listed.seek(0)
        _write(archive, "samples.csv", listed, compressed=True)
        _write(archive, MARK, io.BytesIO(about().encode()), compressed=True)


def with_columns(table: pa.Table, names: Iterable[str], rows: Iterable[tuple[str, ...]]) -> pa.Table:
    """A table with texts before its columns; a column of the same name steps aside."""
    named, values = list(names), list(rows)
    own = [free(name, named) for name in table.column_names]
    columns = [pa.array([row[place] for row in values], pa.string()) for place in range(len(named))]
    return pa.table([*columns, *table.columns], names=[*named, *own])


def free(name: str, taken: Iterable[str]) -> str:
    """A name that is none of those taken: with `_` behind it where it would be."""
    while name in taken:
        name += "_"
    return name


def _added(archive: zipfile.ZipFile, picture: Picture, *, overlays: bool) -> tuple[str, str, str]:
    """Puts a picture into the zip; its names there."""
    if picture.kind == "missing":
        return "", picture.kind, ""
    name, drawn = f"pictures/{picture.name}", ""
    _write(archive, name, picture.content)
    if overlays and (content := _overlay(picture)) is not None:
        drawn = f"overlays/{Path(picture.name).stem}.jpg"
        _write(archive, drawn, content)
    return name, picture.kind, drawn


def _write(archive: zipfile.ZipFile, name: str, content: IO[bytes], *, compressed: bool = False) -> None:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    entry.external_attr = 0o644 << 16
    with archive.open(entry, "w", force_zip64=True) as place:
        shutil.copyfileobj(content, place, 1 << 20)


def _overlay(picture: Picture) -> IO[bytes] | None:
    """The map over the picture as JPEG; None where there is no map or the picture cannot be decoded."""
    if picture.heat is None:
        return None
    rgb = _pixels(picture)
    if rgb is None:
        return None
    out = io.BytesIO()
    Image.fromarray(overlay(rgb, picture.heat)).save(out, "JPEG", quality=_QUALITY)
    out.seek(0)
    return out


def _pixels(picture: Picture) -> np.ndarray | None:
    if picture.path is None:
        picture.content.seek(0)
        with Image.open(picture.content) as image:
            return np.asarray(image.convert("RGB"))
    try:
        with opened(picture.path, image_id=picture.row["image_id"], reader=lambda _: Reader(side=_LONGEST)) as found:
            found.picture.thumbnail((_LONGEST, _LONGEST))
            return np.asarray(found.picture).copy()
    except ImageError:
        return None
