"""A store opened to write: what a run adds to it while it holds the store's lock."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import duckdb

from core.errors import StoreError
from core.records import Failure
from core.store import generations, runs, saved
from core.store.damage import Damage, mark_as_said
from core.store.failures import AttemptFailures, Noted, standing_failures
from core.store.generations import Publication
from core.store.json_files import write_json
from core.store.locks import hold_lock
from core.store.publish import STORE_VERSION, Contents
from core.store.shard_set import ShardSet
from core.store.shards import STAGE_TABLES, Row, to_arrow
from core.store.store import Store


@contextmanager
def open_for_writing(folder: Path) -> Iterator[StoreWriter]:
    """Opens the store in `folder` to write, makes it where there is none, and holds its lock for one run.

    Raises:
        StoreError: another run writes to this store, a newer whylook wrote it, or the folder cannot be made.
    """
    Store(folder)  # what cannot be a store of this version is refused before anything is made in it
    with hold_lock(folder):
        writer = StoreWriter(folder)
        write_json(folder / "store.json", {"version": STORE_VERSION})
        generations.sweep(folder)
        try:
            yield writer
        finally:
            writer.stop_merging()


class StoreWriter(Store):
    """A store whose lock is held: it reads, and it writes. Only `open_for_writing()` makes one."""

    def __init__(self, folder: Path) -> None:
        """Looks at the folder; writes nothing yet."""
        super().__init__(folder)
        self._shards = ShardSet(folder)
        self._merging: threading.Thread | None = None
        self._ends = threading.Event()
        self._failures: dict[tuple[str, int], AttemptFailures] = {}

    def begin_run(
        self,
        settings: Mapping[str, Any],
        fingerprints: Mapping[str, str],
        *,
        class_names: Sequence[str] = (),
        judge_note: str | None = None,
        judge_limits: str | None = None,
    ) -> str:
        """Starts or resumes a run: the same settings and fingerprints give the same run.

        Args:
            settings: what the person asked for, JSON values.
            fingerprints: one per stage that runs, of images, classifier, attribution, judge, embedding.
            class_names: the classifier's classes in the order of its logits.
            judge_note: a sentence when the judge knows only some pictures.
            judge_limits: a sentence when its scores lack something whatever the pictures.

        Returns:
            The run's name, such as `r-3f9a21`.
        """
        notes = {"judge_note": judge_note, "judge_limits": judge_limits}
        run = runs.begin(self.folder, settings, fingerprints, class_names=class_names, **notes)
        shards = [path.name for path in self._shards.paths("failures")]
        standing = standing_failures(self._reader_or_none(), run, shards=shards)
        self._failures.clear()
        self._failures_of(run, runs.read_record(self.folder, run), standing=standing)
        return run

    def done(self, stage: str, fingerprint: str, *, include_failed: bool = True) -> set[str]:
        """Pictures whose rows of one stage are safely on disk; a damaged shard's pictures are not among them."""
        if stage not in STAGE_TABLES:
            raise StoreError(f"unknown stage {stage}; expected {', '.join(STAGE_TABLES)}")
        table = STAGE_TABLES[stage]
        return self._shards.done(table, fingerprint, self._reader_or_none, include_failed=include_failed)

    def check(self) -> None:
        """Verifies every shard, run record and saved file; what is damaged is set aside and counts as not done.

        Rows of a damaged shard that are published become shards again; damaged() says what was found.
        """
        found = [*runs.mend_records(self.folder, self._published_runs()), saved.mend_saved(self._saved)]
        self._shards.damaged += [damage for damage in found if damage]
        self._shards.check(self._reader_or_none)

    def damaged(self) -> list[Damage]:
        """What turned out damaged since this writer opened the store, or before and no run has lived to say."""
        return list(self._shards.damaged)

    def damage_is_said(self) -> None:
        """Notes that what damaged() gives has been said to the person who runs it."""
        mark_as_said(self.folder)

    def write(
        self, table: str, rows: Sequence[Row], *, fingerprint: str | None = None, run: str | None = None
    ) -> Path | None:
        """Writes rows as one durable shard; once it returns they survive a kill and a power cut.

        Args:
            table: images, predictions, attributions, judgements, embeddings, faithfulness, judge_card or failures.
            rows: mappings with the table's columns, or records of core.records; None is returned when empty, and when
                they are failures that stand already.
            fingerprint: of the stage; required save for failures.
            run: required for failures.

        Raises:
            StoreError: unknown table or column, or a full disk.
        """
        if table == "failures":
            return self._write_failures(rows, str(run))
        if fingerprint is None:
            raise StoreError(f"rows of {table} need a fingerprint")
        arrow = to_arrow(table, rows, {"fingerprint": fingerprint})
        return self._shards.write(table, arrow) if rows else None

    def finish_run(
        self,
        run: str,
        state: Literal["done", "interrupted", "failed"],
        counts: Mapping[str, int],
        *,
        judge_note: str | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Notes how a run ended and the seconds its stages took; the next publish() shows it."""
        runs.finish(self.folder, run, state, counts, judge_note=judge_note, seconds=seconds or {})

    def set_high_score(self, run: str, score: float) -> None:
        """Notes from which score (0..5) on attention counts as high in a run; the next publish() shows it."""
        runs.set_high_score(self.folder, run, score)

    def report_progress(
        self,
        *,
        run: str,
        stage: str,
        done: int,
        total: int,
        rate: float | None = None,
        seconds_left: float | None = None,
        message: str = "",
        limit: str = "",
    ) -> None:
        """Says how far a run is, for whoever watches (`rate` in pictures per second)."""
        report = {"run": run, "stage": stage, "done": done, "total": total, "rate": rate, "seconds_left": seconds_left}
        report |= {"message": message, "limit": limit, "pid": os.getpid(), "updated": time.time()}
        write_json(self.folder / "run-progress.json", report)

    def publish(self) -> Publication:
        """Makes the next generation from the shards and points CURRENT at it; readers move on when they like.

        Raises:
            StoreError: the disk is full or DuckDB could not make the file; the older generation stays current.
        """
        contents = Contents(
            runs=[runs.as_row(record) for record in self.run_records()],
            slices=self.slices(),
            findings=[row for entry in saved.read_entries(self._saved, "findings").values() for row in entry["rows"]],
            tags=self.tag_rows(),
            deck=[_as_row(place, entry) for place, entry in enumerate(self.deck(), start=1)],
            run_names=self._entries("run_names"),
            cues=[row for entry in saved.read_entries(self._saved, "cues").values() for row in entry["rows"]],
        )
        for known in self._failures.values():
            known.forget_files()
        with self._shards.guard:
            publication = generations.publish(self.folder, contents, shards=self._shards)
        self._merge_beside()
        return publication

    def stop_merging(self) -> None:
        """Waits for the merging of small shards beside this run to end, at the next shard."""
        self._ends.set()
        self.wait_for_merging()

    def wait_for_merging(self) -> None:
        """Returns when nothing is merged any more."""
        if self._merging is not None:
            self._merging.join()

    def _merge_beside(self) -> None:
        """Merges small shards in a thread, if none does already."""
        if self._merging is None or not self._merging.is_alive():
            self._merging = threading.Thread(target=self._shards.merge, kwargs={"stop": self._ends.is_set}, daemon=True)
            self._merging.start()

    # ------------------------------------------------------------------ inside

    def _write_failures(self, rows: Sequence[Row], run: str) -> Path | None:
        """A shard of the failures that do not stand already; None where that is none."""
        record = runs.read_record(self.folder, run)
        if not record:
            raise StoreError("rows of failures need a known run")
        known = self._failures_of(run, record)
        told = to_arrow("failures", rows, {"run": run}).to_pylist()
        failures = [Failure(row["stage"], row["image_id"], row["path"], row["reason"]) for row in told]
        done = cache(lambda stage, mark: self.done(stage, mark, include_failed=False))

        def is_settled(failure: Failure) -> bool:
            mark = record["fingerprints"].get(failure.stage)
            return mark is not None and failure.image_id in done(failure.stage, mark)

        new = known.new(failures, is_settled=is_settled)
        if known.listing != runs.listing_attempt(record):
            runs.set_listing_attempt(self.folder, run, known.listing)
        lines = [{**vars(item.failure), "attempt": item.attempt} for item in new]
        return self._shards.write("failures", to_arrow("failures", lines, {"run": run})) if lines else None

    def _failures_of(self, run: str, record: Mapping[str, Any], *, standing: Sequence[Noted] = ()) -> AttemptFailures:
        """What is known of a run's failures: nothing once another file is damaged, which may have held them."""
        key = (run, len(self._shards.damaged))
        if key not in self._failures:
            listing = runs.listing_attempt(record)
            self._failures[key] = AttemptFailures(record["attempt"], listing=listing, standing=standing)
        return self._failures[key]

    def _reader_or_none(self) -> duckdb.DuckDBPyConnection | None:
        try:
            return self.reader()
        except StoreError:
            return None

    def _published_runs(self) -> dict[str, dict[str, Any]]:
        """Rows of table `runs` by name; none where nothing is published that can be read."""
        try:
            found = self.reader().execute("SELECT * FROM runs")
            names, rows = [column[0] for column in found.description or []], found.fetchall()
        except (StoreError, duckdb.Error):
            return {}
        return {str(row[names.index("run")]): dict(zip(names, row, strict=True)) for row in rows}


def _as_row(place: int, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A kept slide as a row of table `deck`."""
    slide = entry["slide"]
    told = {name: json.dumps(slide.get(name, []), ensure_ascii=False) for name in ("figures", "sources")}
    return {**slide, **told, "position": place, "saved": entry["saved"]}
