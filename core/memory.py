"""Memory: what there is, how much of it pictures may take at a time, and keeping what was freed."""

from __future__ import annotations

import ctypes
import math
import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil

from core.errors import RequestError

PICTURES_MOST = 3 * 2**29
"""Pictures that are being decoded take at most these 1.5 GB together, however much memory there is."""
PICTURES_SHARE = 0.25
"""And at most this share of what is free when the first one is decoded."""
PICTURES_LEAST = 2**26
ALONE_MOST = 3 * 2**30
"""One that needs more than the budget is decoded alone, when it needs at most these 3 GB ..."""
ALONE_SHARE = 0.5
"""... and at most this share of what is free then."""
GIVEN_BACK = 2**28
"""What a picture of this size took goes back to the system at once: each thread would keep as much for itself."""

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # malloc.h
_PAD = 64 * 2**20
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_CGROUPS = (  # version 2, then 1: where it lies, the limit, the use, and what of it the kernel can take back
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class NoRoom(MemoryError):
    """Something needs more memory than it may take, both in bytes, even with nothing beside it."""

    def __init__(self, needed: int, free: int) -> None:
        """The message says both."""
        super().__init__(f"need about {size_text(needed)} of memory, and may take {size_text(free)} here")
        self.needed = needed
        self.free = free


class Budget:
    """Bytes that threads share: who wants some waits in line until they are free.

    A want that is larger than the whole waits until nobody else holds anything, and is then held alone.
    """

    def __init__(self, total: int) -> None:
        """All `total` bytes are free."""
        self.total = total
        self._free = total
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Hold so many bytes while inside.

        Raises:
            NoRoom: it is more than the whole budget, and more than one picture may take alone.
        """
        taken = min(amount, self.total)
        with self._changed:
            place = object()
            self._line.append(place)
            try:
                self._changed.wait_for(lambda: self._line[0] is place and taken <= self._free)
            except BaseException:  # Ctrl+C: those behind must not wait for one who left
                self._line.remove(place)
                self._changed.notify_all()
                raise
            self._line.popleft()
            self._free -= taken
            self._changed.notify_all()
        try:
            if amount > self.total:
                check_room(amount, share=ALONE_SHARE, most=ALONE_MOST)
            yield
        finally:
            if amount >= GIVEN_BACK:
                give_back()
            with self._changed:
                self._free += taken
                self._changed.notify_all()


@cache
def picture_budget() -> Budget:
    """The budget of all pictures that this process decodes."""
    return Budget(int(min(PICTURES_MOST, max(PICTURES_LEAST, PICTURES_SHARE * free_memory()))))


def check_room(amount: int, *, share: float, most: float = math.inf) -> int:
    """The bytes that may be taken: this share of the memory that is free and no more than `most`.

    Raises:
        NoRoom: `amount` is more, also after what was kept has been given back.
    """
    room = int(min(most, share * free_memory()))
    if amount > room:
        give_back()
        room = int(min(most, share * free_memory()))
    if amount > room:
        raise NoRoom(amount, room)
    return room


def free_memory(root: Path = Path("/")) -> int:
    """Bytes this process can still take: of the system, of its container, and below WHYLOOK_MEMORY, the least of these.

    Raises:
        RequestError: WHYLOOK_MEMORY is set and is no size.
    """
    found = [psutil.virtual_memory().available, *_container_memory(root)]
    wanted = os.environ.get("WHYLOOK_MEMORY", "").strip()
    if wanted:
        found.append(parse_size(wanted) - psutil.Process().memory_info().rss)
    return int(max(0, min(found)))


def parse_size(text: str, *, name: str = "WHYLOOK_MEMORY") -> int:
    """Bytes in `2GB`, `500m` or `1.5 GiB`; the units are powers of 1,024.

    Raises:
        RequestError: `name` is no such size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise RequestError(f"{name} must be a size such as 2GB or 500MB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def size_text(amount: int) -> str:
    """Bytes in words: 1.5 GB, 300 MB."""
    return f"{amount / 2**30:.1f} GB" if amount >= 2**30 else f"{max(1, round(amount / 2**20))} MB"


def _container_memory(root: Path) -> Iterator[int]:
    """What is left of each limit of the control groups that this process is in; nothing where there are none."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        for controller, limit, usage, cached in _CGROUPS:
            if controller not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / controller
            # A container sees its own group at the top, whatever place the line names.
            for folder in {top, *(top / part for part in _ancestors(place.strip("/")))}:
                most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
                if most.isdigit() and used.isdigit():
                    kept = re.search(rf"^{cached} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
                    yield int(most) - int(used) + (int(kept[1]) if kept else 0)


def _ancestors(place: str) -> Iterator[Path]:
    """A path and the folders around it."""
    path = Path(place)
    yield from (path, *path.parents)


def _text(file: Path) -> str:
    """What a file of the kernel says, or nothing."""
    try:
        return file.read_text()
    except OSError:
        return ""


def keep_freed_memory() -> bool:
    """From now on freed memory stays with this process, in huge pages where PyTorch can; False where glibc is not.

    The activations of a batch are tens of megabytes a tensor. glibc returns such blocks to the kernel when they are
    freed and gets them back page by page, each zeroed again, for every layer of every batch: on two cores ResNet-50
    spends a third of its time on it.

    For a process that works and ends, before PyTorch allocates anything. Sources: mallopt(3), and PyTorch's
    `THP_MEM_ALLOC_ENABLE`. A setting of the user's own is left alone.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, value) for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD)))


def give_back() -> None:
    """What was kept and is not in use goes back to the system; nothing happens where glibc is not."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _libc() -> ctypes.CDLL | None:
    """The C library of this process; None where it cannot be asked (Windows)."""
    try:
        return ctypes.CDLL(None)
    except TypeError:
        return None
