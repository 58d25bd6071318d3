"""Publishing: shards -> one DuckDB file that readers open read-only.

What is new is added to what the file holds; `samples` and the text index follow from that, not from all there is.
Knows: the schema. Does not know: locks, file names, models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil

from core.columns import BY_NAME
from core.records import CAUSAL_SAMPLE
from core.store.extensions import load_fts
from core.store.metadata import INNER, add_metadata, make_metadata
from core.store.reading import look_for_shards
from core.store.sample_rows import add_samples, make_samples
from core.store.schema import schema_section, schema_text
from core.store.shard_set import ShardSet
from core.store.shard_tables import Arrivals, make_view
from core.store.shards import SCHEMAS

STORE_VERSION = 3
_LEAST_BYTES, _MOST_BYTES = 2_000_000_000, 6_000_000_000
"""Of memory that DuckDB may take to publish: a quarter of the machine's between these; beyond, it works on disk."""


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


class AnotherShapeError(Exception):
    """An earlier generation was made by a whylook whose rows follow from the shards in another way."""


def build(
    target: Path, *, grows: bool, folder: Path, shards: ShardSet, contents: Contents, generation: int
) -> dict[str, int]:
    """Makes the database file `target` from the shards.

    Args:
        target: file to make; nothing may be there, or with `grows` an earlier generation.
        grows: load only what the file lacks.
        folder: the store's.
        shards: the shards; it sets aside those that turn out damaged.
        contents: the small tables.
        generation: number to write into the file.

    Returns:
        Rows per shard table.

    Raises:
        AnotherShapeError: the earlier generation was made by another whylook.
        duckdb.Error, OSError: the file could not be made (full disk, damaged earlier generation).
    """
    con = duckdb.connect(str(target.absolute()), config=_config())  # "md:" and the like would be taken for a scheme
    try:
        look_for_shards(con, folder)
        load_fts(con)
        shape = _shape()
        if not grows:
            _make_tables(con)
        elif not _has_shape(con, shape):
            raise AnotherShapeError
        con.execute("CREATE OR REPLACE TEMP TABLE runs_before AS FROM runs")
        con.execute("CREATE OR REPLACE TEMP TABLE tags_before AS FROM tags")
        arrivals = Arrivals(con, shards, keep=grows)
        for table in SCHEMAS:
            arrivals.load(table)
        _write_contents(con, contents, generation, shape)
        _settle_failures(con)
        follows = grows and arrivals.complete
        if follows and "images" in arrivals.tables:
            follows = add_metadata(con, "arrived_images")
        elif not follows:
            make_metadata(con)
        said = "arrived_judgements" if grows and arrivals.complete else "judgements"
        if said == "judgements":
            con.execute("DELETE FROM postings; DELETE FROM documents")
        if said == "judgements" or "judgements" in arrivals.tables:
            con.execute(schema_section("new words").replace("{said}", said))
        if follows:
            add_samples(con)
        else:
            make_samples(con)
        con.execute("CHECKPOINT")
        return {table: int(con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]) for table in SCHEMAS}
    finally:
        con.close()


def _config() -> dict[str, str | bool | int | float | list[str]]:
    most = min(_MOST_BYTES, max(_LEAST_BYTES, psutil.virtual_memory().total // 4))
    return {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": f"{most}B",
        "preserve_insertion_order": False,
    }


def _has_shape(con: duckdb.DuckDBPyConnection, shape: str) -> bool:
    try:
        return con.execute("SELECT version, shape FROM store_info").fetchone() == (STORE_VERSION, shape)
    except duckdb.BinderException:  # it says none
        return False


def _shape() -> str:
    """What a generation's rows follow from beside the shards: an earlier one of another shape is made anew."""
    words = "\n".join((schema_text(), *BY_NAME, *INNER, str(CAUSAL_SAMPLE), duckdb.__version__))
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _make_tables(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(schema_section("tables"))
    con.execute(schema_section("words"))
    con.execute("PRAGMA create_fts_index('texts', 'document', 'text', stemmer='porter')")
    for table in SCHEMAS:
        make_view(con, table)


def _settle_failures(con: duckdb.DuckDBPyConnection) -> None:
    earlier = "SELECT 1 FROM failures f JOIN runs r ON r.run = f.run AND r.attempt > f.attempt LIMIT 1"
    if con.execute(earlier).fetchall():
        con.execute(schema_section("settled failures"))


def _write_contents(con: duckdb.DuckDBPyConnection, contents: Contents, generation: int, shape: str) -> None:
    con.execute("DELETE FROM store_info")
    con.execute("INSERT INTO store_info VALUES (?, ?, ?)", [STORE_VERSION, generation, shape])
    for table in ("runs", "slices", "findings", "tags", "deck", "run_names", "cues"):
        rows: Sequence[Mapping[str, Any]] = getattr(contents, table)
        names = _column_names(con, table)
        con.execute(f"DELETE FROM {table}")
        if rows:
            marks = ", ".join("?" for _ in names)
            con.executemany(
                f"INSERT INTO {table} VALUES ({marks})", [[row.get(name) for name in names] for row in rows]
            )


def _column_names(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    rows = con.execute("SELECT column_name FROM (DESCRIBE FROM query_table(?))", [table]).fetchall()
    return [str(row[0]) for row in rows]
