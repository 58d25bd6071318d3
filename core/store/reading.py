"""Reading a generation: a cursor whose errors say in one line that the file is damaged, and what to do."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from core.errors import StoreError
from core.store.quoting import literal


def means_damaged(words: str) -> bool:
    """Whether DuckDB's words mean that a block does not fit its checksum, or that a shard to be read is gone."""
    gone = "No files found" in words and "shards/" in words
    return gone or "Corrupt database file" in words or "database has been invalidated" in words


def damaged_words(path: Path) -> str:
    """What to say of a damaged generation."""
    return (
        f"{path} is damaged (bytes that do not fit their checksums, or a shard that is gone): "
        "the same whylook run again makes it anew from the shards, and computes nothing twice"
    )


def look_for_shards(con: duckdb.DuckDBPyConnection, folder: Path) -> Path:
    """Lets a connection find the large shards of a generation in `folder`; the path that it looks in."""
    place = _without_comma(folder.absolute())
    con.execute(f"SET GLOBAL file_search_path = {literal(place)}")
    con.execute("SET GLOBAL parquet_metadata_cache = true")
    return place


@cache
def _without_comma(folder: Path) -> Path:
    """The folder, or a link to it: DuckDB takes a comma for the end of a path."""
    if "," not in str(folder):
        return folder
    place = tempfile.mkdtemp(prefix="whylook-link-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    link = Path(place) / "store"
    link.symlink_to(folder)
    return link


class Reader:
    """A DuckDB cursor, method for method; a damaged block is a StoreError."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, path: Path, hold: object) -> None:
        """Stands before `cursor` on the generation at `path`, which stays as it is while `hold` is alive."""
        self._cursor = cursor
        self._path = path
        self._hold = hold

    def __getattr__(self, name: str) -> Any:
        """The cursor's attribute; what a method raises for a damaged file is said clearly."""
        value = getattr(self._cursor, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                result = value(*arguments, **options)
            except duckdb.Error as error:
                if means_damaged(str(error)):
                    raise StoreError(damaged_words(self._path)) from error
                raise
            return self if result is self._cursor else result

        return call
