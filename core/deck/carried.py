"""The slides inside a file: as JSON, with every query, so that its numbers can be counted again."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

from core.deck.slide import Slide, from_json
from core.errors import RequestError
from core.statistics import Interval, format_rate

MARK = "whylook-slides"
"""What the JSON is called in every kind of file."""
_VERSION = 1
_BARRED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&-`"}
"""Letters that end a comment, a fence or a script: JSON may write them as escapes, for they stand in strings only."""


def pack(slides: Sequence[Slide]) -> str:
    """Slides as JSON of plain ASCII that can stand in XML, in a script and in a comment."""
    text = json.dumps({MARK: _VERSION, "slides": [slide.to_json() for slide in slides]})
    head, _, rest = text.partition(", ")  # the key holds a hyphen, too, which stays readable
    return f"{head}, {rest.translate(_BARRED)}"


def unpack(text: str) -> tuple[Slide, ...]:
    """The slides that `pack` wrote.

    Raises:
        RequestError: it is no such JSON.
    """
    try:
        found = json.loads(text)
        if found[MARK] != _VERSION:
            raise RequestError(
                f"the file's slides have the form {found[MARK]}, this whylook reads {_VERSION}: update it"
            )
        return tuple(from_json(slide) for slide in found["slides"])
    except (ValueError, TypeError, KeyError) as error:
        raise RequestError(f"the slides inside the file are damaged ({error}): write it again") from error


def clean(text: str) -> str:
    """Text without the characters that no file can hold: controls other than line breaks, halves of a character."""
    kept = (letter for letter in text if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs"))
    return "".join(letter for letter in kept if letter not in "\ufffe\uffff").replace("\t", " ")


def right_to_left(text: str) -> bool:
    """Whether a text begins in a script that is written from right to left."""
    strong = (kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL"))
    return next(strong, "L") != "L"


def notes(slide: Slide) -> str:
    """What stands in the notes: the presenter's words, each bar with its interval, and the queries."""
    parts = [slide.notes] if slide.notes.strip() else []
    if slide.bars is not None:
        parts.append("\n".join(f"{name}: {value}" for name, value in bar_words(slide)))
    queries = [f"{figure.words}: {figure.sql}" for figure in slide.figures]
    queries += [f"{slide.bars.heading}: {slide.bars.sql}"] if slide.bars is not None else []
    queries += [f"Table: {slide.grid.sql}"] if slide.grid is not None else []
    queries += slide.sources
    if queries:
        parts.append("\n".join(["Sources:", *dict.fromkeys(queries)]))
    if slide.run:
        parts.append(f"Run {slide.run}")
    return clean("\n\n".join(parts))


def bar_words(slide: Slide) -> list[tuple[str, str]]:
    """The name of each bar, and its share with its interval."""
    bars = slide.bars
    if bars is None:
        return []
    rows = zip(bars.names, bars.values, bars.low, bars.high, strict=True)
    return [(name, format_rate(Interval(value, low, high, 1), n=False)) for name, value, low, high in rows]
