"""What FiftyOne and Label Studio have in common: a folder of pictures with a list of them in JSON."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from core.export.pictures import Picture, Pictures

JsonValue = Any


def placed(folder: Path, tables: Iterable[pa.Table], pictures: Pictures) -> Iterator[Picture]:
    """Copies the pictures into a folder one by one; those of which nothing is kept are left out."""
    folder.mkdir()
    for table in tables:
        for picture in pictures.of(table.to_pylist()):
            if picture.kind == "missing":
                continue
            with (folder / picture.name).open("xb") as file:
                shutil.copyfileobj(picture.content, file, 1 << 20)
            yield picture


class JsonList:
    """A JSON list or object that is written item by item."""

    def __init__(self, file: IO[str]) -> None:
        """Writes into `file`."""
        self._file = file
        self._first = True

    def add(self, item: JsonValue, *, key: str | None = None) -> None:
        """One more item, of an object under its key."""
        self._file.write("\n" if self._first else ",\n")
        self._file.write("" if key is None else f"{json.dumps(key)}: ")
        self._file.write(json.dumps(item, ensure_ascii=False, allow_nan=False))
        self._first = False


@contextmanager
def json_list(path: Path, *, before: str, after: str) -> Iterator[JsonList]:
    """A file with items between `before` and `after`."""
    with path.open("w", encoding="utf-8") as file:
        file.write(before)
        yield JsonList(file)
        file.write(f"\n{after}\n")


def plain(value: object) -> JsonValue:
    """A value of a row as JSON has it: not a number is null, times are texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
