"""Reading a generation: a cursor whose errors say in one line that the file is damaged, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from core.errors import StoreError


def means_damaged(words: str) -> bool:
    """Whether DuckDB's words mean that a block of the file does not fit its checksum."""
    return "Corrupt database file" in words or "database has been invalidated" in words


def damaged_words(path: Path) -> str:
    """What to say of a damaged generation."""
    return (
        f"{path} is damaged (its bytes do not fit their checksums): "
        "the same whylook run again makes it anew from the shards, and computes nothing twice"
    )


class Reader:
    """A DuckDB cursor, method for method; a damaged block is a StoreError."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, path: Path) -> None:
        """Stands before `cursor` on the generation at `path`."""
        self._cursor = cursor
        self._path = path

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
