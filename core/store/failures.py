"""Failures of one attempt at a run: what earlier attempts noted and still stands is not written again.

A picture's failure stands until its picture is tried again (core/schema.sql, section `settled failures`). A file
without an image_id is looked at by every attempt: such failures stand as a whole, under the attempt that noted them
first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import duckdb

from core.errors import StoreError
from core.records import Failure


@dataclass(frozen=True)
class Noted:
    """A failure and the attempt that noted it."""

    attempt: int
    failure: Failure


def standing_failures(con: duckdb.DuckDBPyConnection | None, run: str, *, shards: Collection[str]) -> list[Noted]:
    """What is published of a run's failures; nothing where that is not known to be all.

    Args:
        con: the newest generation, None where there is none.
        run: its name.
        shards: the names of the shards of table `failures`: one that is not published may hold a later failure.
    """
    if con is None:
        return []
    try:
        loaded = con.execute("SELECT name FROM loaded_shards WHERE table_name = 'failures'").fetchall()
        if not set(shards) <= {str(name) for (name,) in loaded}:
            return []
        query = "SELECT attempt, stage, image_id, path, reason FROM failures WHERE run = ?"
        return [Noted(attempt, Failure(*row)) for attempt, *row in con.execute(query, [run]).fetchall()]
    except (StoreError, duckdb.Error):
        return []


class AttemptFailures:
    """The failures of one attempt; `listing` is the attempt under which those without an image_id stand."""

    def __init__(self, attempt: int, *, listing: int, standing: Iterable[Noted] = ()) -> None:
        """An attempt that has noted nothing yet; `standing` are the run's failures of earlier ones."""
        self.listing = listing
        self._attempt = attempt
        self._noted: set[Failure] = set()
        self._left_out: dict[tuple[str, str | None], Failure] = {}
        self._files: set[Failure] = set()
        self._file_attempts: set[int] = set()
        self._pictures: defaultdict[tuple[str, str | None], set[Failure]] = defaultdict(set)
        for item in standing:
            if item.failure.image_id is None:
                self._files.add(item.failure)
                self._file_attempts.add(item.attempt)
            else:
                self._pictures[_key(item.failure)].add(item.failure)

    def new(self, failures: Iterable[Failure], *, is_settled: Callable[[Failure], bool]) -> list[Noted]:
        """Those to write, with the attempt to write them under; may move `listing` back.

        Args:
            failures: what did not work just now.
            is_settled: whether the row that a failure left wanting is there all the same, so that an earlier
                attempt's failure goes.
        """
        fresh = [failure for failure in dict.fromkeys(failures) if failure not in self._noted]
        files = [failure for failure in fresh if failure.image_id is None]
        if files and set(files) == self._files and len(self._file_attempts) == 1:
            (self.listing,) = self._file_attempts
            files = []
        found = [Noted(self.listing, failure) for failure in files]
        for failure in fresh:
            if failure.image_id is not None:
                found += [Noted(self._attempt, item) for item in self._of_picture(failure, is_settled)]
        self._noted.update(fresh)
        return found

    def forget_files(self) -> None:
        """A publication was made: the files that this attempt has not noted by then stand no more."""
        self._files.clear()

    def _of_picture(self, failure: Failure, is_settled: Callable[[Failure], bool]) -> list[Failure]:
        """The failure, unless it stands; with one of this attempt that was left out, which it would replace."""
        key = _key(failure)
        if self._pictures.pop(key, None) == {failure} and not is_settled(failure):
            self._left_out[key] = failure
            return []
        before = self._left_out.pop(key, None)
        return [failure] if before is None else [before, failure]


def _key(failure: Failure) -> tuple[str, str | None]:
    return failure.stage, failure.image_id
