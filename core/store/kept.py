"""What people keep in a store, in one file that is changed under a lock: slices, slides, names, tags, decisions, looks.

Does not know: published rows, how the file is changed safely (core/store/saved).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import StoreError
from core.records import LabelDecision, Run, Verdict
from core.store import named, runs, saved
from core.store.named import RunName

TAG_LENGTH = 60
TAGGED_AT_ONCE = 5000
NO_SLIDE = "there is no such slide: it was deleted, perhaps in another window; Undo brings it back"


class Kept:
    """What people keep in the store of a folder; it needs no lock of a run, and every step can be taken back."""

    def __init__(self, folder: Path) -> None:
        """Looks at nothing yet."""
        self.folder = folder
        self._saved = folder / "saved.json"

    def freeze(self) -> None:
        """From now on this process keeps nothing in this store: what would change it raises a StoreError in words."""
        saved.freeze(self._saved)

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

    def keep_closer_look(self, fingerprint: str, image_id: str, found: Mapping[str, Any]) -> None:
        """Keeps the closer causal check of one picture under its map's fingerprint, in place of an older one."""
        entry = {**found, "saved": runs.now()}
        saved.put_entry(self._saved, "closer looks", f"{fingerprint} {image_id}", entry, words=None)

    def closer_look(self, fingerprint: str, image_id: str) -> dict[str, Any] | None:
        """What was kept of one picture: causal_drop, random_drops, causal_keep, saved; None without."""
        return saved.read_entries(self._saved, "closer looks").get(f"{fingerprint} {image_id}")

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
