"""The four cells of correct x attention and the three kinds of mistake: their words, on pages and in reports alike."""

from __future__ import annotations

from dataclasses import dataclass

GREY = "#8A8F98"
"""What is not judged, and whatever stands beside an accent."""


@dataclass(frozen=True)
class Cell:
    """One cell: its name in column `cell` of `samples` (empty where that is NULL), its words, its colour."""

    name: str
    words: str
    colour: str


CELLS: tuple[Cell, ...] = (
    Cell("correct_high", "right, judge finds support", "#009E73"),
    Cell("correct_low", "right, judge finds little support", "#E69F00"),
    Cell("wrong_high", "wrong, judge finds support", "#CC79A7"),
    Cell("wrong_low", "wrong, judge finds little support", "#0072B2"),
)
"""In their usual order. Colours are Okabe and Ito's, which colour-blind people can tell apart."""
NOT_JUDGED = Cell("", "not judged", GREY)


@dataclass(frozen=True)
class Mistake:
    """One kind of wrong answer: its name in column `mistake` of `samples`, and the words for a picture of it."""

    name: str
    words: str


MISTAKES: tuple[Mistake, ...] = (
    Mistake("answer supported", "wrong, judge finds support for the answer: the label may be wrong"),
    Mistake("label supported", "wrong, judge finds support for the label: it was in view and was misread"),
    Mistake("little support", "wrong, judge finds little support for answer or label"),
)
"""`python -m tests.bench.cell_words` measures of how many pictures these words and those of the cells are true."""


def cell(name: str | None) -> Cell:
    """The cell of that name; anything else is `not judged`."""
    return next((known for known in CELLS if known.name == name), NOT_JUDGED)


def said(cell_name: str | None, mistake_name: str | None = None) -> str:
    """What is said of one picture: the words of its kind of mistake, else those of its cell."""
    return next((kind.words for kind in MISTAKES if kind.name == mistake_name), cell(cell_name).words)
