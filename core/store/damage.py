"""Damaged files of a store: moved to its folder `damaged`, never deleted, with a note of what was found."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from core.errors import StoreError
from core.store.json_files import DamagedFileError, read_json, write_json
from core.store.shards import fsync_folder

FOLDER = "damaged"


@dataclass(frozen=True)
class Damage:
    """One damaged file: its place in the store, what is wrong, and what became of what it held."""

    file: str
    reason: str
    found: str
    """When, in UTC."""
    remedy: str
    rows: int | None = None
    """How many it held, as far as that is known."""
    said: bool = False
    """Whether a run has lived to say it."""

    @property
    def sentence(self) -> str:
        """File, what is wrong and what became of what it held, in one line."""
        held = f"{self.rows:,} row{'' if self.rows == 1 else 's'}; " if self.rows is not None else ""
        return f"{self.file}: {held}{self.reason}; {self.remedy}"


def set_aside(folder: Path, path: Path, *, copy: bytes | None = None) -> str:
    """Moves a damaged file of the store `folder` into its folder `damaged`; with `copy`, writes those bytes there.

    Returns:
        Where it lies now, from `folder` on.

    Raises:
        StoreError: it cannot be moved.
    """
    place = folder / FOLDER / path.relative_to(folder)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        number = 2
        while place.exists():
            place, number = place.with_name(f"{path.name}.{number}"), number + 1
        if copy is None:
            path.replace(place)
            fsync_folder(path.parent)
        else:
            place.write_bytes(copy)
        fsync_folder(place.parent)
    except OSError as error:
        raise StoreError(
            f"{path} is damaged and cannot be moved to {place.parent}: {error.strerror or error}; move it away by hand"
        ) from error
    return str(place.relative_to(folder))


def note(folder: Path, damage: Damage, *, place: str) -> None:
    """Keeps what was found beside the file that was set aside at `place`."""
    write_json(folder / f"{place}.note", asdict(damage))


def notes(folder: Path) -> list[Damage]:
    """What was found in a store so far, oldest first; files without a readable note are named all the same."""
    found = []
    names = {item.name for item in fields(Damage)} - {"said"}
    for place, _, files in os.walk(folder / FOLDER):
        for name in files:
            path = Path(place) / name
            if path.suffix in (".note", ".tmp"):
                continue
            try:
                known = read_json(path.with_name(f"{name}.note"))
            except (DamagedFileError, StoreError):
                known = {}
            if not names <= known.keys():
                file = str(path.relative_to(folder / FOLDER))
                known = asdict(Damage(file, "damaged", "", "run the same command again to make it anew"))
            found.append(Damage(**{name: known[name] for name in names}, said=known.get("said", True)))
    return sorted(found, key=lambda damage: (damage.found, damage.file))


def mark_as_said(folder: Path) -> None:
    """Notes of everything that was set aside that a run has said it."""
    for path in (folder / FOLDER).glob("**/*.note"):
        try:
            known = read_json(path)
        except (DamagedFileError, StoreError):
            continue
        if known.get("said") is False:
            write_json(path, {**known, "said": True})
