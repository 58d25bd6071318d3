"""What people keep: slices, findings and the deck, each change of which can be undone.

Knows: one small JSON file with the current entries and the states before. Does not know: DuckDB, what an entry means.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.store.shards import write_atomically

Entries = dict[str, dict[str, Any]]
_UNDO_STEPS = 50


def read_entries(path: Path, kind: str) -> Entries:
    """Entries of one kind by key, in the order in which they were saved.

    Raises:
        StoreError: the file is not the JSON that this module writes.
    """
    kinds: dict[str, Entries] = _read(path)["kinds"]
    return kinds.get(kind, {})


def put_entry(path: Path, kind: str, key: str, entry: Mapping[str, Any] | None, *, words: str | None) -> None:
    """Saves `entry` under `key`, or deletes it when it is None; `words` say what undo takes back, None: nothing."""
    with _change(path) as state:
        entries: Entries = state["kinds"].setdefault(kind, {})
        before = {"kind": kind, "key": key, "entry": entries.get(key), "words": words}
        if entry is None:
            entries.pop(key, None)
        else:
            entries[key] = dict(entry)
        if words is not None:
            state["undo"] = [*state["undo"], before][-_UNDO_STEPS:]


def undo_entry(path: Path) -> str | None:
    """Takes back the last change that is not yet taken back; returns its words, None when there is nothing."""
    with _change(path) as state:
        if not state["undo"]:
            return None
        before = state["undo"].pop()
        entries: Entries = state["kinds"].setdefault(before["kind"], {})
        if before["entry"] is None:
            entries.pop(before["key"], None)
        else:
            entries[before["key"]] = before["entry"]
        return str(before["words"])


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"kinds": {}, "undo": []}
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read what was saved in {path}: {error}") from error
    if not isinstance(state, dict) or not {"kinds", "undo"} <= set(state):
        raise StoreError(f"{path} does not hold saved slices; move it away to go on without them")
    return state


@contextmanager
def _change(path: Path) -> Iterator[dict[str, Any]]:
    """The saved state under a short lock, so that two browser tabs cannot lose each other's slice."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            state = _read(path)
            yield state
            write_atomically(path, json.dumps(state, ensure_ascii=False, indent=1).encode("utf-8", "replace"))
    except OSError as error:
        raise StoreError(f"cannot save in {path.parent}: {error.strerror or error}") from error
