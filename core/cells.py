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
    Cell("correct_low", "right, judge finds no support", "#E69F00"),
    Cell("wrong_high", "wrong, judge finds support", "#CC79A7"),
    Cell("wrong_low", "wrong, judge finds no support", "#0072B2"),
)
"""In their usual order. Colours are Okabe and Ito's, which colour-blind people can tell apart."""
NOT_JUDGED = Cell("", "not judged", GREY)


@dataclass(frozen=True)
class Mistake:
    """One kind of wrong answer: its name in column `mistake` of `samples`, and what the judge found, in words."""

    name: str
    words: str


MISTAKES: tuple[Mistake, ...] = (
    Mistake("answer in view", "the judge finds support for the answer, so the label may be wrong"),
    Mistake("label in view", "the judge finds support for the label, not for the answer"),
    Mistake("neither", "the judge finds support neither for the answer nor for the label"),
)


def cell(name: str | None) -> Cell:
    """The cell of that name; anything else is `not judged`."""
    return next((known for known in CELLS if known.name == name), NOT_JUDGED)


def mistake(name: str | None) -> Mistake | None:
    """The kind of wrong answer of that name; None for anything else."""
    return next((known for known in MISTAKES if known.name == name), None)
