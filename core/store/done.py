"""Which pictures have rows on disk: read from verified shards once, and afterwards only from those that are new.

Of a large table it is taken from the published generation, as far as its shards are as they were when they were loaded;
a part of them is read and verified all the same, another one each time.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

import duckdb

from core.errors import StoreError
from core.store.shards import (
    SCHEMAS,
    DamagedShardError,
    is_merged,
    read_shard,
    shard_number,
    shard_paths,
    sources_of,
    stamp,
    verify,
)

VERIFIED_AT_ONCE = 256 << 20
"""Bytes of a table's shards that are read to find what is done; of more, that many are."""

_Stamps = dict[str, tuple[int, int]]
"""Size and time of change of shards, by name."""
Published = Callable[[], duckdb.DuckDBPyConnection | None]
Damaged = list[tuple[Path, DamagedShardError]]


class DoneIndex:
    """The pictures with rows in a table's shards, by fingerprint; a damaged shard's are not among them."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self._folder = folder
        self._clear()

    def refresh(self, published: Published) -> Damaged:
        """Reads and verifies the shards that are new since the last time; gives those that are damaged.

        Args:
            published: gives the newest generation, None where there is none.
        """
        paths = {path.name: path for path in shard_paths(self._folder)}
        stamps = {name: stamp(path) for name, path in paths.items()}
        if not self._is_continued(paths, stamps):
            self._clear()  # a shard went, changed, or came in between: what its rows had replaced counts again
        damaged: Damaged = []
        if not self._seen and sum(size for size, _ in stamps.values()) > VERIFIED_AT_ONCE:
            damaged = self._take_published(published(), paths, stamps)
        for name, path in paths.items():
            if name in self._seen or any(path == other for other, _ in damaged):
                continue
            try:
                if not (is_merged(path) and sources_of(path) <= self._ever):
                    self._add(path)
            except DamagedShardError as error:
                damaged.append((path, error))
                continue
            self._seen[name] = stamps[name]
            self._ever.add(name)
        return damaged

    def ids(self, fingerprint: str, published: Published, *, include_failed: bool) -> set[str]:
        """Pictures with a row of that fingerprint, as of the last refresh()."""
        if self._from_published and fingerprint not in self._taken:
            self._take(published(), fingerprint)
        done = self._done[fingerprint]
        return done | self._failed[fingerprint] if include_failed else set(done)

    def _clear(self) -> None:
        self._seen: _Stamps = {}
        self._ever: set[str] = set()
        self._done: defaultdict[str, set[str]] = defaultdict(set)
        self._failed: defaultdict[str, set[str]] = defaultdict(set)
        self._from_published = False
        self._taken: set[str] = set()

    def _is_continued(self, paths: dict[str, Path], stamps: _Stamps) -> bool:
        """Whether everything that was read is there as it was, or lies in a shard that it was merged into."""
        new = [path for name, path in paths.items() if name not in self._seen]
        merged = [path for path in new if is_merged(path)]
        last = max((shard_number(name) for name in self._seen), default=0)
        if any(shard_number(path.name) < last for path in new if path not in merged):
            return False
        if any(stamps[name] != self._seen[name] for name in self._seen.keys() & stamps.keys()):
            return False
        gone = self._seen.keys() - paths.keys()
        try:
            covered = frozenset[str]().union(*(sources_of(path) for path in merged))
        except DamagedShardError:
            return False
        for name in gone & covered:
            del self._seen[name]
        return gone <= covered

    def _take_published(
        self, con: duckdb.DuckDBPyConnection | None, paths: dict[str, Path], stamps: _Stamps
    ) -> Damaged:
        """Takes from the newest generation what it has of shards that are as they were; verifies some of them."""
        try:
            asked = "SELECT name, size, changed FROM loaded_shards WHERE table_name = ?"
            rows = con.execute(asked, [self._folder.name]).fetchall() if con else []
        except (duckdb.Error, StoreError):
            return []
        known = {str(name): (size, changed) for name, size, changed in rows}
        if not known or any(stamps.get(name) != about for name, about in known.items()):
            return []
        damaged = _verified_in_part([paths[name] for name in known], stamps)
        if not damaged:
            self._from_published = True
            self._seen = {name: stamps[name] for name in paths if name in known}
            self._ever = set(known)
        return damaged

    def _take(self, con: duckdb.DuckDBPyConnection | None, fingerprint: str) -> None:
        """Adds what the newest generation has of one fingerprint, where nothing newer is known."""
        self._taken.add(fingerprint)
        table = self._folder.name
        if con is None:
            return
        state = "state" if "state" in SCHEMAS[table].names else "NULL"
        found = con.execute(
            f"SELECT image_id, {state} IS NOT DISTINCT FROM 'failed' FROM {table} WHERE fingerprint = ?", [fingerprint]
        ).fetchall()
        newer = self._done[fingerprint] | self._failed[fingerprint]
        for image_id, failed in found:
            if image_id not in newer:
                (self._failed if failed else self._done)[fingerprint].add(sys.intern(image_id))

    def _add(self, path: Path) -> None:
        names = [name for name in ("fingerprint", "image_id", "state") if name in SCHEMAS[self._folder.name].names]
        rows = read_shard(path, columns=names)
        states = rows["state"].to_pylist() if "state" in names else [None] * len(rows)
        # the tables hold the same names: interned, a million pictures take the memory of one table
        ids = [sys.intern(str(image_id)) for image_id in rows["image_id"].to_pylist()]
        pairs = zip(rows["fingerprint"].to_pylist(), ids, states, strict=True)
        for fingerprint, image_id, state in pairs:
            failed = state == "failed"
            (self._failed if failed else self._done)[fingerprint].add(image_id)
            (self._done if failed else self._failed)[fingerprint].discard(image_id)


def _verified_in_part(paths: Collection[Path], stamps: _Stamps) -> Damaged:
    """Reads VERIFIED_AT_ONCE bytes of shards, chosen by chance; gives the damaged ones."""
    damaged: Damaged = []
    left = VERIFIED_AT_ONCE
    for path in random.sample(list(paths), len(paths)):
        left -= stamps[path.name][0]
        if left < 0:
            break
        try:
            verify(path)
        except DamagedShardError as error:
            damaged.append((path, error))
    return damaged
