"""Work a little ahead in threads, in order, with a bound on what is in flight.

Knows: threads. Does not know: pictures, models, stores.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

MOST_THREADS = 8
T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T], *, threads: int, limit: int) -> Generator[R, None, None]:
    """`map` in threads: results in order, at most `limit` begun and not yet taken, items pulled by the caller's thread.

    Closing the iterator drops what has not begun and waits for what has.
    """
    source = iter(items)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="whylook") as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in islice(source, limit))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def decoding_threads() -> int:
    """Threads that decode pictures: as many as there are cores to run on, within reason."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, cores))


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk
