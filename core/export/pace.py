"""How fast an export goes and how long it still takes."""

from __future__ import annotations

import time


class Pace:
    """Pictures a second since the first one: what comes before it is no measure of the others."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def at(self, done: int, total: int) -> tuple[float | None, float | None]:
        """Pictures a second and seconds left; None until they can be told."""
        now = time.monotonic()
        first, before = self._first = self._first or (now, done)
        if done <= before or now <= first:
            return None, None
        rate = (done - before) / (now - first)
        return rate, (total - done) / rate
