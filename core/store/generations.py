"""Generations: which published file is current, and replacing it by the next one.

Knows: names, CURRENT, what to keep. Does not know: what is in a file (core/store/publish), who holds the lock.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from core.errors import StoreError
from core.store.publish import Contents, build, damaged_shards
from core.store.shards import fsync_folder, write_atomically

_KEPT = 2


@dataclass(frozen=True)
class Publication:
    """One published generation: rows per table, and the shards that could not be read (`table/name: reason`)."""

    generation: int
    rows: dict[str, int]
    damaged: tuple[str, ...]


def current_name(folder: Path) -> str | None:
    """File name of the newest generation, None when nothing has been published.

    Raises:
        StoreError: CURRENT cannot be read or names no generation.
    """
    try:
        name = (folder / "CURRENT").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {folder / 'CURRENT'}: {error}") from error
    if not (name.startswith("store-") and name.endswith(".duckdb") and name[6:-7].isdigit()):
        raise StoreError(f"{folder / 'CURRENT'} does not name a generation; delete it and run again")
    return name


def number(name: str) -> int:
    """A generation's number from its file name, 0 when it has none."""
    digits = name.removeprefix("store-").removesuffix(".duckdb")
    return int(digits) if digits.isdigit() else 0


def sweep(folder: Path) -> None:
    """Removes what a killed writer left half done; only the holder of the lock may."""
    for pattern in (".building-*", ".store.json.*", ".CURRENT.*", ".run-*", "runs/.*.tmp", "shards/*/.*.tmp"):
        for path in folder.glob(pattern):
            if path.is_dir():  # where DuckDB spilled
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def publish(folder: Path, contents: Contents) -> Publication:
    """Makes the next generation from the shards, then points CURRENT at it.

    Raises:
        StoreError: the disk is full or DuckDB could not make the file; the older generation stays current.
    """
    current = current_name(folder)
    names = [path.name for path in folder.glob("store-*.duckdb")]
    generation = 1 + max(number(name) for name in [*names, current or ""])
    target = folder / f"store-{generation:06d}.duckdb"
    temporary = folder / f".building-{os.getpid()}.duckdb"
    try:
        rows = _build(temporary, folder, current, contents, generation)
        damaged = damaged_shards(temporary)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.rename(target)
        fsync_folder(folder)
    except (duckdb.Error, OSError) as error:
        _remove(temporary)
        reason = str(error).splitlines()[0]
        raise StoreError(f"cannot publish to {folder}: {reason}; nothing that was stored is lost") from error
    write_atomically(folder / "CURRENT", target.name.encode())
    kept = sorted((*names, target.name), key=number)[-_KEPT:]
    for name in set(names) - set(kept):
        (folder / name).unlink(missing_ok=True)
    return Publication(generation, rows, damaged)


def _build(temporary: Path, folder: Path, current: str | None, contents: Contents, generation: int) -> dict[str, int]:
    """Builds from the newest generation, or from nothing when there is none or it turns out unusable."""
    shards = folder / "shards"
    _remove(temporary)
    if current:
        try:
            return build(temporary, base=folder / current, shards=shards, contents=contents, generation=generation)
        except (duckdb.Error, OSError):
            _remove(temporary)
    return build(temporary, base=None, shards=shards, contents=contents, generation=generation)


def _remove(path: Path) -> None:
    for left in (path, path.with_name(path.name + ".wal")):
        left.unlink(missing_ok=True)
