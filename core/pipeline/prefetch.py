"""Work a little ahead in threads, in order, with a bound on what is in flight."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

MOST_THREADS = 8
T = TypeVar("T")
R = TypeVar("R")


def _weightless(result: object) -> int:
    """What is not weighed."""
    return 0


def ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int,
    limit: int,
    weigh: Callable[[R], int] = _weightless,
    most: int = 0,
) -> Generator[R, None, None]:
    """`map` in threads: results in order, at most `limit` begun and not yet taken, items pulled by the caller's thread.

    Where results are weighed, no thread begins another item while those that wait to be taken weigh `most` or more,
    save the one that is to be taken next. Closing the iterator drops what has not begun and waits for what has.
    """
    source, gate = iter(items), _Gate(most)
    waiting: deque[Future[R]] = deque()

    def work(place: int, item: T) -> R:
        gate.wait(place)
        result = function(item)
        gate.put(weigh(result))
        return result

    def begin(count: int) -> None:
        for item in islice(source, count):
            waiting.append(pool.submit(work, gate.places, item))
            gate.places += 1

    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="whylook") as pool:
        try:
            begin(limit)
            while waiting:
                result = waiting.popleft().result()
                gate.take(weigh(result))
                begin(1)
                yield result
        finally:
            gate.close()
            for future in waiting:
                future.cancel()


class _Gate:
    """Lets a thread begin while the results that wait to be taken are light enough, or when its own is next."""

    def __init__(self, most: int) -> None:
        """Nothing waits; with `most` 0 everybody may pass."""
        self.places = 0
        self._most, self._weight, self._next, self._closed = most, 0, 0, False
        self._changed = threading.Condition()

    def wait(self, place: int) -> None:
        """Until item number `place` may begin."""
        if self._most <= 0:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._closed or place <= self._next or self._weight < self._most)
            if self._closed:
                raise CancelledError

    def put(self, weight: int) -> None:
        """A result waits to be taken."""
        if self._most > 0:
            with self._changed:
                self._weight += weight

    def take(self, weight: int) -> None:
        """The next result was taken."""
        if self._most > 0:
            with self._changed:
                self._weight -= weight
                self._next += 1
                self._changed.notify_all()

    def close(self) -> None:
        """Nothing begins any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def decoding_threads() -> int:
    """Threads that decode pictures: as many as there are cores to run on, within reason."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, cores))


def chunks(
    items: Iterable[T], size: int, *, weigh: Callable[[T], int] = _weightless, most: int = 0
) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter; also one whose items weigh `most` or more together, if weighed."""
    chunk: list[T] = []
    weight = 0
    for item in items:
        chunk.append(item)
        weight += weigh(item)
        if len(chunk) == size or 0 < most <= weight:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk
