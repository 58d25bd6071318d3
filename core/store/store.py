"""The store: a folder with shards (the truth), run records, saved slices and published DuckDB generations.

Knows: how its parts go together; `Store` is the one way in. Does not know: models, pages, what a row means.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import duckdb

from core.errors import StoreError
from core.store import generations, runs, saved
from core.store.damage import Damage, mark_as_said
from core.store.generations import Publication
from core.store.json_files import DamagedFileError, read_json, write_json
from core.store.locks import hold_lock, is_locked
from core.store.publish import STORE_VERSION, Contents, load_fts
from core.store.reading import Reader, damaged_words, means_damaged
from core.store.shards import STAGE_TABLES, Row, to_arrow
from core.store.shelf import Shelf

__all__ = ["STORE_VERSION", "Damage", "Publication", "Store"]
_READER_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


class Store:
    """A store in a folder. Reading and saving slices need no lock; rows are written inside `open_for_writing()`."""

    def __init__(self, folder: Path) -> None:
        """Looks at the folder; creates nothing.

        Raises:
            StoreError: the folder holds a store of a newer version, or is a file.
        """
        self.folder = folder
        self._saved = folder / "saved.json"
        self._shelf = Shelf(folder)
        self._writing = False
        self._guard = threading.Lock()
        self._opened: tuple[str, duckdb.DuckDBPyConnection] | None = None
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; --store needs a folder")
        self._check_version()

    # ------------------------------------------------------------------ reading

    def exists(self) -> bool:
        """Whether something has been published."""
        return self._current() is not None

    def generation(self) -> int:
        """Number of the newest generation, 0 when nothing has been published."""
        return generations.number(self._current() or "")

    def reader(self) -> duckdb.DuckDBPyConnection:
        """A read-only cursor on the newest generation; cheap, and valid after newer generations appear.

        Raises:
            StoreError: nothing has been published, or the file cannot be opened.
        """
        for last_try in (False, False, True):
            name = self.current_path().name
            with self._guard:
                try:
                    if self._opened is None or self._opened[0] != name:
                        self._opened = (name, self._open(self.folder / name))
                    cursor = self._opened[1].cursor()
                    return cast(duckdb.DuckDBPyConnection, Reader(cursor, self.folder / name))
                except duckdb.Error as error:  # the publisher may have removed it since CURRENT was read
                    if last_try or self._current() == name:
                        raise StoreError(_cannot_open(self.folder / name, error)) from error
        raise AssertionError("the last try returns or raises")

    def current_path(self) -> Path:
        """The newest generation's file.

        Raises:
            StoreError: nothing has been published.
        """
        name = self._current()
        if name is None:
            raise StoreError(f"there is nothing to read in {self.folder}; start with `whylook demo` or `whylook run`")
        return self.folder / name

    def run_records(self) -> list[dict[str, Any]]:
        """The runs as they are on disk now, newest first; published tables may be a little behind."""
        return runs.read_records(self.folder)

    def damaged_records(self) -> list[str]:
        """One sentence per run whose record cannot be read; run_records() has the others."""
        return runs.damaged_records(self.folder)

    def progress(self) -> dict[str, Any] | None:
        """What the last writer reported, with `alive`: whether it still writes. None when there was none."""
        path = self.folder / "run-progress.json"
        if not path.is_file():
            return None
        try:
            return {**read_json(path), "alive": self.writer_alive()}
        except DamagedFileError:  # the next report takes its place
            return None

    def writer_alive(self) -> bool:
        """Whether a run holds this store's lock now."""
        return self._writing or is_locked(self.folder)

    # ------------------------------------------------------------------ what people keep

    def save_slice(self, name: str, sql: str, *, note: str = "") -> None:
        """Saves a slice under `name`, in place of an older one of that name.

        Raises:
            StoreError: the name is empty, or nothing can be written.
        """
        if not name.strip():
            raise StoreError("a saved slice needs a name")
        entry = {"name": name, "sql": sql, "note": note, "saved": runs.now()}
        saved.put_entry(self._saved, "slices", name, entry, words=f"saving slice “{name}”")

    def delete_slice(self, name: str) -> None:
        """Deletes a saved slice; a StoreError when there is none of that name."""
        self._delete("slices", name, f"slice “{name}”")

    def slices(self) -> list[dict[str, Any]]:
        """Saved slices: name, sql, note, saved."""
        return self._entries("slices")

    def save_card(self, name: str, *, title: str, body: str, sql: str = "") -> None:
        """Adds a card to the deck, in place of an older one of that name."""
        entry = {"name": name, "title": title, "body": body, "sql": sql, "saved": runs.now()}
        saved.put_entry(self._saved, "deck", name, entry, words=f"adding card “{title}”")

    def delete_card(self, name: str) -> None:
        """Deletes a card of the deck; a StoreError when there is none of that name."""
        self._delete("deck", name, f"card “{name}”")

    def deck(self) -> list[dict[str, Any]]:
        """The deck's cards: name, title, body, sql, saved."""
        return self._entries("deck")

    def save_findings(self, run: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps a run's findings in place of its earlier ones."""
        entry = {"rows": [{**row, "run": run} for row in rows]}
        saved.put_entry(self._saved, "findings", run, entry, words=None)

    def findings(self, run: str) -> list[dict[str, Any]]:
        """The findings kept for a run."""
        return list(saved.read_entries(self._saved, "findings").get(run, {}).get("rows", []))

    def undo(self) -> str | None:
        """Takes back the last save or deletion; says which, None when there is nothing left to take back."""
        return saved.undo_entry(self._saved)

    # ------------------------------------------------------------------ writing

    @contextmanager
    def open_for_writing(self) -> Iterator[Store]:
        """Holds this store's lock for one run.

        Raises:
            StoreError: another run writes to this store, or the folder cannot be made.
        """
        with hold_lock(self.folder):
            self._check_version()
            write_json(self.folder / "store.json", {"version": STORE_VERSION})
            generations.sweep(self.folder)
            self._shelf.open()
            self._writing = True
            try:
                yield self
            finally:
                self._writing = False

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
        self._needs_lock()
        notes = {"judge_note": judge_note, "judge_limits": judge_limits}
        return runs.begin(self.folder, settings, fingerprints, class_names=class_names, **notes)

    def done(self, stage: str, fingerprint: str, *, include_failed: bool = True) -> set[str]:
        """Pictures whose rows of one stage are safely on disk; a damaged shard's pictures are not among them."""
        if stage not in STAGE_TABLES:
            raise StoreError(f"unknown stage {stage}; expected {', '.join(STAGE_TABLES)}")
        table = STAGE_TABLES[stage]
        return self._shelf.done(table, fingerprint, include_failed=include_failed, writing=self._writing)

    def check(self) -> None:
        """Verifies every shard, run record and saved file; what is damaged is set aside and counts as not done.

        Rows of a damaged shard that are published become shards again; damaged() says what was found.
        """
        self._needs_lock()
        found = [*runs.mend_records(self.folder, self._published_runs()), saved.mend_saved(self._saved)]
        self._shelf.damaged += [damage for damage in found if damage]
        self._shelf.check(self._reader_or_none)

    def damaged(self) -> list[Damage]:
        """What turned out damaged since this writer opened the store, or before and no run has lived to say."""
        return list(self._shelf.damaged)

    def set_aside(self) -> list[Damage]:
        """Every damaged file that lies in the store's folder `damaged` now, oldest first."""
        return self._shelf.notes()

    def damage_is_said(self) -> None:
        """Notes that what damaged() gives has been said to the person who runs it."""
        self._needs_lock()
        mark_as_said(self.folder)

    def write(
        self, table: str, rows: Sequence[Row], *, fingerprint: str | None = None, run: str | None = None
    ) -> Path | None:
        """Writes rows as one durable shard; once it returns they survive a kill and a power cut.

        Args:
            table: images, predictions, attributions, judgements, embeddings, faithfulness, judge_card or failures.
            rows: mappings with the table's columns, or records of core.records; None is returned when empty.
            fingerprint: of the stage; required save for failures.
            run: required for failures.

        Raises:
            StoreError: not opened for writing, unknown table or column, or a full disk.
        """
        self._needs_lock()
        constants: dict[str, object] = {"fingerprint": fingerprint}
        if table == "failures":
            constants = {"run": run, "attempt": runs.read_record(self.folder, str(run)).get("attempt")}
        if None in constants.values():
            raise StoreError(f"rows of {table} need a {'known run' if table == 'failures' else 'fingerprint'}")
        arrow = to_arrow(table, rows, constants)
        return self._shelf.write(table, arrow) if rows else None

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
        self._needs_lock()
        runs.finish(self.folder, run, state, counts, judge_note=judge_note, seconds=seconds or {})

    def set_high_score(self, run: str, score: float) -> None:
        """Notes from which score (0..5) on attention counts as high in a run; the next publish() shows it."""
        self._needs_lock()
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
        self._needs_lock()
        report = {"run": run, "stage": stage, "done": done, "total": total, "rate": rate, "seconds_left": seconds_left}
        report |= {"message": message, "limit": limit, "pid": os.getpid(), "updated": time.time()}
        write_json(self.folder / "run-progress.json", report)

    def publish(self) -> Publication:
        """Makes the next generation from the shards and points CURRENT at it; readers move on when they like.

        Raises:
            StoreError: the disk is full or DuckDB could not make the file; the older generation stays current.
        """
        self._needs_lock()
        contents = Contents(
            runs=[runs.as_row(record) for record in self.run_records()],
            slices=self.slices(),
            findings=[row for entry in saved.read_entries(self._saved, "findings").values() for row in entry["rows"]],
            deck=self.deck(),
        )
        return generations.publish(self.folder, contents, shelf=self._shelf)

    # ------------------------------------------------------------------ inside

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

    def _open(self, path: Path) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(str(path.absolute()), read_only=True, config=_READER_CONFIG)
        load_fts(con)
        found = con.execute("SELECT version FROM store_info").fetchone()
        if found is not None and found[0] > STORE_VERSION:
            con.close()
            raise StoreError(_too_new(self.folder, found[0]))
        if found is not None and found[0] < STORE_VERSION:
            con.close()
            raise StoreError(
                f"{path} was published by an older whylook (store version {found[0]}, this reads {STORE_VERSION}); "
                "the same whylook run again makes it anew from what is kept, and computes nothing twice"
            )
        return con

    def _current(self) -> str | None:
        return generations.current_name(self.folder)

    def _check_version(self) -> None:
        path = self.folder / "store.json"
        if not path.is_file():
            return
        try:
            version = read_json(path).get("version")
        except DamagedFileError:  # the generation names its version, too, and the next writer writes this file anew
            return
        if not isinstance(version, int):
            raise StoreError(f"{path} names no version; is {self.folder} a whylook store?")
        if version > STORE_VERSION:
            raise StoreError(_too_new(self.folder, version))

    def _needs_lock(self) -> None:
        if not self._writing:
            raise StoreError("rows are written inside `with store.open_for_writing()`")

    def _entries(self, kind: str) -> list[dict[str, Any]]:
        entries = saved.read_entries(self._saved, kind).values()
        try:
            return [{**entry, "saved": runs.as_time(entry["saved"])} for entry in entries]
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self._saved} is damaged: {error}; move it away to go on without it") from error

    def _delete(self, kind: str, name: str, words: str) -> None:
        if name not in saved.read_entries(self._saved, kind):
            raise StoreError(f"there is no {words}")
        saved.put_entry(self._saved, kind, name, None, words=f"deleting {words}")


def _cannot_open(path: Path, error: duckdb.Error) -> str:
    reason = str(error).splitlines()[0]
    return (
        damaged_words(path) if means_damaged(reason) else f"cannot open {path}: {reason}; the next run makes it again"
    )


def _too_new(folder: Path, version: int) -> str:
    return (
        f"{folder} was written by a newer whylook (store version {version}, this knows {STORE_VERSION}); "
        "upgrade whylook or choose another --store"
    )
