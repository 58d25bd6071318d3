"""Rows of a query as dicts: what the named reads are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.records import Row

Connection = duckdb.DuckDBPyConnection
T = TypeVar("T")


def fetch_rows(con: Connection, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
    """The rows of a query as dicts; parameters for ? as a sequence, for $name as a mapping."""
    result = con.execute(sql, dict(parameters) if isinstance(parameters, Mapping) else list(parameters))
    names = [str(column[0]) for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def fetch_as(
    kind: Callable[..., T], con: Connection, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()
) -> list[T]:
    """The rows of a query as records of one kind, whose fields are the columns."""
    return [kind(**row) for row in fetch_rows(con, sql, parameters)]


def narrowed(ids: Sequence[str] | None) -> tuple[str, list[object]]:
    """SQL that keeps only `ids`, and its parameter."""
    return ("", []) if ids is None else (" AND image_id IN (SELECT unnest(?::VARCHAR[]))", [list(ids)])


def bytes_of(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """A column of bytes, all of one length, as rows (n, length); (0, 0) where there are none.

    Raises:
        ValueError: one is missing, or of another length.
    """
    if column.null_count:
        raise ValueError(f"{column.null_count} of {len(column)} are missing")
    parts = []
    width = len(column[0].as_py()) if len(column) else 0
    for part in column.chunks:
        if len(part):
            fixed = part.cast(pa.binary(width))
            start, end = fixed.offset * width, (fixed.offset + len(fixed)) * width
            parts.append(np.frombuffer(fixed.buffers()[1], np.uint8)[start:end].reshape(-1, width))
    if not parts:
        return np.zeros((0, width), np.uint8)
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def has_table(con: Connection, name: str) -> bool:
    """Whether a published generation has a table: those of an older whylook lack some."""
    return bool(con.execute("SELECT 1 FROM information_schema.tables WHERE table_name = ?", [name]).fetchall())


def has_column(con: Connection, table: str, name: str) -> bool:
    """Whether a published generation's table has a column."""
    found = "SELECT 1 FROM information_schema.columns WHERE table_name = ? AND column_name = ?"
    return bool(con.execute(found, [table, name]).fetchall())
