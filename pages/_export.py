"""The menu Export of a slice: its form, the file made with progress and time left, then the download.

A file with pictures is made in a folder of its own, never in memory, and is gone with the session.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from core.errors import WhylookError
from core.export.export import Exported, export, rows_of
from core.export.forms import FORMS, SLICE_FORMS, TABLE_FORMS
from core.export.pace import Pace
from core.export.tables import csv_bytes, parquet_bytes
from core.statistics import format_duration, format_pictures
from pages._shared import run_file, store, store_folder
from pages._view import copy_button
from pages._words import plain

THROUGH_A_BROWSER = 1 << 30
"""Bytes: a larger file is not read into memory for a download; it is said where it lies."""
_REDRAWN_SECONDS = 0.25
_MADE = "export-made"


@dataclass(frozen=True)
class Made:
    """A file that was made in this session, for which choice, and its folder, which is removed with it."""

    choice: tuple[object, ...]
    file: Path
    said: Exported
    folder: tempfile.TemporaryDirectory[str]


def export_menu(run: str, sql: str, pictures: int) -> None:
    """The menu; `pictures` is how many the slice has."""
    with st.popover("Export"):
        form = st.selectbox(
            "As", list(SLICE_FORMS), format_func=lambda name: FORMS[name].words, key="export-form", width=320
        )
        st.caption(plain(FORMS[form].use))
        if form in TABLE_FORMS:
            written = csv_bytes if form == "csv" else parquet_bytes
            st.download_button(
                "Download",
                lambda: written(rows_of(store(), run, sql)),
                run_file(run, "slice", suffix=FORMS[form].suffix),
                icon=":material/download:",
                on_click="ignore",
                key="export-rows",
            )
        elif not pictures:
            st.caption("This query gives no pictures: add image_id to its SELECT.")
        else:
            overlays = form == "zip" and st.checkbox(
                "With overlays: where the classifier looked", key="export-overlays"
            )
            _file(run, sql, form, overlays=overlays, pictures=pictures)
        copy_button("Copy as a command", key="export-command", value=_command(run, sql, form))


def _command(run: str, sql: str, form: str) -> str:
    place = run_file(run, form, suffix=FORMS[form].suffix)
    words = ["whylook", "export", "--run", run, "--sql", sql, "--as", form, "--to", place]
    return shlex.join([*words, "--store", str(store_folder())])


def _file(run: str, sql: str, form: str, *, overlays: bool, pictures: int) -> None:
    """Makes the file on a click, and offers it once it is made."""
    choice = (store().generation(), run, sql, form, overlays, len(store().tag_rows()))
    made: Made | None = st.session_state.get(_MADE)
    if made is not None and made.choice == choice and made.file.is_file():
        _download(made)
    elif st.button(f"Make the file of {format_pictures(pictures)}", key="export-make", icon=":material/folder_zip:"):
        _make(choice, run, sql, form, overlays=overlays)


def _download(made: Made) -> None:
    size = made.file.stat().st_size
    if made.said.note:
        st.caption(plain(f"{made.said.note[0].upper()}{made.said.note[1:]}"))
    if size > THROUGH_A_BROWSER:
        st.caption(f"{_size(size)} are too much for a browser. Until this page is closed, the file is here:")
        st.code(str(made.file), language=None, wrap_lines=True)
        return
    st.download_button(
        f"Download {_size(size)}",
        made.file.read_bytes,
        made.file.name,
        icon=":material/download:",
        on_click="ignore",
        key="export-download",
    )


def _make(choice: tuple[object, ...], run: str, sql: str, form: str, *, overlays: bool) -> None:
    """Makes the file; a click on Stop, or anywhere else, ends it and leaves nothing behind."""
    st.session_state.pop(_MADE, None)
    st.button("Stop", key="export-stop", icon=":material/stop_circle:")
    line = st.progress(0.0, "Asking the store …")
    pace, drawn = Pace(), 0.0

    def tell(done: int, total: int) -> None:
        nonlocal drawn
        now, (_, seconds) = time.monotonic(), pace.at(done, total)
        if done < total and now - drawn < _REDRAWN_SECONDS:
            return
        drawn = now
        left = f", {format_duration(seconds)} left" if seconds else ""
        line.progress(done / total, f"{done:,} of {total:,} pictures{left}")

    folder = tempfile.TemporaryDirectory(prefix="whylook-export-")
    try:
        name = run_file(run, "slice", form, suffix=FORMS[form].suffix)
        said = export(store(), run, sql, Path(folder.name) / name, form, overlays=overlays, tell=tell)
        file = said.path if said.path.is_file() else _packed(said.path)
    except WhylookError as problem:
        folder.cleanup()
        st.error(plain(str(problem)), icon=":material/error:")
        return
    st.session_state[_MADE] = Made(choice, file, said, folder)
    st.rerun()


def _packed(folder: Path) -> Path:
    """A folder as one zip file that unpacks to it."""
    file = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    shutil.rmtree(folder)
    return file


def _size(size: int) -> str:
    """Bytes with at most two figures: 640 KB, 5.2 MB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.2g} {unit}" if size < 100 * factor else f"{size / factor:,.0f} {unit}"
    return f"{max(1, round(size / 1e3))} KB"
