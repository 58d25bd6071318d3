"""Run records: one small JSON file per run with a copy beside it, replaced atomically.

Knows: a run's name, settings, fingerprints, state, attempts. Does not know: rows, DuckDB, locks.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.records import HIGH_SCORE
from core.store.damage import FOLDER, Damage, note, set_aside
from core.store.json_files import DamagedFileError, is_damaged, is_kept, read_with_twin, twin_of, write_json
from core.store.shards import STAGE_TABLES

_SHORTEST_NAME = 6
_PLAIN = ("run", "state", "class_names", "judge_note", "judge_limits", "high_score", "version", "attempt")
"""What a record and its row in table `runs` hold alike."""
_TIMES = ("started", "finished")
_OBJECTS = ("settings", "counts", "seconds")


def begin(
    folder: Path,
    settings: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    *,
    class_names: Sequence[str],
    judge_note: str | None,
    judge_limits: str | None,
) -> str:
    """Starts or resumes the run of these settings and fingerprints; returns its name, such as `r-3f9a21`."""
    if unknown := set(fingerprints) - set(STAGE_TABLES):
        raise StoreError(f"unknown stage {', '.join(sorted(unknown))}; expected {', '.join(STAGE_TABLES)}")
    settings = json.loads(json.dumps(dict(settings), default=str))
    digest = _digest(settings, fingerprints)
    names = (f"r-{digest[:length]}" for length in range(_SHORTEST_NAME, len(digest) + 1))
    run = next(name for name in names if read_record(folder, name).get("digest", digest) == digest)
    before = read_record(folder, run)
    record = {
        "run": run,
        "digest": digest,
        "started": before.get("started", now()),
        "finished": None,
        "state": "running",
        "settings": settings,
        "fingerprints": dict(fingerprints),
        "class_names": list(class_names),
        "counts": before.get("counts", {}),
        "judge_note": judge_note,
        "judge_limits": judge_limits,
        "high_score": before.get("high_score", HIGH_SCORE),
        "version": _package_version(),
        "attempt": before.get("attempt", 0) + 1,
    }
    _write_record(folder, record)
    return run


def finish(
    folder: Path,
    run: str,
    state: str,
    counts: Mapping[str, int],
    *,
    judge_note: str | None,
    seconds: Mapping[str, float],
) -> None:
    """Notes how a run ended and adds what took how long this time; a StoreError when there is no such run."""
    record = read_record(folder, run)
    if not record:
        raise StoreError(f"there is no run {run} in {folder}")
    note = judge_note or record["judge_note"]
    spent = Counter(record.get("seconds", {}))
    spent.update(seconds)
    end = {"state": state, "finished": now(), "counts": dict(counts), "judge_note": note, "seconds": dict(spent)}
    _write_record(folder, {**record, **end})


def set_high_score(folder: Path, run: str, score: float) -> None:
    """Notes from which score on attention counts as high in a run; a StoreError when there is no such run."""
    record = read_record(folder, run)
    if not record:
        raise StoreError(f"there is no run {run} in {folder}")
    _write_record(folder, {**record, "high_score": score})


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The record of every run that can be read, newest first, with times as datetimes (UTC)."""
    records = [record for path in _paths(folder) if (record := _readable(path))]
    for record in records:
        record["started"], record["finished"] = as_time(record["started"]), as_time(record["finished"])
    return sorted(records, key=lambda record: (record["started"], record["run"]), reverse=True)


def damaged_records(folder: Path) -> list[str]:
    """One sentence per run whose record cannot be read, with what to do."""
    damaged = [path.stem for path in _paths(folder) if _readable(path) is None]
    return [f"the record of run {run} is damaged: run the same command again to make it anew" for run in damaged]


def read_record(folder: Path, run: str) -> dict[str, Any]:
    """One run's record, empty when there is none."""
    path = folder / "runs" / f"{run}.json"
    return (_readable(path) or {}) if is_kept(path) else {}


def mend_records(folder: Path, published: Callable[[str], Mapping[str, Any] | None]) -> list[Damage]:
    """Sets damaged records aside; in the place of each comes its copy, or what was published of it.

    Args:
        folder: the store's.
        published: gives a run's row of table `runs`, None when there is none.
    """
    found = []
    for path in _paths(folder):
        reason, record = is_damaged(path), _readable(path)
        if reason or record is None:
            copied = "its copy takes its place"
            if record is None and (row := published(path.stem)):
                record, copied = _of_row(row), "made again from the published store"
            if record is None:
                copied = "run the same command again to make it anew"
            file = str(path.relative_to(folder))
            lost = path if path.is_file() else twin_of(path)
            if lost != path and record:  # there is nothing to set aside
                damage = Damage(file, reason or "it is lost", now(), copied)
            else:
                damage = Damage(file, reason or "no record of a run", now(), f"set aside in {FOLDER}/; {copied}")
                note(folder, damage, place=set_aside(folder, lost))
            found.append(damage)
        if record and (reason or not twin_of(path).is_file() or is_damaged(twin_of(path))):
            write_json(path, record, twin=True)
    return found


def _readable(path: Path) -> dict[str, Any] | None:
    """A record, None where neither it nor its copy holds one."""
    try:
        record = read_with_twin(path)
        as_time(record["started"]), as_time(record["finished"])
        objects = [record[name] for name in ("settings", "fingerprints", "counts")]
    except (DamagedFileError, KeyError, TypeError, ValueError):
        return None
    except StoreError:
        if is_kept(path):
            raise
        return None  # it was removed meanwhile
    whole = record.get("run") == path.stem and all(isinstance(value, dict) for value in objects)
    return record if whole else None


def as_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a row of table `runs`."""
    row = {name: record.get(name) for name in (*_PLAIN, *_TIMES)}
    for stage in STAGE_TABLES:
        row[f"{stage}_fingerprint"] = record["fingerprints"].get(stage)
    return row | {name: json.dumps(record.get(name, {}), ensure_ascii=False) for name in _OBJECTS}


def now() -> str:
    """The time in UTC, as kept in records."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def as_time(text: str | None) -> datetime | None:
    """A kept time as datetime."""
    return datetime.fromisoformat(text) if text else None


def _paths(folder: Path) -> list[Path]:
    """Where the record of every run stands, or stood if its copy alone is left."""
    files = {path.with_name(path.name.removesuffix(".bak")) for path in (folder / "runs").glob("*.json*")}
    return sorted(path for path in files if path.suffix == ".json" and not path.name.startswith("."))


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_json(folder / "runs" / f"{record['run']}.json", record, twin=True)


def _digest(settings: Mapping[str, Any], fingerprints: Mapping[str, str]) -> str:
    canonical = json.dumps([dict(settings), dict(fingerprints)], sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8", "replace")).hexdigest()


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The record that as_row() made a row of table `runs` of."""
    times = {name: row[name] and row[name].isoformat(timespec="milliseconds") for name in _TIMES}
    objects = {name: json.loads(row[name] or "{}") for name in _OBJECTS}
    prints = {stage: row[f"{stage}_fingerprint"] for stage in STAGE_TABLES if row[f"{stage}_fingerprint"] is not None}
    record = {**{name: row.get(name) for name in _PLAIN}, **times, **objects, "fingerprints": prints}
    return {**record, "digest": _digest(objects["settings"], prints)}


def _package_version() -> str:
    try:
        return importlib.metadata.version("whylook")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
