"""The published tables as others open them: one plain DuckDB file, or a folder of Parquet files.

Only what README.md documents goes along: no text index, no bookkeeping; `samples` is a table with all its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from core.errors import StoreError
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
    return _copy(store, to, tell, lambda table: f"CREATE TABLE copy.{table} AS FROM store.{table}", attach=True)


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

    return _copy(store, to, tell, words, attach=False)


def _copy(store: Store, to: Path, tell: Tell, words: Callable[[str], str], *, attach: bool) -> int:
    source = store.current_path()
    hold = Hold(source)
    con = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    try:
        look_for_shards(con, store.folder)
        con.execute(f"ATTACH {literal(source.absolute())} AS store (READ_ONLY)")
        if attach:
            con.execute(f"ATTACH {literal(to.absolute())} AS copy")
        asked = "SELECT table_name FROM information_schema.tables WHERE table_catalog = 'store' AND table_schema = 'main'"
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
