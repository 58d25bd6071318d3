"""The run's book-keeping: progress, seconds per stage, failures, and when to publish."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from core.memory import give_back
from core.pipeline.request import Progress
from core.pipeline.stages import limiting
from core.records import Failure
from core.store import StoreWriter

PUBLISH_SECONDS = 20.0
"""Least time between two publications while a run works."""

PUBLISH_SHARE = 10.0
"""A publication that took t seconds is not repeated before PUBLISH_SHARE * t: big stores publish more seldom."""


class Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        """Nothing was timed yet."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds spent inside to `stage`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - began


class Journal(Clock):
    """State of one attempt at a run. Everything that it reports as done is already in a shard."""

    def __init__(
        self,
        store: StoreWriter,
        run: str,
        *,
        progress: Callable[[Progress], None],
        seconds: dict[str, float],
    ) -> None:
        """Start the clocks; `seconds` already holds what loading took."""
        super().__init__()
        self.store = store
        self.run = run
        self.seconds = seconds
        self.failures: list[Failure] = []
        self._noted: dict[str, float] = {}
        self._failed: set[Failure] = set()
        self._progress = progress
        self._last_publication = time.monotonic()
        self._publication_seconds = 0.0
        self._dirty = True
        self._stage, self._start, self._began = "", 0, time.monotonic()
        self._before: dict[str, float] = dict(seconds)

    def share(self, seconds: float, clocks: Sequence[Clock]) -> None:
        """Add the seconds in which several threads worked side by side, in proportion to what each stage took them."""
        spent = Counter[str]()
        for clock in clocks:
            spent.update(clock.seconds)
        for stage, part in spent.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds * part / max(spent.total(), 1e-9)

    def beside(self, stage: str, seconds: float) -> None:
        """Add seconds that threads spent on one of `core.pipeline.stages.BESIDE`."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def begin(self, stage: str, *, done: int, total: int) -> None:
        """A stage starts with `done` pictures left over from earlier attempts."""
        self._stage, self._start, self._began = stage, done, time.monotonic()
        self._before = dict(self.seconds)
        self.report(done, total)

    def report(self, done: int, total: int, *, message: str = "", more: tuple[float, float] = (0, 0)) -> None:
        """Tell the caller and the store's progress file how far the stage is.

        `more` is the work beside one unit per picture, done by this attempt and left to do: not every picture is asked
        for as much.
        """
        spent = time.monotonic() - self._began
        worked = done - self._start
        rate = worked / spent if worked > 0 and spent > 0 else None
        left = (total - done + more[1]) * spent / (worked + more[0]) if rate else None
        news = Progress(self._stage, done, total, rate, left, message, self.limit(since=self._before))
        self.store.report_progress(
            run=self.run, stage=news.stage, done=done, total=total, rate=rate, seconds_left=left, message=message,
            limit=news.limit,
        )  # fmt: skip
        self._progress(news)

    def limit(self, *, since: Mapping[str, float]) -> str:
        """Where most of the time went since the clocks showed `since`; empty when nothing was timed."""
        return limiting({stage: seconds - since.get(stage, 0.0) for stage, seconds in self.seconds.items()})

    def unnoted(self) -> dict[str, float]:
        """Seconds per stage since this was last asked for: the record adds up what it is told."""
        new = {stage: spent - self._noted.get(stage, 0.0) for stage, spent in self.seconds.items()}
        self._noted = dict(self.seconds)
        return new

    def write(self, table: str, rows: Sequence[object], *, fingerprint: str) -> None:
        """One shard, on disk when this returns. No rows, no shard."""
        if rows:
            with self.timed("writing"):
                self.store.write(table, rows, fingerprint=fingerprint)  # type: ignore[arg-type]
            self._dirty = True

    def note_rows(self) -> None:
        """Somebody else wrote rows of this run: the next publication has something new."""
        self._dirty = True

    def fail(self, failures: Sequence[Failure]) -> None:
        """Record failures: in the store first, then in the outcome, once each."""
        if failures:
            self.store.write("failures", failures, run=self.run)
            self.failures.extend(item for item in failures if item not in self._failed)
            self._failed.update(failures)
            self._dirty = True

    def publish(self) -> None:
        """Make everything written so far visible to readers; nothing new, nothing done."""
        if not self._dirty:
            return
        began = time.monotonic()
        give_back()  # DuckDB has an allocator of its own, which cannot use what is kept
        with self.timed("publishing"):
            self.store.publish()
        self._dirty = False
        self._last_publication = time.monotonic()
        self._publication_seconds = self._last_publication - began

    def publish_final(self) -> None:
        """The last publication, which carries the run's end state."""
        self._dirty = True
        self.publish()

    def publish_if_due(self) -> bool:
        """Publish now and then; True when it did."""
        wait = max(PUBLISH_SECONDS, PUBLISH_SHARE * self._publication_seconds)
        if not self._dirty or time.monotonic() - self._last_publication < wait:
            return False
        self.publish()
        return True
