"""What people keep: slices, findings, decisions on labels, the deck, names of runs; each change can be undone."""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.store.damage import FOLDER, Damage, note, set_aside
from core.store.json_files import is_gone, read_json, twin_of, write_json
from core.store.runs import now

Entries = dict[str, dict[str, Any]]
READ_ONLY = "this app is read-only: look, filter, search and download; nothing is kept here"
_frozen: set[Path] = set()
_UNDO_STEPS = 50


def freeze(path: Path) -> None:
    """From now on this process changes nothing in a file of saved things."""
    _frozen.add(path.resolve())


def read_entries(path: Path, kind: str) -> Entries:
    """Entries of one kind by key, in the order in which they were saved.

    Raises:
        StoreError: the file is not the JSON that this module writes.
    """
    kinds: dict[str, Entries] = _read(path)["kinds"]
    return kinds.get(kind, {})


def put_entry(path: Path, kind: str, key: str, entry: Mapping[str, Any] | None, *, words: str | None) -> None:
    """Saves `entry` under `key`, or deletes it when it is None; `words` say what undo takes back, None: nothing."""
    put_entries(path, kind, {key: entry}, words=words)


def put_entries(path: Path, kind: str, entries: Mapping[str, Mapping[str, Any] | None], *, words: str | None) -> None:
    """Saves or deletes several entries, which one undo takes back together."""
    step = {"step": uuid.uuid4().hex} if len(entries) > 1 else {}
    with _change(path) as state:
        kept: Entries = state["kinds"].setdefault(kind, {})
        changes = []
        for key, entry in entries.items():
            changes.append({"kind": kind, "key": key, "entry": kept.get(key), "words": words, **step})
            if entry is None:
                kept.pop(key, None)
            else:
                kept[key] = dict(entry)
        if words is not None:
            state["undo"] = _last_steps([*state["undo"], *changes])


def _last_steps(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The changes of the last steps; those of one step stay together."""
    steps: dict[str, None] = {}
    for place in range(len(changes) - 1, -1, -1):
        steps[changes[place].get("step", str(place))] = None
        if len(steps) > _UNDO_STEPS:
            return changes[place + 1 :]
    return changes


def undo_entry(path: Path, *kinds: str, key: str | None = None) -> str | None:
    """Takes back the last change (of these kinds, of a key) not yet taken back; returns its words, None without one.

    What was changed in one step is taken back together, unless one key is asked for.
    """
    with _change(path) as state:
        changes = state["undo"]
        able = [
            place
            for place, change in enumerate(changes)
            if (not kinds or change["kind"] in kinds) and key in (None, change["key"])
        ]
        if not able:
            return None
        last = changes[able[-1]]
        step = last.get("step") if key is None else None
        back = [change for change in changes if change is last or (step and change.get("step") == step)]
        state["undo"] = [change for change in changes if not any(change is other for other in back)]
        for change in back:
            entries: Entries = state["kinds"].setdefault(change["kind"], {})
            if change["entry"] is None:
                entries.pop(change["key"], None)
            else:
                entries[change["key"]] = change["entry"]
        return str(last["words"])


def mend_saved(path: Path) -> Damage | None:
    """Sets a damaged file aside; its copy takes its place where that is intact, an empty one where it is not."""
    if not path.is_file() and not is_gone(path):
        return None
    with _lock(path):
        reason = "it is gone" if is_gone(path) else _wrong(path)
        if reason is None:
            return None
        copied = _wrong(twin_of(path)) is None
        state = read_json(twin_of(path)) if copied else _empty()
        remedy = "the copy made with the last change takes its place"
        if not copied:
            remedy = "nothing is kept at the moment: put a copy of yours in its place"
        if path.is_file():
            damage = Damage(path.name, reason, now(), f"set aside in {FOLDER}/; {remedy}")
            note(path.parent, damage, place=set_aside(path.parent, path, copy=path.read_bytes()))
        else:
            damage = Damage(path.name, reason, now(), remedy)
        write_json(path, state, twin=True)
    return damage


def _wrong(path: Path) -> str | None:
    """What is wrong with a file of saved things; None when nothing is."""
    try:
        whole = {"kinds", "undo"} <= set(read_json(path))
    except StoreError as error:
        return str(error).removeprefix(f"{path} is damaged: ")
    return None if whole else "it does not hold saved slices"


def _empty() -> dict[str, Any]:
    return {"kinds": {}, "undo": []}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file() and not is_gone(path):
        return _empty()
    for place in (path, twin_of(path)):
        if _wrong(place) is None:
            return read_json(place)
    raise StoreError(f"cannot read what was saved in {path}: {_wrong(path)}; move it away to go on without it")


@contextmanager
def _change(path: Path) -> Iterator[dict[str, Any]]:
    """The saved state under a short lock, so that two browser tabs cannot lose each other's slice."""
    if path.resolve() in _frozen:
        raise StoreError(READ_ONLY)
    _read(path)  # where neither it nor its copy can be read, the person decides
    mend_saved(path)
    with _lock(path):
        state = _read(path)
        yield state
        write_json(path, state, twin=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StoreError(f"cannot save in {path.parent}: {error.strerror or error}") from error
