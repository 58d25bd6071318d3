"""Table `metadata`: a typed column per name in the images' metadata; names never reach SQL text.

Rows that fit the columns are added; where a name is new or a value is of another kind, the table is made again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from core.columns import BY_NAME

INNER = ("fingerprint", "high_score", "described")
"""Columns that `samples` is made with and does not show."""
_TYPES: dict[str, pa.DataType] = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}
_Row = tuple[str, str, dict[str, Any]]


def add_metadata(con: duckdb.DuckDBPyConnection, arrived: str) -> bool:
    """Adds the metadata of the images in table `arrived`; whether the columns stayed what they were."""
    rows = _rows(con, arrived)
    known = {
        str(name): (str(column), set(kinds)) for name, column, kinds in con.execute("FROM metadata_names").fetchall()
    }
    found: dict[str, set[str]] = {}
    for _, _, values in rows:
        for name, value in values.items():
            found.setdefault(name, set()).update(_kind(value))
    fits = found.keys() <= known.keys()
    for name in found.keys() & known.keys():
        kinds = known[name][1]
        fits = fits and _type(kinds | found[name]) == _type(kinds)
    if not fits:
        make_metadata(con)
        return False
    columns = {column: _column([row[2].get(name) for row in rows], kinds) for name, (column, kinds) in known.items()}
    con.register("arriving_metadata", _table(rows, columns))
    con.execute(
        f"""DELETE FROM metadata m USING {arrived} a WHERE m.fingerprint = a.fingerprint AND m.image_id = a.image_id;
        INSERT INTO metadata BY NAME FROM arriving_metadata"""
    )
    con.unregister("arriving_metadata")
    return True


def make_metadata(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the table again from every image's metadata."""
    rows = _rows(con, "images")
    names = list(dict.fromkeys(name for row in rows for name in row[2]))
    reserved = {*BY_NAME, *INNER}
    columns: dict[str, pa.Array] = {}
    known = []
    for name in names:
        values = [row[2].get(name) for row in rows]
        kinds = {kind for value in values for kind in _kind(value)}
        column = _free_name(name, reserved)
        columns[column] = _column(values, kinds)
        known.append((name, column, sorted(kinds)))
    con.register("arriving_metadata", _table(rows, columns))
    con.execute("CREATE OR REPLACE TABLE metadata AS FROM arriving_metadata")
    con.unregister("arriving_metadata")
    con.execute("DELETE FROM metadata_names")
    if known:
        con.executemany("INSERT INTO metadata_names VALUES (?, ?, ?)", known)


def _rows(con: duckdb.DuckDBPyConnection, table: str) -> list[_Row]:
    found = con.execute(f"SELECT fingerprint, image_id, metadata FROM {table} ORDER BY ALL").fetchall()
    return [(row[0], row[1], json.loads(row[2] or "{}")) for row in found]


def _table(rows: Sequence[_Row], columns: dict[str, pa.Array]) -> pa.Table:
    keys = {
        "fingerprint": pa.array([row[0] for row in rows], pa.string()),
        "image_id": pa.array([row[1] for row in rows], pa.string()),
    }
    return pa.table({**keys, **columns})


def _free_name(name: str, taken: set[str]) -> str:
    """A column name that nothing else has (DuckDB ignores case), noted in `taken`."""
    free = f"meta_{name}" if name.lower() in taken or not name else name
    number = 2
    while free.lower() in taken:
        free, number = f"meta_{name}_{number}", number + 1
    taken.add(free.lower())
    return free


def _kind(value: Any) -> set[str]:
    """What a value is, as a set of one; empty for none."""
    if value is None:
        return set()
    name = type(value).__name__
    if name == "int" and not -(2**63) <= value < 2**63:
        return {"large"}
    return {name if name in _TYPES else "other"}


def _type(kinds: set[str]) -> pa.DataType:
    """The narrowest type that holds every kind of value: boolean, whole, real, else text."""
    if len(kinds) == 1:
        return _TYPES.get(next(iter(kinds)), pa.string())
    return pa.float64() if kinds == {"int", "float"} or kinds == {"large", "float"} else pa.string()


def _column(values: Sequence[Any], kinds: set[str]) -> pa.Array:
    type_ = _type(kinds)
    if type_ == pa.string():
        return pa.array([None if value is None else str(value) for value in values], type_)
    if type_ == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], type_)
    return pa.array(values, type_)
