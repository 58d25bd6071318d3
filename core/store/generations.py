"""Generations: which published file is current, and replacing it by the next one.

Two files take turns. The next generation is the one before the current with what it lacks added to it, so that a
publication costs what is new; where somebody still reads that one, a copy of the current takes its place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import duckdb
import psutil

from core.errors import StoreError
from core.store.damage import Damage
from core.store.publish import AnotherShapeError, Contents, build
from core.store.runs import now
from core.store.shard_set import ShardSet
from core.store.shards import fsync_folder, write_atomically

_KEPT = 2
_BLOCK = 1 << 20
_SEALED_WHOLE = 256 << 20
"""Bytes of a file whose seal is of all of them; DuckDB's own checksums are on every block of those beyond."""
_SEALED_BLOCKS = 64
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system without locks says."""
_UNUSABLE = (AnotherShapeError, duckdb.OperationalError, duckdb.FatalException, duckdb.InternalError,
             duckdb.IntegrityError, duckdb.DataError)  # fmt: skip
"""What says that an earlier generation cannot be built on; anything else is a mistake of ours."""
_GENERATION = re.compile(r"store-(\d+)\.duckdb")


@dataclass(frozen=True)
class Publication:
    """One published generation: rows per table."""

    generation: int
    rows: dict[str, int]


class Hold:
    """A generation that is being read: while one of these is alive, no publication changes the file under it."""

    def __init__(self, path: Path) -> None:
        """Opens the file and holds it.

        Raises:
            OSError: it is gone, or a publication has begun to change it; the current one is another by then.
        """
        self._handle = path.open("rb")
        try:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _NO_LOCKS:  # where there are no locks, no publication gets one either: it copies
                    raise
            if not os.path.samestat(os.fstat(self._handle.fileno()), path.stat()):
                raise FileNotFoundError(f"{path} is another file now")
        except OSError:
            self._handle.close()
            raise


@dataclass(frozen=True)
class _Sealed:
    """A generation's file name and its seal, None where CURRENT does not say it."""

    name: str
    seal: str | None


def current_name(folder: Path) -> str | None:
    """File name of the newest generation, None when nothing has been published.

    Raises:
        StoreError: CURRENT cannot be read.
    """
    known = _known(folder)
    return known[0].name if known else None


def _known(folder: Path) -> list[_Sealed]:
    """The newest generation, then the one before as far as it is known.

    A damaged CURRENT does no harm: every file of a generation's name is whole, so the newest of them is meant.
    """
    try:
        words = (folder / "CURRENT").read_bytes().decode("ascii", "replace").split()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"cannot read {folder / 'CURRENT'}: {error.strerror or error}") from error
    lines = [words[at : at + 3] for at in range(0, len(words), 3)]
    if lines and all(len(line) == 3 and line[2] == _check(*line[:2]) for line in lines):
        return [_Sealed(name, seal) for name, seal, _ in lines]
    if len(words) == 1 and number(words[0]) and (folder / words[0]).is_file():  # as before there were checksums
        return [_Sealed(words[0], None)]
    names = [path.name for path in folder.glob("store-*.duckdb") if number(path.name)]
    return [_Sealed(max(names, key=number), None)] if names else []


def _check(name: str, seal: str) -> str:
    return hashlib.sha256(f"{name} {seal}".encode()).hexdigest()[:16]


def _seal(handle: BufferedReader) -> str:
    """A checksum of a file: of all its bytes, or of its size and _SEALED_BLOCKS of its blocks where it is large."""
    size = os.fstat(handle.fileno()).st_size
    handle.seek(0)
    if size <= _SEALED_WHOLE:
        return hashlib.file_digest(handle, "sha256").hexdigest()
    digest = hashlib.sha256(f"{size}".encode())
    for place in range(_SEALED_BLOCKS):
        handle.seek((size - _BLOCK) * place // (_SEALED_BLOCKS - 1))
        digest.update(handle.read(_BLOCK))
    return digest.hexdigest()


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
    known = _known(folder)
    names = [path.name for path in folder.glob("store-*.duckdb")]
    generation = 1 + max(number(name) for name in [*names, *(item.name for item in known), ""])
    target = folder / f"store-{generation:06d}.duckdb"
    temporary = folder / f".building-{os.getpid()}.duckdb"
    try:
        rows = _build(temporary, folder, contents, generation, shards)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
            sealed = _Sealed(target.name, _seal(handle))
        temporary.rename(target)
        fsync_folder(folder)
    except (duckdb.Error, OSError) as error:
        _remove(temporary)
        reason = str(error).splitlines()[0]
        raise StoreError(f"cannot publish to {folder}: {reason}; nothing that was stored is lost") from error
    before = [item for item in known[:1] if item.seal]
    lines = [f"{item.name}\n{item.seal}\n{_check(item.name, str(item.seal))}" for item in (sealed, *before)]
    write_atomically(folder / "CURRENT", "\n".join(lines).encode())
    kept = sorted((*names, target.name), key=number)[-_KEPT:]
    for name in set(names) - set(kept):
        (folder / name).unlink(missing_ok=True)
    return Publication(generation, rows)


def _build(temporary: Path, folder: Path, contents: Contents, generation: int, shards: ShardSet) -> dict[str, int]:
    """Builds on the generation before the newest, on a copy of the newest, or from nothing where neither is whole."""
    _remove(temporary)
    for take in (_take_older, _copy_newest):
        with suppress(*_UNUSABLE), take(folder, temporary, shards) as taken:
            if taken:
                return build(
                    temporary, grows=True, folder=folder, shards=shards, contents=contents, generation=generation
                )
        _remove(temporary)
    return build(temporary, grows=False, folder=folder, shards=shards, contents=contents, generation=generation)


@contextmanager
def _take_older(folder: Path, temporary: Path, shards: ShardSet) -> Iterator[bool]:
    """Moves the generation before the newest to `temporary`, if nobody reads it; no reader can open it meanwhile."""
    known = _known(folder)
    path = folder / known[1].name if len(known) > 1 else None
    if path is None or not path.is_file():
        yield False
        return
    with path.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody reads it
            yield False
            return
        if _seal(handle) == known[1].seal:
            path.rename(temporary)
            yield True
        else:
            yield False


@contextmanager
def _copy_newest(folder: Path, temporary: Path, shards: ShardSet) -> Iterator[bool]:
    """Copies the newest generation to `temporary`; a damaged one is told."""
    newest = next(iter(_known(folder)), None)
    if newest is None or newest.seal is None or not (folder / newest.name).is_file():
        yield False
        return
    shutil.copyfile(folder / newest.name, temporary)
    with temporary.open("rb") as handle:
        whole = _seal(handle) == newest.seal
    if not whole:
        reason = "its bytes are not those that were written"
        shards.damaged.append(Damage(newest.name, reason, now(), "made again from the shards, so nothing is lost"))
    yield whole


def _remove(path: Path) -> None:
    for left in (path, path.with_name(path.name + ".wal")):
        left.unlink(missing_ok=True)
