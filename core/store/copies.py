"""The published tables as others open them: one plain DuckDB file, a folder of Parquet files, or a DuckLake.

Only what README.md documents goes along: no text index, no bookkeeping; `samples` is a table with all its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from core.errors import StoreError
from core.store.extensions import extension_file
from core.store.generations import Hold
from core.store.quoting import literal
from core.store.reading import look_for_shards
from core.store.store import Store

TABLES = (
    "samples", "runs", "images", "predictions", "attributions", "checks", "judgements", "judge_card", "embeddings",
    "faithfulness", "failures", "findings", "cues", "strategies", "map", "features", "tags", "slices", "run_names",
)  # fmt: skip
Tell = Callable[[int, int], None]


def copy_to_duckdb(store: Store, to: Path, *, tell: Tell) -> int:
    """Writes every table into a new DuckDB file; the number of rows in `samples`.

    Raises:
        StoreError: nothing is published, or it cannot be read or written.
    """
    place = f"ATTACH {literal(to.absolute())} AS copy"
    return _copy(store, to, tell, lambda table: f"CREATE TABLE copy.{table} AS FROM store.{table}", attach=place)


def copy_to_parquet(store: Store, to: Path, *, tell: Tell) -> int:
    """Writes a folder per table, those of `samples` by run (`samples/run=r-…/`, hive-partitioned); its rows.

    Raises:
        StoreError: nothing is published, or it cannot be read or written.
    """

    def words(table: str) -> str:
        place = to / table
        if table == "samples":
            return f"COPY store.samples TO {literal(place)} (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (run))"
        place.mkdir()
        return f"COPY store.{table} TO {literal(place / 'part-0.parquet')} (FORMAT parquet, COMPRESSION zstd)"

    return _copy(store, to, tell, words, attach=None)


def copy_to_ducklake(store: Store, to: Path, *, stands: Path, tell: Tell) -> int:
    """Writes a DuckLake: `catalog.ducklake` and a folder `data` of Parquet files; the rows of `samples`.

    Args:
        store: its newest generation is read.
        to: the folder to write into.
        stands: where that folder will stand; DuckLake keeps the whole path.
        tell: is told how many tables are done, of how many.

    Raises:
        StoreError: nothing is published, it cannot be read or written, or the extension's package is missing.
    """
    catalog = to / "catalog.ducklake"
    place = f"ATTACH {literal(f'ducklake:{catalog.absolute()}')} AS copy"
    place += f" (DATA_PATH {literal(str(to.absolute() / 'data') + '/')}, DATA_INLINING_ROW_LIMIT 0)"

    def words(table: str) -> str:
        fixed = {"embeddings": "vector", "judgements": "distribution"}  # DuckLake has no lists of one length
        changed = f" REPLACE ({fixed[table]}::FLOAT[] AS {fixed[table]})" if table in fixed else ""
        return f"CREATE TABLE copy.{table} AS SELECT *{changed} FROM store.{table}"

    rows = _copy(store, to, tell, words, attach=place, extension="ducklake")
    with duckdb.connect(str(catalog)) as con:
        whole = f"{stands.absolute() / 'data'}/"
        con.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [whole])
    return rows


def _copy(
    store: Store,
    to: Path,
    tell: Tell,
    words: Callable[[str], str],
    *,
    attach: str | None,
    extension: str | None = None,
) -> int:
    source = store.current_path()
    hold = Hold(source)
    con = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    try:
        look_for_shards(con, store.folder)
        con.execute(f"ATTACH {literal(source.absolute())} AS store (READ_ONLY)")
        if extension:
            con.execute(f"LOAD {literal(extension_file(extension))}")
        if attach:
            con.execute(attach)
        asked = (
            "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'store' AND table_schema = 'main'"
        )
        known = {str(row[0]) for row in con.execute(asked).fetchall()}
        tables = [table for table in TABLES if table in known]
        for number, table in enumerate(tables):
            tell(number, len(tables))
            con.execute(words(table))
        tell(len(tables), len(tables))
        return int(con.execute("SELECT count(*) FROM store.samples").fetchall()[0][0])
    except duckdb.Error as error:
        raise StoreError(f"cannot copy {source} to {to}: {str(error).splitlines()[0]}") from error
    finally:
        con.close()
        del hold
