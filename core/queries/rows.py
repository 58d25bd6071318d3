"""Rows of a query as dicts: what the named reads are made of.

Knows: DuckDB's connection. Does not know: which tables there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

Connection = duckdb.DuckDBPyConnection


def fetch_rows(
    con: Connection, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()
) -> list[dict[str, Any]]:
    """The rows of a query as dicts; parameters for ? as a sequence, for $name as a mapping."""
    result = con.execute(sql, dict(parameters) if isinstance(parameters, Mapping) else list(parameters))
    names = [str(column[0]) for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def narrowed(ids: Sequence[str] | None) -> tuple[str, list[object]]:
    """SQL that keeps only `ids`, and its parameter."""
    return ("", []) if ids is None else (" AND image_id IN (SELECT unnest(?::VARCHAR[]))", [list(ids)])
