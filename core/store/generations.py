"""Generations: which published file is current, and replacing it by the next one."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from core.errors import StoreError
from core.store.damage import Damage
from core.store.publish import Contents, build
from core.store.runs import now
from core.store.shard_set import ShardSet
from core.store.shards import fsync_folder, write_atomically

_KEPT = 2
_BLOCK = 1 << 20
_GENERATION = re.compile(r"store-(\d+)\.duckdb")


@dataclass(frozen=True)
class Publication:
    """One published generation: rows per table."""

    generation: int
    rows: dict[str, int]


def current_name(folder: Path) -> str | None:
    """File name of the newest generation, None when nothing has been published.

    Raises:
        StoreError: CURRENT cannot be read.
    """
    return _current(folder)[0]


def _current(folder: Path) -> tuple[str | None, str | None]:
    """The newest generation's file name and checksum, as far as they are known.

    A damaged CURRENT does no harm: every file of a generation's name is whole, so the newest of them is meant.
    """
    try:
        words = (folder / "CURRENT").read_bytes().decode("ascii", "replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except OSError as error:
        raise StoreError(f"cannot read {folder / 'CURRENT'}: {error.strerror or error}") from error
    match words:
        case [name, digest, check] if check == _check(name, digest):
            return name, digest
        case [name] if number(name) and (folder / name).is_file():  # as written before there were checksums
            return name, None
    return max(
        (path.name for path in folder.glob("store-*.duckdb") if number(path.name)), key=number, default=None
    ), None


def _check(name: str, digest: str) -> str:
    return hashlib.sha256(f"{name} {digest}".encode()).hexdigest()[:16]


def number(name: str) -> int:
    """A generation's number from its file name, 0 when it has none."""
    named = _GENERATION.fullmatch(name)
    return int(named[1]) if named else 0


def sweep(folder: Path) -> None:
    """Removes what a killed writer left half done; only the holder of the lock may."""
    for pattern in (".building-*", ".*.tmp", "runs/.*.tmp", "shards/*/.*.tmp", "damaged/**/.*.tmp"):
        for path in folder.glob(pattern):
            if _saves(path):
                continue
            if path.is_dir():  # where DuckDB spilled
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _saves(path: Path) -> bool:
    """Whether another process saves what people keep just now, which needs no lock: `.saved.json.PID.tmp`."""
    pid = path.name.removesuffix(".tmp").rpartition(".")[2]
    return path.name.startswith(".saved.json") and pid.isdigit() and psutil.pid_exists(int(pid))


def publish(folder: Path, contents: Contents, *, shards: ShardSet) -> Publication:
    """Makes the next generation from the shards, then points CURRENT at it.

    Args:
        folder: the store's.
        contents: the small tables.
        shards: sets aside the shards that turn out damaged.

    Raises:
        StoreError: the disk is full or DuckDB could not make the file; the older generation stays current.
    """
    current = current_name(folder)
    names = [path.name for path in folder.glob("store-*.duckdb")]
    generation = 1 + max(number(name) for name in [*names, current or ""])
    target = folder / f"store-{generation:06d}.duckdb"
    temporary = folder / f".building-{os.getpid()}.duckdb"
    try:
        rows = _build(temporary, folder, contents, generation, shards)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        temporary.rename(target)
        fsync_folder(folder)
    except (duckdb.Error, OSError) as error:
        _remove(temporary)
        reason = str(error).splitlines()[0]
        raise StoreError(f"cannot publish to {folder}: {reason}; nothing that was stored is lost") from error
    words = (target.name, digest, _check(target.name, digest))
    write_atomically(folder / "CURRENT", "\n".join(words).encode())
    kept = sorted((*names, target.name), key=number)[-_KEPT:]
    for name in set(names) - set(kept):
        (folder / name).unlink(missing_ok=True)
    return Publication(generation, rows)


def _build(temporary: Path, folder: Path, contents: Contents, generation: int, shards: ShardSet) -> dict[str, int]:
    """Builds from a copy of the newest generation, or from nothing where that is not what was published."""
    _remove(temporary)
    name, digest = _current(folder)
    if name and digest and (folder / name).is_file():
        if _copy(folder / name, temporary) == digest:
            try:
                return build(temporary, copied=True, shards=shards, contents=contents, generation=generation)
            except duckdb.Error:
                _remove(temporary)
        else:
            _remove(temporary)
            reason = "its bytes are not those that were written"
            shards.damaged.append(Damage(name, reason, now(), "made again from the shards, so nothing is lost"))
    return build(temporary, copied=False, shards=shards, contents=contents, generation=generation)


def _copy(source: Path, target: Path) -> str:
    """Copies a file; the checksum of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while block := reading.read(_BLOCK):
            digest.update(block)
            writing.write(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    for left in (path, path.with_name(path.name + ".wal")):
        left.unlink(missing_ok=True)
