"""Names and notes that people give to runs, kept with what else they keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import StoreError
from core.records import Run
from core.store import runs, saved

KIND = "run_names"
LONGEST = 80


@dataclass(frozen=True)
class RunName:
    """What a person calls a run, empty where it has a note only, and the note."""

    name: str
    note: str


def name_run(folder: Path, path: Path, run: str, name: str, note: str) -> None:
    """Gives a run a name and a note; both empty take them away.

    Args:
        folder: of the store.
        path: what people keep.
        run: its id, such as `r-3f9a21`.
        name: in one line; no other run may have it.
        note: any text.

    Raises:
        StoreError: there is no such run, the name is too long or another run's, or nothing can be written.
    """
    name, note = " ".join(name.split()), note.strip()
    if not runs.read_record(folder, run):
        raise StoreError(f"there is no run {run} in {folder}")
    if len(name) > LONGEST:
        raise StoreError(f"a run's name has at most {LONGEST} characters, this one has {len(name):,}: use the note")
    taken = {**{record["run"]: record["run"] for record in runs.read_records(folder)}}
    taken |= {told.name: other for other, told in run_names(path).items() if told.name}
    if name and taken.get(name, run) != run:
        raise StoreError(f"run {taken[name]} is called “{name}” already: choose another name")
    entry = {"run": run, "name": name, "note": note, "saved": runs.now()} if name or note else None
    words = f"naming run {run} “{name}”" if name else f"changing the note of run {run}"
    saved.put_entry(path, KIND, run, entry, words=words)


def run_names(path: Path) -> dict[str, RunName]:
    """Names and notes by run, of those that have any.

    Raises:
        StoreError: the file does not hold what was written there.
    """
    entries = saved.read_entries(path, KIND)
    return {run: RunName(str(entry.get("name") or ""), str(entry.get("note") or "")) for run, entry in entries.items()}


def run_titles(names: Mapping[str, RunName], known: Iterable[Run]) -> dict[str, str]:
    """What each run is called, by id: its name, else its classifier and start; the id, too, where two agree."""
    titles = {run.name: (told.name if (told := names.get(run.name)) else "") or run.title for run in known}
    shared = Counter(titles.values())
    return {run: f"{title} ({run})" if shared[title] > 1 else title for run, title in titles.items()}


def run_called(names: Mapping[str, RunName], text: str) -> str:
    """The id of the run that a person calls so; any other text as it is."""
    return next((run for run, told in names.items() if told.name and told.name == " ".join(text.split())), text)
