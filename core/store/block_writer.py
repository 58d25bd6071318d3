"""A store as a worker on a cluster sees it: it adds shards while the driver of the run holds the lock and publishes.

A shard's name holds a checksum of its bytes, so two workers never write over each other, and a block that is worked on
twice leaves the same rows twice, of which a publication keeps one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from core.errors import StoreError
from core.records import Failure
from core.store.generations import Publication
from core.store.shards import Row, to_arrow
from core.store.writer import StoreWriter


class BlockWriter(StoreWriter):
    """What a pass over one block of pictures writes to; `failures` are for the driver, which knows what stands."""

    def __init__(self, folder: Path, done: Mapping[str, Set[str]]) -> None:
        """`done` are the block's pictures that have rows already, by stage."""
        super().__init__(folder)
        self.failures: list[Failure] = []
        self._done = done

    def done(self, stage: str, fingerprint: str, *, include_failed: bool = True) -> set[str]:
        """Pictures of the block with rows of a stage, as the driver said."""
        return set(self._done.get(stage, ()))

    def write(
        self, table: str, rows: Sequence[Row], *, fingerprint: str | None = None, run: str | None = None
    ) -> Path | None:
        """Writes rows as one durable shard; failures are kept for the driver.

        Raises:
            StoreError: unknown table or column, or a full disk.
        """
        if table == "failures":
            self.failures += [row for row in rows if isinstance(row, Failure)]
            return None
        if fingerprint is None:
            raise StoreError(f"rows of {table} need a fingerprint")
        return self._shards.write(table, to_arrow(table, rows, {"fingerprint": fingerprint})) if rows else None

    def report_progress(self, **news: object) -> None:
        """Said by the driver."""

    def publish(self) -> Publication:
        """Done by the driver."""
        return Publication(0, {})
