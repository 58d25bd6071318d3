"""The writer's lock: one run writes to a store at a time, and a killed one frees it.

On flock, not filelock: that takes an exclusive lock to ask whether one is held, and truncates the file with the pid.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import StoreError

_TRIES, _PAUSE = 5, 0.1
_NAME = "write.lock"


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; makes the folder.

    Raises:
        StoreError: another run holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        _take(handle, folder)
        yield
    finally:
        os.close(handle)


def is_locked(folder: Path) -> bool:
    """Whether a run holds the folder's lock now."""
    try:
        handle = os.open(folder / _NAME, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _take(handle: int, folder: Path) -> None:
    for _ in range(_TRIES):  # is_locked() elsewhere may hold it for a moment
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
            continue
        try:
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        except OSError as error:
            raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
        return
    pid = os.pread(handle, 20, 0).decode(errors="replace")
    raise StoreError(f"another run (process {pid}) writes to {folder}; wait for it or choose another --store")
