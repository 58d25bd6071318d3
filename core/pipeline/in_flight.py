"""Which large pictures a run is working on, noted in the store's folder so that one that kills the process is known.

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
"""A picture is recorded as failed once so many attempts have died while they worked on it."""


class InFlight:
    """The pictures that are worked on now, and how often an attempt has died while it worked on one."""

    def __init__(self, folder: Path) -> None:
        """What an earlier attempt was working on when it ended without a word counts as one death more each."""
        self._file = folder / NAME
        self._guard = threading.Lock()
        self._working: Counter[str] = Counter()
        working, self._deaths = _read(self._file)
        self._deaths.update(working)
        if working:
            self._write()

    def deaths(self, image_id: str) -> int:
        """How many attempts died while they worked on this picture."""
        return self._deaths[image_id]

    def failure(self, entry: ImageEntry) -> Failure:
        """Why a picture is not tried any more, and how it is."""
        reason = (
            f"the process died {self.deaths(entry.image_id)} times while it worked on this large picture, probably for "
            f"want of memory: make it smaller, or delete {self._file} to try it again"
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
            self._write()

    def _write(self) -> None:
        """Replace the file, or remove it when there is nothing to say. A full disk is said by what matters more."""
        temporary = self._file.with_name(f".{NAME}.{os.getpid()}.tmp")
        with suppress(OSError):
            if not self._working and not self._deaths:
                self._file.unlink(missing_ok=True)
                return
            temporary.write_text(json.dumps({"working": sorted(self._working), "died": self._deaths}))
            temporary.replace(self._file)


def _read(file: Path) -> tuple[list[str], Counter[str]]:
    """What was worked on, and the deaths; nothing where the file is not there or is damaged."""
    try:
        told = json.loads(file.read_bytes())
        working = [str(image_id) for image_id in told["working"]]
        deaths = Counter({str(image_id): int(count) for image_id, count in told["died"].items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return [], Counter()
    return working, deaths
