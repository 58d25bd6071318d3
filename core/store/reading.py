"""Reading a generation: a cursor whose errors say in one line that the file is damaged, and what to do.

Knows: what DuckDB says when a block does not fit its checksum. Does not know: queries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from core.errors import StoreError


def damaged_generation(words: str, path: Path) -> str | None:
    """What to say when DuckDB's `words` mean that the generation at `path` is damaged; None when they do not."""
    if "Corrupt database file" not in words and "database has been invalidated" not in words:
        return None
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
                if said := damaged_generation(str(error), self._path):
                    raise StoreError(said) from error
                raise
            return self if result is self._cursor else result

        return call
