"""A store opened to read: the published generations, the run records on disk, and what people keep.

Does not know: how rows get there (core/store/writer), models, pages, what a row means.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import duckdb

from core.errors import StoreError
from core.records import LabelDecision, Run, Verdict
from core.store import generations, named, runs, saved
from core.store.damage import Damage, notes
from core.store.json_files import DamagedFileError, read_json
from core.store.locks import is_locked
from core.store.named import RunName
from core.store.publish import STORE_VERSION, load_fts
from core.store.reading import Reader, damaged_words, means_damaged

_READER_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
TAG_LENGTH = 60
TAGGED_AT_ONCE = 5000

NO_SLIDE = "there is no such slide: it was deleted, perhaps in another window; Undo brings it back"


class Store:
    """A store in a folder, to read. Saving slices needs no lock; `open_for_writing()` gives what writes rows."""

    def __init__(self, folder: Path) -> None:
        """Looks at the folder; creates nothing.

        Raises:
            StoreError: the folder holds a store of a newer version, or is a file.
        """
        self.folder = folder
        self._saved = folder / "saved.json"
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
                        self._opened = (name, self._open(self.folder / name))
                    cursor = self._opened[1].cursor()
                    return cast(duckdb.DuckDBPyConnection, Reader(cursor, self.folder / name))
                except duckdb.Error as error:  # the publisher may have removed it since CURRENT was read
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

    # ------------------------------------------------------------------ what people keep

    def save_slice(self, name: str, sql: str, *, note: str = "") -> None:
        """Saves a slice under `name`, in place of an older one of that name.

        Raises:
            StoreError: the name is empty, or nothing can be written.
        """
        if not name.strip():
            raise StoreError("a saved slice needs a name")
        entry = {"name": name, "sql": sql, "note": note, "saved": runs.now()}
        saved.put_entry(self._saved, "slices", name, entry, words=f"saving slice “{name}”")

    def delete_slice(self, name: str) -> None:
        """Deletes a saved slice; a StoreError when there is none of that name."""
        self._delete("slices", name, f"slice “{name}”")

    def slices(self) -> list[dict[str, Any]]:
        """Saved slices: name, sql, note, saved."""
        return self._entries("slices")

    def save_slide(self, key: str, slide: Mapping[str, Any]) -> None:
        """Keeps a slide (fields of `core.deck.slide.Slide`) in place of the one of that key, else at the end.

        Raises:
            StoreError: nothing can be written.
        """
        entries = self._timed("deck")
        last = max((float(entry["position"]) for entry in entries.values()), default=0.0)
        position = entries[key]["position"] if key in entries else last + 1
        entry = {"position": position, "slide": {**slide, "key": key}, "saved": runs.now()}
        words = f"{'changing' if key in entries else 'keeping'} slide “{slide['title']}”"
        saved.put_entry(self._saved, "deck", key, entry, words=words)

    def add_slides(self, slides: Mapping[str, Mapping[str, Any]], *, words: str) -> None:
        """Adds slides by key at the end, in their order; one undo takes all back, and `words` say what it takes.

        Raises:
            StoreError: nothing can be written.
        """
        last = max((float(entry["position"]) for entry in self._timed("deck").values()), default=0.0)
        new = {
            key: {"position": last + place, "slide": {**slide, "key": key}, "saved": runs.now()}
            for place, (key, slide) in enumerate(slides.items(), start=1)
        }
        saved.put_entries(self._saved, "deck", new, words=words)

    def delete_slide(self, key: str) -> None:
        """Deletes a slide; a StoreError when there is none of that key."""
        entries = self._timed("deck")
        if key not in entries:
            raise StoreError(NO_SLIDE)
        saved.put_entry(self._saved, "deck", key, None, words=f"deleting slide “{entries[key]['slide']['title']}”")

    def move_slide(self, key: str, place: int) -> None:
        """Moves a slide to a place of the deck, counted from 0; only its own entry changes.

        Raises:
            StoreError: there is no such slide, or nothing can be written.
        """
        entries = self._timed("deck")
        if key not in entries:
            raise StoreError(NO_SLIDE)
        others = sorted(float(entry["position"]) for other, entry in entries.items() if other != key)
        place = max(0, min(place, len(others)))
        low = others[place - 1] if place else (others[0] - 2 if others else 0.0)
        high = others[place] if place < len(others) else low + 2
        entry = {**entries[key], "position": (low + high) / 2, "saved": runs.now()}
        saved.put_entry(self._saved, "deck", key, entry, words=f"moving slide “{entry['slide']['title']}”")

    def deck(self) -> list[dict[str, Any]]:
        """The deck's slides in their order: position, saved, and slide, the fields of `core.deck.slide.Slide`."""
        return sorted(self._entries("deck"), key=lambda entry: float(entry["position"]))

    def name_run(self, run: str, name: str, *, note: str = "") -> None:
        """Gives a run a name and a note, empty ones take them away; a StoreError where it cannot have them."""
        named.name_run(self.folder, self._saved, run, name, note)

    def run_names(self) -> dict[str, RunName]:
        """What people call the runs, by id."""
        return named.run_names(self._saved)

    def run_titles(self, known: Iterable[Run]) -> dict[str, str]:
        """What each run is called, by id: the name that people gave it, else its classifier and start."""
        return named.run_titles(self.run_names(), known)

    def run_called(self, text: str) -> str:
        """The id of the run that people call so; any other text as it is."""
        return named.run_called(self.run_names(), text)

    def save_findings(self, run: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps a run's findings in place of its earlier ones."""
        entry = {"rows": [{**row, "run": run} for row in rows]}
        saved.put_entry(self._saved, "findings", run, entry, words=None)

    def findings(self, run: str) -> list[dict[str, Any]]:
        """The findings kept for a run."""
        return list(saved.read_entries(self._saved, "findings").get(run, {}).get("rows", []))

    def save_cues(self, run: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keeps the cues that were found in a run in place of its earlier ones."""
        entry = {"rows": [{**row, "run": run} for row in rows]}
        saved.put_entry(self._saved, "cues", run, entry, words=None)

    def keep_look(self, run: str, key: str) -> int:
        """Notes that a slice of a run was looked at; says which look it was when it was first, counted from 1."""
        before = [look["key"] for look in saved.read_entries(self._saved, "looks").values() if look["run"] == run]
        if key in before:
            return before.index(key) + 1
        saved.put_entry(self._saved, "looks", f"{run} {key}", {"run": run, "key": key}, words=None)
        return len(before) + 1

    def decide_label(
        self, image_id: str, verdict: Verdict, *, label: str | None, should_be: str | None = None, file: str = ""
    ) -> None:
        """Keeps what a person says of a picture's label, in place of what was said before; undo then names `file`.

        Raises:
            StoreError: only a wrong label has one that it should be, and another; or nothing can be written.
        """
        if should_be is not None and (verdict != "wrong" or should_be in ("", label)):
            raise StoreError(f"only a wrong label has one that it should be, and another: {verdict}, {should_be!r}")
        entry = {"label": label, "verdict": verdict, "should_be": should_be, "saved": runs.now()}
        said = _said(verdict, should_be, right="right")
        words = f"{file}, “{label}”: {said}" if file else f"“{label}”: {said}"
        saved.put_entry(self._saved, "labels", image_id, entry, words=words)

    def undo_label(self, image_id: str) -> str | None:
        """Takes back what was last said of one picture's label and says what it was.

        None where that was too long ago to be known: then nothing is said of it any more.
        """
        words = saved.undo_entry(self._saved, "labels", key=image_id)
        if words is None:
            saved.put_entry(self._saved, "labels", image_id, None, words=None)
        return words

    def label_decisions(self) -> list[LabelDecision]:
        """What people said of labels, in the order in which pictures were first decided.

        Raises:
            StoreError: the file does not hold what was written there.
        """
        try:
            return [LabelDecision(image_id=key, **entry) for key, entry in self._timed("labels").items()]
        except TypeError as error:
            raise self._unreadable(error) from error

    def decide_labels(self, labels: Mapping[str, str | None], verdict: Verdict, *, should_be: str | None = None) -> int:
        """The same said of the labels of several pictures, by image id, taken back as one; how many it was said of.

        A picture that has the label that it should be already is left out.

        Raises:
            StoreError: only a wrong label has one that it should be; or nothing can be written.
        """
        if should_be is not None and (verdict != "wrong" or not should_be):
            raise StoreError(f"only a wrong label has one that it should be: {verdict}, {should_be!r}")
        fit = {key: label for key, label in labels.items() if should_be is None or label != should_be}
        entries = {
            key: {"label": label, "verdict": verdict, "should_be": should_be, "saved": runs.now()}
            for key, label in fit.items()
        }
        said = _said(verdict, should_be, right="label right")
        if entries:
            saved.put_entries(self._saved, "labels", entries, words=f"{said}: {_pictures(len(entries))}")
        return len(entries)

    def tag(self, image_ids: Sequence[str], tag: str) -> int:
        """Gives pictures a tag, as one step; how many did not have it.

        Raises:
            StoreError: the tag is empty or longer than TAG_LENGTH, the pictures are too many, nothing can be written.
        """
        tag = " ".join(tag.split())
        if not tag or len(tag) > TAG_LENGTH:
            raise StoreError(f"a tag is 1 to {TAG_LENGTH} characters long, got {len(tag)}")
        known = self.tags()
        return self._retag({key: sorted({*known.get(key, ()), tag}) for key in image_ids}, f"tagging “{tag}”")

    def untag(self, image_ids: Sequence[str], tag: str) -> int:
        """Takes a tag from pictures, as one step; how many had it."""
        known = self.tags()
        left = {key: [other for other in known.get(key, ()) if other != tag] for key in image_ids}
        return self._retag(left, f"taking away tag “{tag}”")

    def tags(self) -> dict[str, tuple[str, ...]]:
        """The tags that people gave, by image id."""
        return {key: tuple(entry["tags"]) for key, entry in self._timed("tags").items()}

    def tag_rows(self) -> list[dict[str, Any]]:
        """Rows of table `tags`: the tags of pictures, and what was said of their labels in the same words."""
        rows = [
            {"image_id": key, "tag": tag, "saved": entry["saved"]}
            for key, entry in self._timed("tags").items()
            for tag in entry["tags"]
        ]
        return rows + [
            {
                "image_id": item.image_id,
                "tag": _said(item.verdict, item.should_be, right="label right", unsure="label not sure"),
                "saved": item.saved,
            }
            for item in self.label_decisions()
        ]

    def undo(self, *kinds: str) -> str | None:
        """Takes back the last step (of kinds: slices, labels, tags, deck, run_names); its words, None for none."""
        return saved.undo_entry(self._saved, *kinds)

    # ------------------------------------------------------------------ inside

    def _open(self, path: Path) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(str(path.absolute()), read_only=True, config=_READER_CONFIG)
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

    def _retag(self, wanted: Mapping[str, Sequence[str]], words: str) -> int:
        known = self.tags()
        changed = {key: tags for key, tags in wanted.items() if tuple(tags) != known.get(key, ())}
        if len(changed) > TAGGED_AT_ONCE:
            raise StoreError(f"{len(changed):,} pictures are too many to tag at once; at most {TAGGED_AT_ONCE:,}")
        entries = {key: {"tags": list(tags), "saved": runs.now()} if tags else None for key, tags in changed.items()}
        if entries:
            saved.put_entries(self._saved, "tags", entries, words=f"{words}: {_pictures(len(entries))}")
        return len(entries)

    def _entries(self, kind: str) -> list[dict[str, Any]]:
        return list(self._timed(kind).values())

    def _timed(self, kind: str) -> dict[str, dict[str, Any]]:
        entries = saved.read_entries(self._saved, kind)
        try:
            return {key: {**entry, "saved": runs.as_time(entry["saved"])} for key, entry in entries.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StoreError:
        return StoreError(f"{self._saved} is damaged: {error}; move it away to go on without it")

    def _delete(self, kind: str, name: str, words: str) -> None:
        if name not in saved.read_entries(self._saved, kind):
            raise StoreError(f"there is no {words}")
        saved.put_entry(self._saved, kind, name, None, words=f"deleting {words}")


def _said(verdict: Verdict, should_be: str | None, *, right: str, unsure: str = "not sure") -> str:
    """What was said of a label, in words."""
    return {"right": right, "unsure": unsure, "wrong": f"should be {should_be}" if should_be else "label wrong"}[
        verdict
    ]


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n:,} pictures"


def _cannot_open(path: Path, error: duckdb.Error) -> str:
    reason = str(error).splitlines()[0]
    return (
        damaged_words(path) if means_damaged(reason) else f"cannot open {path}: {reason}; the next run makes it again"
    )


def _too_new(folder: Path, version: int) -> str:
    return (
        f"{folder} was written by a newer whylook (store version {version}, this knows {STORE_VERSION}); "
        "upgrade whylook or choose another --store"
    )
