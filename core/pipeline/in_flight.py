"""Which pictures a run is working on, noted in the store's folder so that one that kills the process is known.

The file is replaced as a whole but not forced to the disk: it tells the next attempt of a process that was killed, and
need not survive a power cut.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from core.records import Failure, ImageEntry

NAME = "in-flight.json"
MOST_DEATHS = 2
"""A picture is recorded as failed once so many attempts have died while they worked on it, all but one on it alone."""
MOST_DEATHS_CAREFUL = 4
"""The same where every picture is noted: on a cluster, where processes are also killed from outside."""


class InFlight:
    """The pictures that are worked on now, and how often an attempt has died while it worked on one.

    A death with many pictures at work makes each of them a suspect; only deaths on a picture alone can blame it.
    """

    def __init__(self, folder: Path, *, careful: bool = False) -> None:
        """What an earlier attempt was working on when it ended without a word counts as one death more each.

        Args:
            folder: where the note is kept.
            careful: every picture is to be noted, not large ones alone.
        """
        self.careful = careful
        self._file = folder / NAME
        self._most = MOST_DEATHS_CAREFUL if careful else MOST_DEATHS
        self._guard = threading.Lock()
        self._working: Counter[str] = Counter()
        working, self._deaths, self._alone = _read(self._file)
        self._deaths.update(working)
        if len(working) == 1:
            self._alone.update(working)
        if working:
            self._write()

    def deaths(self, image_id: str) -> int:
        """How many attempts died while they worked on this picture."""
        return self._deaths[image_id]

    def hopeless(self, image_id: str) -> bool:
        """True when a picture is not to be tried any more."""
        return self._deaths[image_id] >= self._most and self._alone[image_id] >= self._most - 1

    def failure(self, entry: ImageEntry) -> Failure:
        """Why a picture is not tried any more, and how it is."""
        again = "the next run tries it again" if self.careful else f"delete {self._file} to try it again"
        reason = (
            f"the process died {self.deaths(entry.image_id)} times while it worked on this picture, at last with "
            f"nothing else at work, for want of memory or in a crash: make it smaller or take it out; {again}"
        )
        return Failure("images", entry.image_id, entry.relative_paths[0], reason)

    @contextmanager
    def working(self, image_ids: Sequence[str]) -> Iterator[None]:
        """Note these pictures while inside; called in threads."""
        if not image_ids:
            yield
            return
        with self._guard:
            self._working.update(image_ids)
            self._write()
        try:
            yield
        finally:
            with self._guard:
                self._working -= Counter(image_ids)
                self._write()

    def forget(self, image_ids: Sequence[str]) -> None:
        """These are done: that an attempt died on one of them once means nothing any more."""
        if self._deaths.keys().isdisjoint(image_ids):
            return
        with self._guard:
            for image_id in image_ids:
                self._deaths.pop(image_id, None)
                self._alone.pop(image_id, None)
            self._write()

    def _write(self) -> None:
        """Replace the file, or remove it when there is nothing to say. A full disk is said by what matters more."""
        temporary = self._file.with_name(f".{NAME}.{os.getpid()}.tmp")
        with suppress(OSError):
            if not self._working and not self._deaths:
                self._file.unlink(missing_ok=True)
                return
            told = {"working": sorted(self._working), "died": self._deaths, "alone": self._alone}
            temporary.write_text(json.dumps(told))
            temporary.replace(self._file)


def _read(file: Path) -> tuple[list[str], Counter[str], Counter[str]]:
    """What was worked on, the deaths, and those on a picture alone; nothing where the file is not there or damaged."""
    try:
        told = json.loads(file.read_bytes())
        working = [str(image_id) for image_id in told["working"]]
        deaths = Counter({str(image_id): int(count) for image_id, count in told["died"].items()})
        alone = Counter({str(image_id): int(count) for image_id, count in told.get("alone", {}).items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [], Counter(), Counter()
    return working, deaths, alone
