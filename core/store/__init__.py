"""The store: a folder with shards (the truth), run records, saved slices and published DuckDB generations.

Knows: files, locks, durability, which generation is newest. Does not know: models, pages, what a row means.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import StoreError
from core.store import saved
from core.store.publish import STORE_VERSION, Contents, build, damaged_shards, load_fts
from core.store.shards import STAGE_TABLES, Row, fsync_folder, shard_paths, to_arrow, write_atomically, write_shard

__all__ = ["STORE_VERSION", "Publication", "Store"]
READER_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
_GENERATIONS_KEPT = 2
_LOCK_TRIES, _LOCK_PAUSE = 5, 0.1


@dataclass(frozen=True)
class Publication:
    """One published generation: rows per table, and the shards that could not be read (`table/name: reason`)."""

    generation: int
    rows: dict[str, int]
    damaged: tuple[str, ...]


class Store:
    """A store in a folder. Reading and saving slices need no lock; rows are written inside `open_for_writing()`."""

    def __init__(self, folder: Path) -> None:
        """Looks at the folder; creates nothing.

        Raises:
            StoreError: the folder holds a store of a newer version, or is a file.
        """
        self.folder = folder
        self._saved = folder / "saved.json"
        self._lock: int | None = None
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
        current = self._current()
        return int(current.removeprefix("store-").removesuffix(".duckdb")) if current else 0

    def reader(self) -> duckdb.DuckDBPyConnection:
        """A read-only cursor on the newest generation; cheap, and valid after newer generations appear.

        Raises:
            StoreError: nothing has been published, or the file cannot be opened.
        """
        for last_try in (False, False, True):
            name = self._current()
            if name is None:
                raise StoreError(f"there is nothing to read in {self.folder}; start with `whylook demo` or `whylook run`")
            with self._guard:
                try:
                    if self._opened is None or self._opened[0] != name:
                        self._opened = (name, self._open(self.folder / name))
                    return self._opened[1].cursor()
                except duckdb.Error as error:  # the publisher may have removed it since CURRENT was read
                    if last_try or self._current() == name:
                        raise StoreError(f"cannot open {self.folder / name}: {str(error).splitlines()[0]}") from error
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
        records = []
        for path in (self.folder / "runs").glob("*.json"):
            record = _read_json(path)
            record["started"] = _time(record["started"])
            record["finished"] = _time(record["finished"])
            records.append(record)
        return sorted(records, key=lambda record: (record["started"], record["run"]), reverse=True)

    def progress(self) -> dict[str, Any] | None:
        """What the last writer reported, with `alive`: whether it still writes. None when there was none."""
        path = self.folder / "run-progress.json"
        if not path.is_file():
            return None
        return {**_read_json(path), "alive": self.writer_alive()}

    def writer_alive(self) -> bool:
        """Whether a run holds this store's lock now."""
        if self._lock is not None:
            return True
        try:
            handle = os.open(self.folder / "write.lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    # ------------------------------------------------------------------ what people keep

    def save_slice(self, name: str, sql: str, *, note: str = "") -> None:
        """Saves a slice under `name`, in place of an older one of that name.

        Raises:
            StoreError: the name is empty, or nothing can be written.
        """
        if not name.strip():
            raise StoreError("a saved slice needs a name")
        entry = {"name": name, "sql": sql, "note": note, "saved": _now()}
        saved.put_entry(self._saved, "slices", name, entry, words=f"saving slice “{name}”")

    def delete_slice(self, name: str) -> None:
        """Deletes a saved slice; a StoreError when there is none of that name."""
        self._delete("slices", name, f"slice “{name}”")

    def slices(self) -> list[dict[str, Any]]:
        """Saved slices: name, sql, note, saved."""
        return self._entries("slices")

    def save_card(self, name: str, *, title: str, body: str, sql: str = "") -> None:
        """Adds a card to the deck, in place of an older one of that name."""
        entry = {"name": name, "title": title, "body": body, "sql": sql, "saved": _now()}
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
        saved.put_entry(self._saved, "findings", run, entry, words=f"summarising {run}")

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
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / "write.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"cannot write to {self.folder}: {error.strerror}") from error
        try:
            self._take(handle)
            self._check_version()
            write_atomically(self.folder / "store.json", json.dumps({"version": STORE_VERSION}).encode())
            self._sweep()
            self._lock = handle
            yield self
        finally:
            self._lock = None
            os.close(handle)

    def begin_run(
        self,
        settings: Mapping[str, Any],
        fingerprints: Mapping[str, str],
        *,
        class_names: Sequence[str] = (),
        judge_note: str | None = None,
    ) -> str:
        """Starts or resumes a run: the same settings and fingerprints give the same run.

        Args:
            settings: what the person asked for, JSON values.
            fingerprints: one per stage that runs, of images, classifier, attribution, judge, embedding.
            class_names: the classifier's classes in the order of its logits.
            judge_note: a sentence when the judge knows only some pictures.

        Returns:
            The run's name, such as `r-3f9a21`.
        """
        self._needs_lock()
        if unknown := set(fingerprints) - set(STAGE_TABLES):
            raise StoreError(f"unknown stage {', '.join(sorted(unknown))}; expected {', '.join(STAGE_TABLES)}")
        settings = json.loads(json.dumps(dict(settings), default=str))
        canonical = json.dumps([settings, dict(fingerprints)], sort_keys=True).encode("utf-8", "replace")
        digest = hashlib.sha256(canonical).hexdigest()
        length = next(n for n in range(6, 65) if self._record(f"r-{digest[:n]}").get("digest", digest) == digest)
        run = f"r-{digest[:length]}"
        before = self._record(run)
        record = {
            "run": run,
            "digest": digest,
            "started": before.get("started", _now()),
            "finished": None,
            "state": "running",
            "settings": settings,
            "fingerprints": dict(fingerprints),
            "class_names": list(class_names),
            "counts": before.get("counts", {}),
            "judge_note": judge_note,
            "version": _package_version(),
            "attempt": before.get("attempt", 0) + 1,
        }
        self._write_record(record)
        return run

    def done(self, stage: str, fingerprint: str, *, include_failed: bool = True) -> set[str]:
        """Pictures whose rows of one stage are safely on disk; a damaged shard's pictures are not among them."""
        if stage not in STAGE_TABLES:
            raise StoreError(f"unknown stage {stage}; expected {', '.join(STAGE_TABLES)}")
        names = ["image_id", "state"] if stage in ("attribution", "judge") else ["image_id"]
        found: set[str] = set()
        for path in shard_paths(self.folder / "shards" / STAGE_TABLES[stage]):
            try:
                rows = pq.read_table(path, columns=names, filters=pc.field("fingerprint") == fingerprint)
            except (pa.ArrowInvalid, OSError):
                continue
            if not include_failed and "state" in names:
                failed = rows.filter(pc.field("state") == "failed")
                found.difference_update(failed["image_id"].to_pylist())
                rows = rows.filter(pc.field("state") != "failed")
            found.update(rows["image_id"].to_pylist())
        return found

    def write(
        self, table: str, rows: Sequence[Row], *, fingerprint: str | None = None, run: str | None = None
    ) -> Path | None:
        """Writes rows as one durable shard; once it returns they survive a kill and a power cut.

        Args:
            table: images, predictions, attributions, judgements, embeddings or failures.
            rows: mappings with the table's columns, or records of core.records; None is returned when empty.
            fingerprint: of the stage; required save for failures.
            run: required for failures.

        Raises:
            StoreError: not opened for writing, unknown table or column, or a full disk.
        """
        self._needs_lock()
        constants: dict[str, object] = {"fingerprint": fingerprint}
        if table == "failures":
            constants = {"run": run, "attempt": self._record(str(run)).get("attempt")}
        if None in constants.values():
            raise StoreError(f"rows of {table} need a {'known run' if table == 'failures' else 'fingerprint'}")
        arrow = to_arrow(table, rows, constants)
        return write_shard(self.folder / "shards" / table, arrow) if rows else None

    def finish_run(
        self,
        run: str,
        state: Literal["done", "interrupted", "failed"],
        counts: Mapping[str, int],
        *,
        judge_note: str | None = None,
    ) -> None:
        """Notes how a run ended; the next publish() shows it."""
        self._needs_lock()
        record = self._record(run)
        if not record:
            raise StoreError(f"there is no run {run} in {self.folder}")
        note = judge_note or record["judge_note"]
        self._write_record({**record, "state": state, "finished": _now(), "counts": dict(counts), "judge_note": note})

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
    ) -> None:
        """Says how far a run is, for whoever watches (`rate` in pictures per second)."""
        self._needs_lock()
        report = {"run": run, "stage": stage, "done": done, "total": total, "rate": rate, "seconds_left": seconds_left}
        report |= {"message": message, "pid": os.getpid(), "updated": time.time()}
        write_atomically(self.folder / "run-progress.json", json.dumps(report).encode("utf-8", "replace"))

    def publish(self) -> Publication:
        """Makes the next generation from the shards and points CURRENT at it; readers move on when they like.

        Raises:
            StoreError: the disk is full or DuckDB could not make the file; the older generation stays current.
        """
        self._needs_lock()
        generation = 1 + max([self.generation(), *(_number(path) for path in self.folder.glob("store-*.duckdb"))])
        target = self.folder / f"store-{generation:06d}.duckdb"
        temporary = self.folder / f".building-{os.getpid()}.duckdb"
        try:
            rows = self._build(temporary, generation)
            damaged = damaged_shards(temporary)
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.rename(target)
            fsync_folder(self.folder)
        except (duckdb.Error, OSError) as error:
            _remove(temporary)
            reason = str(error).splitlines()[0]
            raise StoreError(f"cannot publish to {self.folder}: {reason}; nothing that was stored is lost") from error
        write_atomically(self.folder / "CURRENT", target.name.encode())
        for path in sorted(self.folder.glob("store-*.duckdb"), key=_number)[:-_GENERATIONS_KEPT]:
            path.unlink(missing_ok=True)
        return Publication(generation, rows, damaged)

    # ------------------------------------------------------------------ inside

    def _build(self, temporary: Path, generation: int) -> dict[str, int]:
        """Builds from the newest generation, or from nothing when that one turns out unusable."""
        _remove(temporary)
        contents = Contents(
            runs=[_run_row(record) for record in self.run_records()],
            slices=self.slices(),
            findings=[row for entry in saved.read_entries(self._saved, "findings").values() for row in entry["rows"]],
            deck=self.deck(),
        )
        shards = self.folder / "shards"
        name = self._current()
        base = self.folder / name if name else None
        try:
            return build(temporary, base=base, shards=shards, contents=contents, generation=generation)
        except (duckdb.Error, OSError):
            if base is None:
                raise
            _remove(temporary)
            return build(temporary, base=None, shards=shards, contents=contents, generation=generation)

    def _open(self, path: Path) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(str(path), read_only=True, config=READER_CONFIG)
        load_fts(con)
        return con

    def _current(self) -> str | None:
        try:
            name = (self.folder / "CURRENT").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.folder}: {error.strerror}") from error
        if not (name.startswith("store-") and name.endswith(".duckdb") and name[6:-7].isdigit()):
            raise StoreError(f"{self.folder / 'CURRENT'} does not name a generation; delete it and run again")
        return name

    def _check_version(self) -> None:
        path = self.folder / "store.json"
        version = _read_json(path).get("version") if path.is_file() else STORE_VERSION
        if not isinstance(version, int):
            raise StoreError(f"{path} names no version; is {self.folder} a whylook store?")
        if version > STORE_VERSION:
            raise StoreError(
                f"{self.folder} was written by a newer whylook (store version {version}, this one knows {STORE_VERSION}); "
                "upgrade whylook or choose another --store"
            )

    def _take(self, handle: int) -> None:
        for _ in range(_LOCK_TRIES):  # writer_alive() elsewhere may hold it for a moment
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
        pid = os.pread(handle, 20, 0).decode(errors="replace")
        raise StoreError(f"another run (process {pid}) writes to {self.folder}; wait for it or choose another --store")

    def _sweep(self) -> None:
        """Removes what a killed writer left half done."""
        for pattern in (".building-*", ".*.tmp", "runs/.*.tmp", "shards/*/.*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def _needs_lock(self) -> None:
        if self._lock is None:
            raise StoreError("rows are written inside `with store.open_for_writing()`")

    def _record(self, run: str) -> dict[str, Any]:
        path = self.folder / "runs" / f"{run}.json"
        return _read_json(path) if path.is_file() else {}

    def _write_record(self, record: Mapping[str, Any]) -> None:
        data = json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8", "replace")
        write_atomically(self.folder / "runs" / f"{record['run']}.json", data)

    def _entries(self, kind: str) -> list[dict[str, Any]]:
        entries = saved.read_entries(self._saved, kind).values()
        return [{**entry, "saved": _time(entry["saved"])} for entry in entries]

    def _delete(self, kind: str, name: str, words: str) -> None:
        if name not in saved.read_entries(self._saved, kind):
            raise StoreError(f"there is no {words}")
        saved.put_entry(self._saved, kind, name, None, words=f"deleting {words}")


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("store-")
    return int(digits) if digits.isdigit() else 0


def _remove(path: Path) -> None:
    for left in (path, path.with_name(path.name + ".wal")):
        left.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} is not what whylook writes there")
    return value


def _package_version() -> str:
    try:
        return importlib.metadata.version("whylook")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _run_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A run record as a row of table `runs`."""
    row = dict(record)
    for stage in STAGE_TABLES:
        row[f"{stage}_fingerprint"] = record["fingerprints"].get(stage)
    row["settings"] = json.dumps(record["settings"], ensure_ascii=False)
    row["counts"] = json.dumps(record["counts"])
    return row
