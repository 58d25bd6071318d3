"""The commands `deck` and `verify`: the kept slides as a file, and whether the numbers in such a file still hold."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from core import queries
from core.commands.read import existing
from core.commands.terminal import rows_table, write_file, write_table
from core.deck.slide import Slide, from_json
from core.errors import RequestError
from core.statistics import format_count
from core.store import Store


def deck(arguments: argparse.Namespace) -> int:
    """The kept slides, listed or written as a file; `--first` adds the first deck of a run to them."""
    from core.deck import files

    out: Path | None = arguments.out
    form = files.form_of(out.name) if out is not None else None
    store = existing(arguments.store)
    if arguments.first:
        _add_first(store, arguments.run)
    slides = _kept(store)
    if not slides:
        raise RequestError(files.EMPTY)
    if out is None or form is None:
        rows = [
            {"slide": place, "kind": slide.kind, "run": slide.run, "title": slide.title}
            for place, slide in enumerate(slides, start=1)
        ]
        write_table(rows_table(rows, ("slide", "kind", "run", "title")), "table")
        return 0
    if problem := files.cannot_show(slides, form):
        raise RequestError(problem)
    from core.deck.pictures import pictures

    content = files.write(slides, pictures(store.reader(), slides), form)
    write_file(out, content)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Counts the numbers of a deck's file again; 1 when some differ."""
    from core.deck.verify import verified

    found = verified(existing(arguments.store), arguments.file)
    for line in found.notes:
        print(f"whylook: {line}", file=sys.stderr)
    for item in found.differences:
        print(item)
    print(found.sentence)
    return 1 if found.differences else 0


def _kept(store: Store) -> list[Slide]:
    """The slides of the deck in their order; those that cannot be read are named and left out."""
    slides = []
    for entry in store.deck():
        try:
            slides.append(from_json(json.dumps(entry["slide"])))
        except RequestError as problem:
            print(f"whylook: a slide is left out: {problem}", file=sys.stderr)
    return slides


def _add_first(store: Store, run: str | None) -> None:
    """Adds the first deck of a run; slides that are there already stay as they were edited."""
    from core.deck.first import first_deck
    from core.deck.keep import asking
    from core.findings import summarise

    con = store.reader()
    name = queries.run(con, run).name
    there = {slide.key for slide in _kept(store)}
    called = store.run_names().get(name)
    made = first_deck(asking(store), con, name, summarise(con, name), called=called.name if called else "")
    new = {slide.key: asdict(slide) for slide in made if slide.key not in there}
    if new:
        store.add_slides(new, words=f"the first deck of {name}, {format_count(len(new))} slides")
    print(f"whylook: {format_count(len(new))} slides added to the deck", file=sys.stderr)
