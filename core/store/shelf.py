"""The shards of a store as one writer sees them: what is done, what is damaged, where the next one goes.

Knows: the shard folders, setting aside, restoring rows from the newest generation. Does not know: how one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from core.errors import StoreError
from core.store.damage import FOLDER, Damage, note, notes, set_aside
from core.store.done import DoneIndex
from core.store.runs import now
from core.store.shards import SCHEMAS, DamagedShardError, read_shard, shard_number, shard_paths, write_shard

KEYS = {"failures": "run, attempt, stage, image_id, path, reason", "judge_card": "fingerprint, image_id, control"}
"""What makes a row of a table the same row again; of the other tables it is (fingerprint, image_id)."""
_ROWS_PER_SHARD = 500
_AGAIN = "its pictures are done again: those of this run now, those of other runs when these are run again"
_AGAINS = {
    "failures": "what fails again is noted again",
    "faithfulness": "whylook faithfulness makes it again",
    "judge_card": "the judge is asked again",
}

Found = Sequence[tuple[Path, DamagedShardError]]


class Shelf:
    """Shards of every table. Nothing of a shard is used whose bytes do not fit its checksum."""

    def __init__(self, folder: Path) -> None:
        """Looks at nothing yet; `folder` is the store's."""
        self.damaged: list[Damage] = []
        self._folder = folder
        self._indexes = {table: DoneIndex(folder / "shards" / table) for table in SCHEMAS if table != "failures"}
        self._numbers: dict[str, int] = {}

    def open(self) -> None:
        """A writer begins: what another one found or wrote is not this one's."""
        self.damaged.clear()
        self._numbers.clear()

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

    def done(self, table: str, fingerprint: str, *, include_failed: bool, writing: bool) -> set[str]:
        """Pictures with a row of that fingerprint; the writer sets damaged shards aside as it meets them."""
        index = self._indexes[table]
        found = index.refresh()
        if found and writing:
            self.lose(table, found)
        return index.ids(fingerprint, include_failed=include_failed)

    def check(self, published: Callable[[], duckdb.DuckDBPyConnection | None]) -> None:
        """Verifies every shard; damaged ones are set aside, and what of them is published becomes shards again."""
        for table, index in self._indexes.items():
            if found := index.refresh():
                self._mend(table, found, published())
        found = []
        for path in self.paths("failures"):
            try:
                read_shard(path)
            except DamagedShardError as error:
                found.append((path, error))
        if found:
            self._mend("failures", found, published())

    def lose(self, table: str, found: Found, *, restored: int = 0) -> None:
        """Sets damaged shards aside and notes what was found."""
        rows = [error.rows for _, error in found]
        for path, error in found:
            remedy = _AGAINS.get(table, _AGAIN)
            if restored:
                whole = None not in rows and restored >= sum(row or 0 for row in rows)
                remedy = f"{restored:,} rows restored from the published store" + (
                    "" if whole else f"; for the rest, {remedy}"
                )
            place = set_aside(self._folder, path)
            file = str(path.relative_to(self._folder / "shards"))
            damage = Damage(file, str(error), now(), f"set aside in {FOLDER}/; {remedy}", error.rows)
            note(self._folder, damage, place=place)
            self.damaged.append(damage)

    def _mend(self, table: str, found: Found, published: duckdb.DuckDBPyConnection | None) -> None:
        rows = SCHEMAS[table].empty_table() if published is None else _missing(published, table, self._keys(table))
        for start in range(0, len(rows), _ROWS_PER_SHARD):  # first, so that a kill here loses nothing
            self.write(table, rows.slice(start, _ROWS_PER_SHARD))
        self.lose(table, found, restored=len(rows))
        if table in self._indexes:
            self._indexes[table].refresh()

    def _keys(self, table: str) -> pa.Table:
        """Keys of the rows in intact shards."""
        if table in self._indexes:
            return self._indexes[table].keys()
        names = KEYS[table].split(", ")
        parts = []
        for path in self.paths(table):
            try:
                parts.append(read_shard(path).select(names))
            except DamagedShardError:
                continue
        return pa.concat_tables(parts) if parts else SCHEMAS[table].empty_table().select(names)


def _missing(con: duckdb.DuckDBPyConnection, table: str, intact: pa.Table) -> pa.Table:
    """Rows of a generation that no intact shard holds; none where the generation cannot be read."""
    schema = SCHEMAS[table]
    columns = ", ".join(
        f"{f.name}::FLOAT[] AS {f.name}" if f.type == pa.list_(pa.float32()) else f.name for f in schema
    )
    same = " AND ".join(f"k.{name} IS NOT DISTINCT FROM t.{name}" for name in intact.column_names)
    try:
        con.register("intact", intact)
        found = con.execute(f"SELECT {columns} FROM {table} t WHERE NOT EXISTS (FROM intact k WHERE {same})")
        return found.to_arrow_table().cast(schema)
    except (duckdb.Error, StoreError):
        return schema.empty_table()
