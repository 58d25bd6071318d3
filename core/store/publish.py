"""Publishing: shards -> one DuckDB file that readers open read-only.

Knows: the schema, which shards a file already holds, the text index. Does not know: locks, file names, models.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from core.columns import BY_NAME
from core.errors import StoreError
from core.records import CAUSAL_SAMPLE
from core.store.quoting import literal
from core.store.shard_set import KEYS, ShardSet
from core.store.shards import PROPERTIES, SCHEMAS, DamagedShardError, read_shard

STORE_VERSION = 3
_AT_ONCE = 200
"""Shards loaded in one transaction: bounds the memory that a large store needs."""
_BYTES_AT_ONCE = 64 << 20
_SCHEMA = Path(__file__).parent.parent / "schema.sql"
INNER = ("fingerprint", "high_score", "described")
"""Columns that `samples` is made with and does not show."""
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": "2GB",
    "preserve_insertion_order": False,
}
_TYPES: dict[type, pa.DataType] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


@dataclass(frozen=True)
class Contents:
    """What a generation holds beside the shards: rows of the small tables, by table name."""

    runs: Sequence[Mapping[str, Any]]
    slices: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, Any]]
    tags: Sequence[Mapping[str, Any]]
    deck: Sequence[Mapping[str, Any]]
    run_names: Sequence[Mapping[str, Any]]
    cues: Sequence[Mapping[str, Any]]


def fts_extension() -> Path:
    """The text index extension inside the installed wheel (works offline).

    Raises:
        StoreError: the wheel is missing or made for another DuckDB.
    """
    spec = importlib.util.find_spec("duckdb_extension_fts")
    folders = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        path = folder / "extensions" / f"v{duckdb.__version__}" / "fts.duckdb_extension"
        if path.is_file():
            return path
    version = duckdb.__version__
    raise StoreError(
        f"text search needs the package duckdb-extension-fts=={version}; pip install it beside duckdb {version}"
    )


def load_fts(con: duckdb.DuckDBPyConnection) -> None:
    """Loads the text index extension into a connection."""
    con.execute(f"LOAD {literal(fts_extension())}")


def schema_section(name: str) -> str:
    """One section of schema.sql."""
    parts = _SCHEMA.read_text(encoding="utf-8").split("-- section: ")
    return next(part.partition("\n")[2] for part in parts[1:] if part.partition("\n")[0].strip() == name)


def build(target: Path, *, copied: bool, shards: ShardSet, contents: Contents, generation: int) -> dict[str, int]:
    """Makes the database file `target` from the shards.

    Args:
        target: file to make; nothing may be there, or with `copied` a copy of an earlier generation.
        copied: load only the shards that the copy lacks.
        shards: the shards; it sets aside those that turn out damaged.
        contents: the small tables.
        generation: number to write into the file.

    Returns:
        Rows per shard table.

    Raises:
        duckdb.Error, OSError: the file could not be made (full disk, unusable copy).
    """
    con = duckdb.connect(str(target.absolute()), config=_CONFIG)  # "md:" and the like would be taken for a scheme
    try:
        load_fts(con)
        if not copied:
            con.execute(schema_section("tables"))
        elif con.execute("SELECT version FROM store_info").fetchone() != (STORE_VERSION,):
            raise duckdb.InvalidInputException("an earlier generation of another version")
        for column in (
            "judge_limits VARCHAR",
            "listing_attempt INTEGER",
            "causal_fingerprint VARCHAR",
        ):  # older generations lack them
            con.execute(f"ALTER TABLE runs ADD COLUMN IF NOT EXISTS {column}")
        for column in ("near_hash BLOB", *(f"{name} FLOAT" for name in PROPERTIES), "colour VARCHAR"):
            con.execute(f"ALTER TABLE images ADD COLUMN IF NOT EXISTS {column}")
        con.execute(schema_section("discovery"))
        con.execute("ALTER TABLE attributions ADD COLUMN IF NOT EXISTS seen FLOAT[]")
        con.execute("ALTER TABLE findings ADD COLUMN IF NOT EXISTS evidence VARCHAR")
        for column in ("label_asked VARCHAR", "label_score FLOAT"):
            con.execute(f"ALTER TABLE judgements ADD COLUMN IF NOT EXISTS {column}")
        changed = {table for table in SCHEMAS if _load_new(con, table, shards)}
        _write_contents(con, contents, generation)
        if "images" in changed or {name.lower() for name in _column_names(con, "metadata")[2:]} & {*BY_NAME, *INNER}:
            _make_metadata(con)  # a column of the user's may be called as one of `samples` is by now
        if "judgements" in changed or not copied:
            con.execute(schema_section("documents"))
            con.execute("PRAGMA create_fts_index('documents', 'document', 'text', stemmer='porter', overwrite=1)")
        samples = schema_section("samples").replace("{columns}", ", ".join(BY_NAME))
        con.execute(samples.replace("{causal_sample}", str(CAUSAL_SAMPLE)))
        con.execute("CHECKPOINT")
        return {table: int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]) for table in SCHEMAS}
    finally:
        con.close()


def _load_new(con: duckdb.DuckDBPyConnection, table: str, shards: ShardSet) -> bool:
    """Loads the shards that the file does not hold yet, a bounded number at a time; damaged ones are set aside."""
    rows = con.execute("SELECT name FROM loaded_shards WHERE table_name = ?", [table]).fetchall()
    loaded = {str(row[0]) for row in rows}
    here = shards.paths(table)
    if gone := loaded - {path.name for path in here}:  # set aside: they are not asked after again
        con.execute("DELETE FROM loaded_shards WHERE table_name = ? AND list_contains(?, name)", [table, sorted(gone)])
    paths = [path for path in here if path.name not in loaded]
    names: list[str] = []
    arrived: list[pa.Table] = []
    size = 0
    for path in paths:
        try:
            arrived.append(read_shard(path))
        except DamagedShardError as error:
            shards.lose(table, [(path, error)])
            continue
        names.append(path.name)
        size += arrived[-1].nbytes
        if len(names) == _AT_ONCE or size > _BYTES_AT_ONCE:
            _load(con, table, names, arrived)
            names, arrived, size = [], [], 0
    if names:
        _load(con, table, names, arrived)
    return bool(paths)


def _load(con: duckdb.DuckDBPyConnection, table: str, names: Sequence[str], shards: Sequence[pa.Table]) -> None:
    """Adds shards to their table in one transaction; of several rows with one key the newest stays."""
    key = KEYS.get(table, "fingerprint, image_id")
    rows = pa.concat_tables(shards)
    columns = ", ".join(rows.column_names)
    con.register("arriving", rows.append_column("place", pa.array(range(len(rows)), pa.int64())))
    con.execute("BEGIN")
    try:
        con.execute(
            f"""CREATE OR REPLACE TEMP TABLE arrived AS SELECT {columns} FROM arriving
            QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY place DESC) = 1"""
        )
        con.execute(f"DELETE FROM {table} WHERE ({key}) IN (SELECT ({key}) FROM arrived)")
        con.execute(f"INSERT INTO {table} BY NAME SELECT {columns} FROM arrived")
        con.execute("INSERT INTO loaded_shards SELECT ?, unnest(?)", [table, list(names)])
        con.execute("DROP TABLE arrived")
        con.execute("COMMIT")
    except duckdb.Error:
        con.execute("ROLLBACK")
        raise
    finally:
        con.unregister("arriving")


def _write_contents(con: duckdb.DuckDBPyConnection, contents: Contents, generation: int) -> None:
    con.execute("DELETE FROM store_info")
    con.execute("INSERT INTO store_info VALUES (?, ?)", [STORE_VERSION, generation])
    for table in ("runs", "slices", "findings", "tags", "deck", "run_names", "cues"):
        rows: Sequence[Mapping[str, Any]] = getattr(contents, table)
        names = _column_names(con, table)
        con.execute(f"DELETE FROM {table}")
        if rows:
            marks = ", ".join("?" for _ in names)
            con.executemany(
                f"INSERT INTO {table} VALUES ({marks})", [[row.get(name) for name in names] for row in rows]
            )
    con.execute(schema_section("settled failures"))


def _column_names(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    rows = con.execute("SELECT column_name FROM (DESCRIBE FROM query_table(?))", [table]).fetchall()
    return [str(row[0]) for row in rows]


def _make_metadata(con: duckdb.DuckDBPyConnection) -> None:
    """Makes table `metadata` again: a typed column per name in the images' metadata; names never reach SQL text."""
    rows = con.execute("SELECT fingerprint, image_id, metadata FROM images ORDER BY ALL").fetchall()
    values = [json.loads(row[2] or "{}") for row in rows]
    names = list(dict.fromkeys(name for row in values for name in row))
    reserved = {*BY_NAME, *INNER}
    columns: dict[str, pa.Array] = {
        "fingerprint": pa.array([row[0] for row in rows], pa.string()),
        "image_id": pa.array([row[1] for row in rows], pa.string()),
    }
    for name in names:
        column = [row.get(name) for row in values]
        columns[_free_name(name, reserved)] = _typed(column)
    con.register("arriving_metadata", pa.table(columns))
    con.execute("CREATE OR REPLACE TABLE metadata AS FROM arriving_metadata")
    con.unregister("arriving_metadata")


def _free_name(name: str, taken: set[str]) -> str:
    """A column name that nothing else has (DuckDB ignores case), noted in `taken`."""
    free = f"meta_{name}" if name.lower() in taken or not name else name
    number = 2
    while free.lower() in taken:
        free, number = f"meta_{name}_{number}", number + 1
    taken.add(free.lower())
    return free


def _typed(values: list[Any]) -> pa.Array:
    """A column of the narrowest type that holds every value: boolean, whole, real, else text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 and (kind := next(iter(kinds))) in _TYPES:
        try:
            return pa.array(values, _TYPES[kind])
        except (pa.ArrowInvalid, OverflowError):
            return pa.array([None if value is None else str(value) for value in values], pa.string())
    if kinds and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
