"""Shards as tables: the rows of small shards are loaded into schema `loaded`, large shards are read where they lie.

A view of each table's name has both. Of rows with one key the newest stands: an older loaded one is deleted, one in a
large shard is noted in `superseded`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from core.store.quoting import literal
from core.store.shard_set import KEYS, ShardSet
from core.store.shards import (
    SCHEMAS,
    DamagedShardError,
    is_large,
    is_merged,
    read_shard,
    shard_number,
    sources_of,
    stamp,
    verify,
)

_TYPES = {"distribution": "FLOAT[6]", "vector": "FLOAT[384]"}
_AT_ONCE = 200
"""Shards loaded in one transaction: bounds the memory that a large store needs."""
_BYTES_AT_ONCE = 64 << 20
_KEPT_ASIDE = 100_000
"""Rows of one table that a publication keeps aside as new; where more arrive, what follows from them is made anew."""
_NOT_ASIDE = {"thumbnail", "paths", "map", "near_hash"}
ASIDE = ("images", "predictions", "attributions", "checks", "judgements", "map", "strategies")
"""Tables that `samples` and the text index follow from."""


class Arrivals:
    """Loads what a generation lacks; what is new lies in temporary tables `arrived_TABLE` while `complete`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, shards: ShardSet, *, keep: bool) -> None:
        """Nothing has arrived; without `keep` nothing is kept aside.

        Args:
            con: the generation that is being made.
            shards: the shards; it sets aside those that turn out damaged.
            keep: whether what is new is asked for.
        """
        self.complete = keep
        self.tables: set[str] = set()
        self._con = con
        self._shards = shards
        for table in ASIDE if keep else ():
            con.execute(f"CREATE OR REPLACE TEMP TABLE arrived_{table} AS {_aside(table)} FROM loaded.{table} LIMIT 0")

    def load(self, table: str) -> None:
        """Loads the shards of a table that the file does not hold yet; damaged ones are set aside."""
        con = self._con
        known = con.execute("SELECT name, large FROM loaded_shards WHERE table_name = ?", [table]).fetchall()
        loaded = {str(name): bool(large) for name, large in known}
        here = self._shards.paths(table)
        new = [path for path in here if path.name not in loaded]
        gone = sorted(loaded.keys() - {path.name for path in here})
        large = [path for path in new if is_large(path)]
        merged = [path for path in new if is_merged(path) and path not in large]
        for path in [*large, *merged]:
            if self._verified(table, path):
                self._take_over(table, path, loaded=loaded.keys(), large=path in large)
        self._load_small(table, [path for path in new if path not in large and path not in merged])
        if gone:  # merged into another, or set aside: they are not asked after again
            for kept in ("loaded_shards", "superseded"):
                con.execute(f"DELETE FROM {kept} WHERE table_name = ? AND list_contains(?, name)", [table, gone])
        if large or any(loaded[name] for name in gone) or table in self.tables:
            make_view(con, table)

    def _verified(self, table: str, path: Path) -> bool:
        try:
            verify(path)
        except DamagedShardError as error:
            self._shards.lose(table, [(path, error)])
            self.tables.add(table)
            return False
        return True

    def _take_over(self, table: str, path: Path, *, loaded: Collection[str], large: bool) -> None:
        """Takes a merged shard in; where all that was merged is loaded already, no row of it is new."""
        con = self._con
        con.execute(f"CREATE OR REPLACE TEMP VIEW merged AS FROM read_parquet({literal(path.absolute())})")
        wanted = not large or (self.complete and table in ASIDE)
        if wanted and not sources_of(path) <= set(loaded):
            keys = "SELECT fingerprint, image_id, shard FROM"
            known = f"({keys} loaded.{table} UNION ALL {keys} ({_keys(con, table, 'merged')}))"
            con.execute(
                f"""CREATE OR REPLACE TEMP TABLE arriving AS SELECT {_columns(table)}, m.shard FROM merged m
                WHERE NOT EXISTS (FROM {known} k WHERE k.fingerprint = m.fingerprint
                    AND k.image_id = m.image_id AND k.shard >= m.shard)"""
            )
            self._keep_aside(table)
            if not large:
                self._replace(table)
        if large:
            older = _keys(con, table, "merged")
            same = "k.fingerprint = m.fingerprint AND k.image_id = m.image_id"
            name = literal(path.name)
            con.execute(
                f"""BEGIN;
                INSERT INTO superseded SELECT {literal(table)}, {name}, fingerprint, image_id FROM merged m
                WHERE EXISTS (FROM loaded.{table} k WHERE {same} AND k.shard > m.shard)
                    OR EXISTS (FROM ({older}) k WHERE {same} AND k.shard > m.shard);
                INSERT INTO superseded SELECT DISTINCT {literal(table)}, k.name, k.fingerprint, k.image_id
                FROM ({older}) k JOIN merged m ON {same} AND k.shard <= m.shard;
                DELETE FROM loaded.{table} k USING (SELECT fingerprint, image_id, shard FROM merged) m
                WHERE {same} AND k.shard <= m.shard;
                COMMIT"""
            )
        self._note(table, [path], large=large)

    def _load_small(self, table: str, paths: Sequence[Path]) -> None:
        names: list[Path] = []
        arrived: list[pa.Table] = []
        size = 0
        for path in paths:
            try:
                rows = read_shard(path)
            except DamagedShardError as error:
                self._shards.lose(table, [(path, error)])
                self.tables.add(table)
                continue
            number = pa.array([shard_number(path.name)] * len(rows), pa.int32())
            arrived.append(rows.append_column("shard", number))
            names.append(path)
            size += arrived[-1].nbytes
            if len(names) == _AT_ONCE or size > _BYTES_AT_ONCE:
                self._load(table, names, arrived)
                names, arrived, size = [], [], 0
        if names:
            self._load(table, names, arrived)

    def _load(self, table: str, paths: Sequence[Path], shards: Sequence[pa.Table]) -> None:
        """Adds shards to their table in one transaction; of several rows with one key the newest stays."""
        con = self._con
        rows = pa.concat_tables(shards)
        con.register("read", rows.append_column("place", pa.array(range(len(rows)), pa.int64())))
        key = KEYS.get(table, "fingerprint, image_id")
        con.execute("BEGIN")
        try:
            con.execute(
                f"""CREATE OR REPLACE TEMP TABLE arriving AS SELECT {_columns(table)}, shard FROM read
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY shard DESC, place DESC) = 1"""
            )
            self._replace(table)
            self._note(table, paths, large=False)
            self._keep_aside(table)
            con.execute("COMMIT")
        except duckdb.Error:
            con.execute("ROLLBACK")
            raise
        finally:
            con.unregister("read")

    def _replace(self, table: str) -> None:
        """Puts the rows of `arriving` into their table, save those that are older than what is there."""
        con = self._con
        same = " AND ".join(
            f"t.{name} IS NOT DISTINCT FROM a.{name}" for name in KEYS.get(table, "fingerprint, image_id").split(", ")
        )
        con.execute(f"DELETE FROM arriving a USING loaded.{table} t WHERE {same} AND t.shard > a.shard")
        if keys := _keys(con, table):
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE lies AS FROM ({keys}) SEMI JOIN arriving USING (fingerprint, image_id)"
            )
            con.execute(f"DELETE FROM arriving a USING lies t WHERE {same} AND t.shard >= a.shard")
            con.execute(
                f"""INSERT INTO superseded SELECT DISTINCT {literal(table)}, t.name, t.fingerprint, t.image_id
                FROM lies t JOIN arriving a ON {same}"""
            )
        con.execute(f"DELETE FROM loaded.{table} t USING arriving a WHERE {same}")
        con.execute(f"INSERT INTO loaded.{table} BY NAME FROM arriving")

    def _note(self, table: str, paths: Sequence[Path], *, large: bool) -> None:
        rows = [(table, path.name, *stamp(path), large) for path in paths]
        self._con.executemany("INSERT INTO loaded_shards VALUES (?, ?, ?, ?, ?)", rows)
        self.tables.add(table)

    def _keep_aside(self, table: str) -> None:
        if not self.complete or table not in ASIDE:
            return
        con = self._con
        con.execute(
            f"""DELETE FROM arrived_{table} t USING arriving a
            WHERE t.fingerprint = a.fingerprint AND t.image_id = a.image_id"""
        )
        con.execute(f"INSERT INTO arrived_{table} BY NAME {_aside(table)} FROM arriving")
        if con.execute(f"SELECT count(*) FROM arrived_{table}").fetchall()[0][0] > _KEPT_ASIDE:
            self.complete = False


