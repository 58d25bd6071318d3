"""Whether the numbers in a deck's file are those of a store: its queries are run again, its texts compared.

A file is made again from what its queries give now, and both are read in the same way: whatever number stands in the
one and not in the other differs. Words may have been edited; numbers in a presenter's own words have no query and are
compared with what whylook wrote into the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from core import queries
from core.deck import files
from core.deck.keep import Ask, asking
from core.deck.pictures import NONE
from core.deck.read_back import Content, read_back
from core.deck.recount import recounted
from core.deck.slide import Slide
from core.errors import RequestError
from core.statistics import format_count
from core.store import Store

_NUMBER = re.compile(r"[-+−]?\d+(?:[.,:]\d+)*%?")


@dataclass(frozen=True)
class Verified:
    """What was found: each difference in a line, remarks that are none, and how much was checked."""

    differences: tuple[str, ...]
    notes: tuple[str, ...]
    queries: int
    numbers: int

    @property
    def sentence(self) -> str:
        """The result in a sentence."""
        checked = f"{format_count(self.numbers)} numbers compared, {format_count(self.queries)} queries run again"
        if self.differences:
            return f"{format_count(len(self.differences))} differences; {checked}"
        return f"every number is as the store gives it: {checked}"


def verified(store: Store, path: Path, *, ask: Ask | None = None) -> Verified:
    """Runs the queries of a deck's file again and compares every number in it.

    Args:
        store: where the queries are run.
        path: what `whylook deck` wrote, perhaps edited since.
        ask: runs a query; by default behind the gate, as a person's SQL, for a file may come from anywhere.

    Raises:
        RequestError: the file is none that whylook wrote, or none of its runs is in the store.
    """
    form = files.form_of(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    found = read_back(content, form)
    known = {run.name for run in queries.runs(store.reader())}
    gone = sorted({slide.run for slide in found.slides if slide.run} - known)
    if gone and not any(slide.run in known for slide in found.slides):
        raise RequestError(f"run {', '.join(gone)} of the file is not in {store.folder}: name the store it is from")
    fresh, problems = _recount(ask or asking(store), found.slides, gone)
    again = read_back(files.write(fresh, NONE, form), form)
    differences = [*problems, *_inside(found.slides, fresh), *_shown(found, again)]
    count = sum(len(slide.figures) + bool(slide.bars) + bool(slide.grid) for slide in found.slides)
    numbers = sum(len(numbers_in(text)) for text in found.texts.values())
    notes = (*_removed(found, again), *_unasked(found.slides))
    return Verified(tuple(dict.fromkeys(differences)), notes, count, numbers)


def _recount(ask: Ask, slides: Sequence[Slide], gone: Sequence[str]) -> tuple[list[Slide], list[str]]:
    fresh, problems = [], []
    for place, slide in enumerate(slides, start=1):
        if slide.run in gone:
            problems.append(f"{_name(place, slide)}: run {slide.run} is not in this store")
            fresh.append(slide)
            continue
        counted, wrong = recounted(ask, slide)
        fresh.append(counted)
        problems += [f"{_name(place, slide)}: {said}" for said in wrong]
    return fresh, problems


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in their order."""
    return _NUMBER.findall(text)


def _inside(slides: Sequence[Slide], fresh: Sequence[Slide]) -> Iterator[str]:
    """Numbers that the file carries for itself and that its queries do not give."""
    for place, (old, new) in enumerate(zip(slides, fresh, strict=True), start=1):
        pairs = [(f"figure {at}", f"{was.shown} ({was.quiet})", f"{now.shown} ({now.quiet})")
                 for at, (was, now) in enumerate(zip(old.figures, new.figures, strict=True), start=1)]  # fmt: skip
        if old.bars and new.bars and old.bars != new.bars:
            pairs.append(("chart", _bars(old), _bars(new)))
        if old.grid and new.grid and old.grid != new.grid:
            pairs.append(("table", str(old.grid.rows), str(new.grid.rows)))
        for name, was, now in pairs:
            for wrong in _differing(was, now):
                yield f"{_name(place, old)}, {name} as carried: {wrong}"


def _bars(slide: Slide) -> str:
    drawn = slide.bars
    assert drawn is not None
    rows = zip(drawn.names, drawn.values, drawn.low, drawn.high, strict=True)
    return " ".join(f"{name} {value:.6f} {low:.6f} {high:.6f}" for name, value, low, high in rows)


def _shown(found: Content, again: Content) -> Iterator[str]:
    """Numbers that can be seen and that are not those of the file made again."""
    order = {slide.key: (place, slide) for place, slide in enumerate(found.slides, start=1)}
    for (key, place), text in found.texts.items():
        name = _name(*order[key]) if key in order else "a slide that was added" if key else "the beginning"
        for wrong in _differing(text, again.texts.get((key, place), "")):
            yield f"{name}{f', {place}' if place else ''}: {wrong}"


def _removed(found: Content, again: Content) -> Iterator[str]:
    """Slides and texts that are no longer in the file: nothing wrong can be read there."""
    order = {slide.key: (place, slide) for place, slide in enumerate(found.slides, start=1)}
    left = {key for key, _ in found.texts}
    for key in dict.fromkeys(key for key, _ in again.texts):
        if key not in left and key in order:
            yield f"{_name(*order[key])} is no longer in the file"
    for key, place in again.texts:
        if key in left and (key, place) not in found.texts and key in order:
            yield f"{_name(*order[key])}: {place} is no longer there"


def _unasked(slides: Sequence[Slide]) -> Iterator[str]:
    """Numbers that stand in words alone, a presenter's or a finding's: no query of the slide gives them."""
    for place, slide in enumerate(slides, start=1):
        counted = [text for figure in slide.figures for text in (figure.words, figure.shown, figure.quiet)]
        counted += [_bars(slide)] if slide.bars else []
        counted += [word for row in slide.grid.rows for word in row] if slide.grid else []
        known = {number.strip("+-−%") for text in counted for number in numbers_in(text)}
        said = numbers_in(" ".join((slide.title, *slide.body, slide.notes)))
        if left := [number for number in dict.fromkeys(said) if number.strip("+-−%") not in known]:
            yield f"{_name(place, slide)}: {', '.join(left)} stand in words; they are compared with what was kept"


def _differing(shown: str, counted: str) -> Iterator[str]:
    """Where the numbers of two texts differ, in words."""
    here, there = numbers_in(shown), numbers_in(counted)
    for kind, at, to, low, high in SequenceMatcher(None, here, there, autojunk=False).get_opcodes():
        said, should = " ".join(here[at:to]), " ".join(there[low:high])
        if kind == "replace":
            yield f"the file says {said}, the store gives {should}"
        elif kind == "delete":
            yield f"the file says {said}, which no query gives"
        elif kind == "insert":
            yield f"the file lacks {should}"


def _name(place: int, slide: Slide) -> str:
    short = slide.title if len(slide.title) <= 60 else f"{slide.title[:59].rstrip()}…"
    return f"slide {place} “{short}”"
