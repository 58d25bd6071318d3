"""Files that were read before: a file of the same size, place and times of change holds the same bytes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NAME = "listing.parquet"
"""Its name in a store."""
_SETTLED_NS = 2_000_000_000
"""A file that changed this shortly before it was read may change again within one tick of its clock."""
_NUMBERS = ("size", "changed", "noted", "inode")
_SCHEMA = pa.schema([("path", pa.string()), *((name, pa.int64()) for name in _NUMBERS), ("image_id", pa.string())])


class KnownFiles:
    """Content hashes by path, as far as the files are what they were: size, both times of change (ns), inode."""

    def __init__(self, file: Path | None = None) -> None:
        """Reads what was kept in `file`; nothing where it is wanting or cannot be read."""
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._numbers = np.zeros((0, len(_NUMBERS)), np.int64)
        self._new: dict[str, tuple[tuple[int, ...], str]] = {}
        self._found: set[int] = set()
        if file is not None and file.is_file():
            with suppress(pa.ArrowException, OSError, ValueError, KeyError):
                table = pq.read_table(file, schema=_SCHEMA)
                numbers = np.stack([table[name].to_numpy() for name in _NUMBERS], axis=1).astype(np.int64)
                ids, paths = table["image_id"].to_pylist(), table["path"].to_pylist()
                self._rows, self._ids, self._numbers = {path: row for row, path in enumerate(paths)}, ids, numbers

    def find(self, path: str, about: os.stat_result) -> str | None:
        """The content hash of a file, None where it is not known."""
        row = self._rows.get(path)
        if row is None or tuple(self._numbers[row].tolist()) != _numbers(about):
            return None
        self._found.add(row)
        return self._ids[row]

    def note(self, path: str, about: os.stat_result, image_id: str) -> None:
        """Keeps a hash that was just read, unless the file changed only just now."""
        if max(about.st_mtime_ns, about.st_ctime_ns) < time.time_ns() - _SETTLED_NS:
            self._new[path] = (_numbers(about), image_id)

    def save(self, file: Path) -> None:
        """Keeps what was found or noted, for the next run; without it that only takes longer, so no error is raised."""
        if not self._new and len(self._found) == len(self._ids):
            return
        kept = [(path, row) for path, row in self._rows.items() if row in self._found and path not in self._new]
        rows = [row for _, row in kept]
        numbers = np.concatenate(
            [
                self._numbers[rows],
                np.array([told for told, _ in self._new.values()], np.int64).reshape(-1, len(_NUMBERS)),
            ]
        )
        columns = {
            "path": [*(path for path, _ in kept), *self._new],
            "image_id": [*(self._ids[row] for row in rows), *(image_id for _, image_id in self._new.values())],
            **{name: numbers[:, place] for place, name in enumerate(_NUMBERS)},
        }
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        with suppress(pa.ArrowException, OSError, UnicodeError):
            pq.write_table(pa.table({name: columns[name] for name in _SCHEMA.names}, schema=_SCHEMA), temporary)
            temporary.replace(file)
        with suppress(OSError):
            temporary.unlink()


def _numbers(about: os.stat_result) -> tuple[int, ...]:
    return (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