def make_view(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Makes the view of a table: its loaded rows, and those of large shards by their paths in the store."""
    words = f"SELECT {_columns(table)} FROM loaded.{table}"
    names = _large(con, table)
    if names:
        paths = ", ".join(literal(f"shards/{table}/{name}") for name in names)
        asked = "SELECT count(*) FROM superseded WHERE table_name = ?"
        some = con.execute(asked, [table]).fetchall()[0][0]
        without = (
            f""" l ANTI JOIN (FROM superseded WHERE table_name = {literal(table)}) s
            ON s.name = parse_filename(l.filename) AND s.fingerprint = l.fingerprint AND s.image_id = l.image_id"""
            if some
            else ""
        )
        words += f" UNION ALL SELECT {_columns(table)} FROM read_parquet([{paths}], filename = true){without}"
    con.execute(f"CREATE OR REPLACE VIEW {table} AS {words}")


def _large(con: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    rows = con.execute(
        "SELECT name FROM loaded_shards WHERE table_name = ? AND large ORDER BY name", [table]
    ).fetchall()
    return [str(row[0]) for row in rows]


def _keys(con: duckdb.DuckDBPyConnection, table: str, like: str | None = None) -> str:
    """SQL for the keys in large shards with their shard's name and number.

    Where there are none: no rows, of the types of those of `like`; without `like`, an empty text.
    """
    names = _large(con, table)
    if not names:
        return f"SELECT '' AS name, fingerprint, image_id, shard FROM {like} LIMIT 0" if like else ""
    paths = ", ".join(literal(f"shards/{table}/{name}") for name in names)
    return f"""SELECT parse_filename(filename) AS name, fingerprint, image_id, shard
        FROM read_parquet([{paths}], filename = true)"""


def _columns(table: str) -> str:
    return ", ".join(f"{name}::{_TYPES[name]} AS {name}" if name in _TYPES else name for name in SCHEMAS[table].names)


def _aside(table: str) -> str:
    return f"SELECT {', '.join(name for name in SCHEMAS[table].names if name not in _NOT_ASIDE)}"
