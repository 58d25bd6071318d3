"""A store opened to read: the published generations, the run records on disk, and what people keep.

Does not know: how rows get there (core/store/writer), models, pages, what a row means.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import duckdb

from core.errors import StoreError
from core.store import generations, runs
from core.store.damage import Damage, notes
from core.store.extensions import load_fts
from core.store.json_files import DamagedFileError, read_json
from core.store.kept import Kept
from core.store.locks import is_locked
from core.store.publish import STORE_VERSION
from core.store.reading import Reader, damaged_words, look_for_shards, means_damaged

_READER_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


class Store(Kept):
    """A store in a folder, to read. Saving slices needs no lock; `open_for_writing()` gives what writes rows."""

    def __init__(self, folder: Path) -> None:
        """Looks at the folder; creates nothing.

        Raises:
            StoreError: the folder holds a store of a newer version, or is a file.
        """
        super().__init__(folder)
        self._guard = threading.Lock()
        self._opened: tuple[str, duckdb.DuckDBPyConnection, generations.Hold] | None = None
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; --store needs a folder")
        self._check_version()

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
                        hold = generations.Hold(self.folder / name)
                        self._opened = (name, self._open(self.folder / name), hold)
                    cursor = Reader(self._opened[1].cursor(), self.folder / name, self._opened[2])
                    return cast(duckdb.DuckDBPyConnection, cursor)
                except (duckdb.Error, OSError) as error:  # the publisher may have taken it since CURRENT was read
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
        return is_locked(self.folder)

    def set_aside(self) -> list[Damage]:
        """Every damaged file that lies in the store's folder `damaged` now, oldest first."""
        return notes(self.folder)

    def _open(self, path: Path) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(str(path.absolute()), read_only=True, config=_READER_CONFIG)
        look_for_shards(con, path.parent)
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


def _cannot_open(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return (
        damaged_words(path) if means_damaged(reason) else f"cannot open {path}: {reason}; the next run makes it again"
    )


def _too_new(folder: Path, version: int) -> str:
    return (
        f"{folder} was written by a newer whylook (store version {version}, this knows {STORE_VERSION}); "
        "upgrade whylook or choose another --store"
    )
