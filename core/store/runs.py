"""Run records: one small JSON file per run with a copy beside it, replaced atomically."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.records import HIGH_SCORE, MACHINE
from core.store.damage import FOLDER, Damage, note, set_aside
from core.store.json_files import DamagedFileError, is_damaged, is_gone, read_with_twin, twin_of, write_json
from core.store.shards import STAGE_TABLES
from core.version import package_version

_SHORTEST_NAME = 6


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
    attempt = before.get("attempt", 0) + 1
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
        "version": package_version(),
        "attempt": attempt,
        "listing_attempt": attempt,
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


def listing_attempt(record: Mapping[str, Any]) -> int:
    """The attempt under which the failures of files without an image_id stand; older records do not name it."""
    return int(record.get("listing_attempt") or record["attempt"])


def set_listing_attempt(folder: Path, run: str, attempt: int) -> None:
    """Notes that what an earlier attempt found in the listing stands in this one, too."""
    _write_record(folder, {**read_record(folder, run), "listing_attempt": attempt})


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
    return (_readable(path) or {}) if path.is_file() or is_gone(path) else {}


def _paths(folder: Path) -> list[Path]:
    """The record of every run, also where only its copy is left."""
    copies = (path.with_suffix("") for path in (folder / "runs").glob("*.json.bak"))
    return sorted({*(folder / "runs").glob("*.json"), *copies})


def mend_records(folder: Path, published: Mapping[str, Mapping[str, Any]]) -> list[Damage]:
    """Mends damaged and lost records: in the place of each comes its copy, or what was published of it.

    A damaged one is copied aside before the good one takes its place, so that a kill in between loses neither.

    Args:
        folder: the store's.
        published: the rows of table `runs` by name.
    """
    found = []
    for path in sorted({*_paths(folder), *(folder / "runs" / f"{run}.json" for run in published)}):
        there = path.is_file()
        reason, record = (is_damaged(path), _readable(path)) if there or is_gone(path) else ("it is gone", None)
        if reason or record is None:
            copied = "its copy takes its place"
            if record is None and (row := published.get(path.stem)):
                record, copied = _of_row(row), "made again from the published store"
            if record is None:
                copied = "run the same command again to make it anew"
            aside = f"set aside in {FOLDER}/; " if there else ""
            damage = Damage(str(path.relative_to(folder)), reason or "no record of a run", now(), aside + copied)
            if there:
                note(folder, damage, place=set_aside(folder, path, copy=path.read_bytes() if record else None))
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
        if path.is_file():
            raise
        return None  # it was removed meanwhile
    whole = record.get("run") == path.stem and all(isinstance(value, dict) for value in objects)
    return record if whole else None


def as_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a row of table `runs`."""
    row = dict(record)
    for stage in STAGE_TABLES:
        row[f"{stage}_fingerprint"] = record["fingerprints"].get(stage)
    row["settings"] = json.dumps(record["settings"], ensure_ascii=False)
    row["counts"] = json.dumps(record["counts"])
    row["seconds"] = json.dumps(record.get("seconds", {}))
    return row


def now() -> str:
    """The time in UTC, as kept in records."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def as_time(text: str | None) -> datetime | None:
    """A kept time as datetime."""
    return datetime.fromisoformat(text) if text else None


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_json(folder / "runs" / f"{record['run']}.json", record, twin=True)


def _digest(settings: Mapping[str, Any], fingerprints: Mapping[str, str]) -> str:
    named = {key: value for key, value in settings.items() if key != MACHINE}
    # the causal check came to the stages later, and follows from the maps and the settings
    prints = {stage: mark for stage, mark in fingerprints.items() if stage != "causal"}
    canonical = json.dumps([named, prints], sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8", "replace")).hexdigest()


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The record that as_row() made a row of table `runs` of."""
    kept = ("run", "state", "class_names", "judge_note", "judge_limits", "high_score", "version")
    attempts = ("attempt", "listing_attempt")
    times = {name: row[name] and row[name].isoformat(timespec="milliseconds") for name in ("started", "finished")}
    objects = {name: json.loads(row[name] or "{}") for name in ("settings", "counts", "seconds")}
    prints = {stage: mark for stage in STAGE_TABLES if (mark := row.get(f"{stage}_fingerprint")) is not None}
    record = {**{name: row.get(name) for name in (*kept, *attempts)}, **times, **objects, "fingerprints": prints}
    return {**record, "digest": _digest(objects["settings"], prints)}
