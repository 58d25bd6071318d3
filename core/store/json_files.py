"""The store's small JSON files: each carries a checksum of itself, and what cannot be made again has a twin.

Older files, without a checksum, are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.store.shards import write_atomically

_CHECKSUM = "checksum"


class DamagedFileError(StoreError):
    """A file of the store does not hold what was written there."""


def write_json(path: Path, value: Mapping[str, Any], *, twin: bool = False) -> None:
    """Replaces a JSON file atomically; with `twin`, then also its copy `NAME.bak`, which is read when it is damaged.

    Raises:
        StoreError: nothing could be written; the old file is as it was.
    """
    clean = json.loads(json.dumps(dict(value), ensure_ascii=False).encode("utf-8", "replace"))
    data = json.dumps({**clean, _CHECKSUM: _checksum(clean)}, ensure_ascii=False, indent=1).encode()
    write_atomically(path, data)
    if twin:
        write_atomically(twin_of(path), data)


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DamagedFileError: it is not what was written there.
        StoreError: it cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} is damaged: it is not what whylook writes there")
    checksum = value.pop(_CHECKSUM, None)
    if checksum is not None and checksum != _checksum(value):
        raise DamagedFileError(f"{path} is damaged: it does not fit its checksum")
    return value


def read_with_twin(path: Path) -> dict[str, Any]:
    """What a file that has a twin holds: its own words, or those of the twin where it is damaged or gone.

    Raises:
        DamagedFileError: both are damaged.
        StoreError: it cannot be read.
    """
    try:
        return read_json(path)
    except StoreError as error:
        if not twin_of(path).is_file() or not (isinstance(error, DamagedFileError) or is_gone(path)):
            raise
        return read_json(twin_of(path))


def is_gone(path: Path) -> bool:
    """Whether a file that has a twin is missing, though its twin is there."""
    return not path.exists() and twin_of(path).is_file()


def is_damaged(path: Path) -> str | None:
    """What is wrong with a JSON file; None when nothing is."""
    if is_gone(path):
        return "it is gone"
    try:
        read_json(path)
    except DamagedFileError as error:
        return str(error).removeprefix(f"{path} is damaged: ")
    return None


def twin_of(path: Path) -> Path:
    """Where the copy of a file stands."""
    return path.with_name(f"{path.name}.bak")


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
