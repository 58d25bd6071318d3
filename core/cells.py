"""The four cells of correct x attention: what they are called and their colours, on pages and in reports alike."""

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


def cell(name: str | None) -> Cell:
    """The cell of that name; anything else is `not judged`."""
    return next((known for known in CELLS if known.name == name), NOT_JUDGED)
