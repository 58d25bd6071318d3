"""The shards of a store as one writer sees them: what is done, what is damaged, where the next one goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from core.errors import StoreError
from core.store.damage import FOLDER, Damage, note, notes, set_aside
from core.store.done import DoneIndex, Published
from core.store.merging import MERGED_TABLES, due, finish, merge
from core.store.runs import now
from core.store.shards import (
    SCHEMAS,
    DamagedShardError,
    is_merged,
    read_shard,
    shard_number,
    shard_paths,
    sources_of,
    write_shard,
)

KEYS = {"failures": "run, attempt, stage, image_id, path, reason", "judge_card": "fingerprint, image_id, control"}
"""What makes a row of a table the same row again; of the other tables it is (fingerprint, image_id)."""
_ROWS_PER_SHARD = 500
_AGAIN = "its pictures are recomputed: this run's now, other runs' when they next run"
_AGAINS = {
    "failures": "what fails again is noted again",
    "faithfulness": "whylook faithfulness makes it again",
    "judge_card": "the judge is asked again",
}

Found = Sequence[tuple[Path, DamagedShardError]]


class ShardSet:
    """Shards of every table. Nothing of a shard is used whose bytes do not fit its checksum."""

    def __init__(self, folder: Path) -> None:
        """Reads no shard yet; `folder` is the store's. What an earlier writer found and did not live to say is told."""
        self.guard = threading.RLock()
        """Held by whoever reads the folder and must not see shards merged meanwhile."""
        self.damaged: list[Damage] = [damage for damage in notes(folder) if not damage.said]
        self._folder = folder
        self._indexes = {table: DoneIndex(folder / "shards" / table) for table in SCHEMAS if table != "failures"}
        self._numbers: dict[str, int] = {}

    def paths(self, table: str) -> list[Path]:
        """The shards of a table, oldest first."""
        return shard_paths(self._folder / "shards" / table)

    def notes(self) -> list[Damage]:
        """Everything that was ever set aside and still lies there."""
        return notes(self._folder)

    def write(self, table: str, rows: pa.Table) -> Path:
        """Writes one durable shard.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        if table not in self._numbers:  # also those that were set aside keep their numbers
            paths = [*self.paths(table), *shard_paths(self._folder / FOLDER / "shards" / table)]
            self._numbers[table] = max((shard_number(path.name) for path in paths), default=0)
        path = write_shard(self._folder / "shards" / table, rows, number=self._numbers[table] + 1)
        self._numbers[table] += 1
        return path

    def done(self, table: str, fingerprint: str, published: Published, *, include_failed: bool) -> set[str]:
        """Pictures with a row of that fingerprint; damaged shards are set aside as they are met.

        Args:
            table: a shard table with a fingerprint.
            fingerprint: of the stage.
            published: gives the newest generation, None where there is none.
            include_failed: whether a row in state failed counts.
        """
        index = self._indexes[table]
        with self.guard:
            if found := index.refresh(published):
                self.lose(table, found)
            return index.ids(fingerprint, published, include_failed=include_failed)

    def merge(self, *, stop: Callable[[], bool]) -> int:
        """Merges small shards where there are many, table by table, until `stop()`; how many were made.

        A full disk ends it: what is there stays as it is. A damaged shard is set aside.
        """
        made = 0
        for table in MERGED_TABLES:
            folder = self._folder / "shards" / table
            with self.guard:
                finish(folder)
            while not stop() and (paths := due(folder)):
                try:
                    made += merge(folder, paths, swap=lambda: self.guard, stop=stop) is not None
                except DamagedShardError:
                    if not self._lose_damaged(table, paths):
                        break
                except (OSError, StoreError):
                    return made
        return made

    def _lose_damaged(self, table: str, paths: Sequence[Path]) -> int:
        """Sets aside those of some shards that are damaged; how many."""
        found = []
        with self.guard:
            for path in paths:
                try:
                    read_shard(path)
                except DamagedShardError as error:
                    found.append((path, error))
            self.lose(table, found)
        return len(found)

    def check(self, published: Published) -> None:
        """Verifies every shard; damaged ones are set aside, and what of them is published becomes shards again.

        So is what was published of shards that are gone.
        """
        con = published()
        with self.guard:
            self._check(con)

    def _check(self, con: duckdb.DuckDBPyConnection | None) -> None:
        for table in SCHEMAS:
            if table in MERGED_TABLES:
                finish(self._folder / "shards" / table)
            found = self._indexes[table].refresh(lambda: con) if table in self._indexes else self._damaged(table)
            if gone := self._gone(table, con):
                place = self._folder / "shards" / table
                self.damaged += [
                    Damage(f"{table}/{name}", "it is gone", now(), "what was published of it is restored")
                    for name in gone
                    if not (place / name).exists()
                ]
            if found or gone:
                self._mend(table, found, con)

    def _damaged(self, table: str) -> list[tuple[Path, DamagedShardError]]:
        """The damaged shards of a table that has no index."""
        found = []
        for path in self.paths(table):
            try:
                read_shard(path)
            except DamagedShardError as error:
                found.append((path, error))
        return found

    def _gone(self, table: str, con: duckdb.DuckDBPyConnection | None) -> list[str]:
        """Shards that were published and are neither here nor set aside."""
        if con is None:
            return []
        try:
            rows = con.execute("SELECT name FROM loaded_shards WHERE table_name = ? ORDER BY name", [table]).fetchall()
        except (duckdb.Error, StoreError):
            return []
        aside = self._folder / FOLDER / "shards" / table
        here = {path.name for path in (*self.paths(table), *shard_paths(aside))}
        known = {str(row[0]) for row in rows}
        if not known <= here:
            for path in self.paths(table):
                if is_merged(path) and path.name not in known:
                    with suppress(DamagedShardError):
                        here |= sources_of(path)
        return sorted(known - here)

    def lose(self, table: str, found: Found, *, restored: int = 0) -> None:
        """Sets damaged shards aside and notes what was found."""
        rows = [error.rows for _, error in found]
        for path, error in found:
            remedy = _AGAINS.get(table, _AGAIN)
            if restored:
                whole = None not in rows and restored >= sum(row or 0 for row in rows)
                of = f" of the {len(found)} damaged shards of this table" if len(found) > 1 else ""
                told = f"{restored:,} row{'' if restored == 1 else 's'}{of} restored from the published store"
                remedy = told if whole else f"{told}; for the rest, {remedy}"
            place = set_aside(self._folder, path)
            file = str(path.relative_to(self._folder / "shards"))
            damage = Damage(file, str(error), now(), f"set aside in {FOLDER}/; {remedy}", error.rows)
            note(self._folder, damage, place=place)
            self.damaged.append(damage)

    def _mend(self, table: str, found: Found, published: duckdb.DuckDBPyConnection | None) -> None:
        rows = SCHEMAS[table].empty_table() if published is None else _missing(published, table, self.paths(table))
        for start in range(0, len(rows), _ROWS_PER_SHARD):  # first, so that a kill here loses nothing
            self.write(table, rows.slice(start, _ROWS_PER_SHARD))
        self.lose(table, found, restored=len(rows))
        if table in self._indexes:
            self._indexes[table].refresh(lambda: published)


def _missing(con: duckdb.DuckDBPyConnection, table: str, paths: Sequence[Path]) -> pa.Table:
    """Rows of a generation that intact shards do not hold, or hold in an older form only; none where it is unreadable.

    The newest intact shard with a row decides: if the generation does not know that shard, the row is newer than it.
    """
    schema = SCHEMAS[table]
    columns = ", ".join(
        f"{f.name}::FLOAT[] AS {f.name}" if f.type == pa.list_(pa.float32()) else f.name for f in schema
    )
    keys = KEYS.get(table, "fingerprint, image_id").split(", ")
    same = " AND ".join(f"k.{name} IS NOT DISTINCT FROM t.{name}" for name in keys)
    content = f"hash({', '.join(schema.names)})"
    try:
        loaded = {
            name for (name,) in con.execute("SELECT name FROM loaded_shards WHERE table_name = ?", [table]).fetchall()
        }
        con.register("none", schema.empty_table())  # has the columns that an older generation lacks
        con.register("intact", _contents(con, keys, content, paths, schema=schema, loaded=loaded))
        found = con.execute(
            f"""WITH rows AS (
                SELECT {columns} FROM (FROM none UNION ALL BY NAME FROM {loaded_table(con, table)})
            ), newest AS (
                FROM intact QUALIFY row_number() OVER (PARTITION BY {", ".join(keys)} ORDER BY place DESC) = 1)
            FROM rows t WHERE NOT EXISTS (FROM newest k WHERE {same} AND (NOT k.loaded OR k.content = {content}))"""
        )
        return found.to_arrow_table().cast(schema)
    except (duckdb.Error, StoreError):
        return schema.empty_table()


def loaded_table(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """Where a generation holds rows of a table itself; older ones have no other rows."""
    schemas = con.execute("SELECT 1 FROM duckdb_schemas() WHERE schema_name = 'loaded'").fetchall()
    return f"loaded.{table}" if schemas else table


def _contents(
    con: duckdb.DuckDBPyConnection,
    keys: Sequence[str],
    content: str,
    paths: Sequence[Path],
    *,
    schema: pa.Schema,
    loaded: set[str],
) -> pa.Table:
    """Of every row in intact shards: its key, a hash of all of it, its place, and whether its shard is published."""
    asked = f"SELECT {', '.join(keys)}, {content} AS content FROM shard"
    found, start = [], 0
    for path in (None, *paths):
        try:
            con.register("shard", schema.empty_table() if path is None else read_shard(path))
        except DamagedShardError:
            continue
        rows = con.execute(asked).to_arrow_table()
        rows = rows.append_column("place", pa.array(range(start, start + len(rows)), pa.int64()))
        found.append(
            rows.append_column("loaded", pa.array([path is not None and path.name in loaded] * len(rows), pa.bool_()))
        )
        start += len(rows)
    return pa.concat_tables(found)
