"""Files that may be anything: opened without waiting, and only read when they are regular files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.errors import ImageError

MAX_BYTES = 2**31
"""Files larger than this (2 GB) are no pictures that could be decoded, and are not read."""
# Opening a pipe or a device must neither wait for its other end nor make a terminal ours.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file to read, and its size in bytes; nothing else is waited for, whatever lies at the path.

    Raises:
        ImageError: it cannot be opened, is no regular file, is empty, or is larger than `MAX_BYTES`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening alone already moves some devices
            raise ImageError("not a regular file")
        handle = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise ImageError(why(error)) from error
    with os.fdopen(handle, "rb") as file:
        told = os.fstat(handle)
        if not stat.S_ISREG(told.st_mode):
            raise ImageError("not a regular file")
        if not told.st_size:
            raise ImageError("empty file (0 bytes)")
        if told.st_size > MAX_BYTES:
            raise ImageError(f"larger than {MAX_BYTES:,} bytes: no picture that could be decoded")
        yield file, told.st_size


def why(error: OSError | ValueError) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, OSError) and error.errno in (errno.ENXIO, errno.EISDIR):
        return "not a regular file"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"
