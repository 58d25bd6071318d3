"""Damage as disks do it: one bit of one file of a store."""

from __future__ import annotations

from pathlib import Path


def flip(path: Path, at: int | None = None) -> None:
    """Turns one bit of the byte at `at`, which is in the middle unless said."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 4
    path.write_bytes(data)


def shards(store: Path, table: str) -> list[Path]:
    """A table's shards, in the order in which they were written."""
    return sorted((store / "shards" / table).glob("part-*.parquet"))
