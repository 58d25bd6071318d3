"""Which pictures have rows on disk: read from verified shards once, and afterwards only from those that are new."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from core.store.shards import SCHEMAS, DamagedShardError, read_shard, shard_paths

_Seen = dict[str, tuple[int, int]]
"""Size and time of change of each shard read, by name."""


class DoneIndex:
    """The pictures with rows in a table's shards, by fingerprint; a damaged shard's are not among them."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self._folder = folder
        self._clear()

    def refresh(self) -> list[tuple[Path, DamagedShardError]]:
        """Reads and verifies the shards that are new since the last time; gives those that are damaged."""
        damaged: list[tuple[Path, DamagedShardError]] = []
        paths = {path.name: path for path in shard_paths(self._folder)}
        seen: _Seen = {}
        for name, path in paths.items():
            about = path.stat()
            seen[name] = (about.st_size, about.st_mtime_ns)
        if list(seen.items())[: len(self._seen)] != list(self._seen.items()):
            self._clear()  # a shard went, changed, or came in between: what its rows had replaced counts again
        for name, path in paths.items():
            if name in self._seen:
                continue
            try:
                self._add(path)
            except DamagedShardError as error:
                damaged.append((path, error))
                continue
            self._seen[name] = seen[name]
        return damaged

    def ids(self, fingerprint: str, *, include_failed: bool) -> set[str]:
        """Pictures with a row of that fingerprint, as of the last refresh()."""
        done = self._done[fingerprint]
        return done | self._failed[fingerprint] if include_failed else set(done)

    def _clear(self) -> None:
        self._seen: _Seen = {}
        self._done: defaultdict[str, set[str]] = defaultdict(set)
        self._failed: defaultdict[str, set[str]] = defaultdict(set)

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
