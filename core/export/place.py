"""Where an export goes: written beside its place, renamed when complete, never over what is there without a word."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import RequestError
from core.store.shards import fsync_folder

MARK = "whylook.json"
"""In every folder that was exported: only such a folder is ever replaced."""
_ARROW = re.compile(r"\[errno (\d+)\]")
"""Where Arrow names the error of the system."""


@contextmanager
def place_for(target: Path, *, folder: bool, overwrite: bool) -> Iterator[Path]:
    """A file or an empty folder to write into, which takes its place at the end; it is removed when anything fails.

    Raises:
        RequestError: something is there already, or it cannot be written; what was there is as it was.
    """
    _check(target, folder=folder, overwrite=overwrite)
    made = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _remove(made)
        _remove_left(target)
        if folder:
            made.mkdir()
        yield made
        _check(target, folder=folder, overwrite=overwrite)  # something may have come there meanwhile
        _into_place(made, target)
        fsync_folder(target.parent)
    except OSError as error:
        number = error.errno or int((_ARROW.search(str(error)) or [0, 0])[1])
        remedy = "; free some space and try again" if number in (errno.ENOSPC, errno.EDQUOT) else ""
        words = os.strerror(number) if number else str(error)
        raise RequestError(f"cannot write {target}: {words}{remedy}. Nothing was changed") from error
    finally:
        with suppress(OSError):
            _remove(made)


def _check(target: Path, *, folder: bool, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if target.is_dir() and folder and not any(target.iterdir()):
        return
    if target.is_dir() != folder:
        there, wanted = ("a folder", "a file") if target.is_dir() else ("a file", "a folder")
        raise RequestError(f"{target} is {there}, and this form needs {wanted}: name another place")
    if not overwrite:
        raise RequestError(f"{target} is there already: name another place, or say --overwrite")
    if folder and not (target / MARK).is_file():
        raise RequestError(f"{target} holds files that no export of whylook made: name another place, or empty it")


def _into_place(made: Path, target: Path) -> None:
    if not target.is_dir() or target.is_symlink():
        made.replace(target)
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    try:
        made.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_left(target: Path) -> None:
    """Removes what an export to the same place left there when it was killed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        number = left.name.rpartition(".part")[0].rpartition(".")[2]
        if number.isdecimal() and not _runs(int(number)):
            _remove(left)


def _runs(process: int) -> bool:
    """Whether a process of this number runs now."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mark_text(facts: Mapping[str, object]) -> str:
    """What an export was made of, as the text of `MARK`."""
    return json.dumps(dict(facts), ensure_ascii=False, indent=1) + "\n"
