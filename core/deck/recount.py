"""The numbers of a slide, counted again in a store by the slide's own queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from typing import TypeVar

from core.deck.keep import Ask, figure
from core.deck.slide import Grid, Slide
from core.deck.tables import bars
from core.errors import WhylookError
from core.statistics import format_number, format_percent, format_spoken

_Part = TypeVar("_Part")


def recounted(ask: Ask, slide: Slide) -> tuple[Slide, tuple[str, ...]]:
    """The slide with the numbers of the store; and what could not be counted, in words."""
    problems: list[str] = []

    def attempt(name: str, part: _Part, count: Callable[[_Part], _Part]) -> _Part:
        try:
            return count(part)
        except WhylookError as problem:
            problems.append(f"{name} cannot be counted again: {problem}")
            return part

    figures = tuple(
        attempt(f"figure {place}", item, lambda item: figure(ask, item.words, item.measure, item.sql))
        for place, item in enumerate(slide.figures, start=1)
    )
    drawn = slide.bars and attempt("the chart", slide.bars, lambda item: bars(ask, item.heading, item.sql))
    grid = slide.grid and attempt("the table", slide.grid, lambda item: _grid(ask, item))
    return replace(slide, figures=figures, bars=drawn, grid=grid), tuple(problems)


def _grid(ask: Ask, grid: Grid) -> Grid:
    """The table with each cell counted again, in the form in which it was written."""
    rows = [tuple(row.values()) for row in ask(grid.sql).table.to_pylist()]
    told = zip(rows, [*grid.rows, *[()] * len(rows)], strict=False)  # what is written beyond the rows falls away
    cells = (tuple(_cell(value, was or "") for value, was in zip_longest(row, old)) for row, old in told)
    return Grid(grid.head, tuple(cells), grid.sql)


def _cell(value: object, was: str) -> str:
    """A value in the form in which it was written; where it is another value, as a plain number."""
    if value is None:
        return was if was in ("", "–", "not known", "0%") else "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    forms = [f"{value:,}", str(value), format_number(value)]
    forms += [format_percent(value), format_spoken(value)] if isinstance(value, float) and 0 <= value <= 1 else []
    if was in forms:
        return was
    return forms[3] if was.endswith("%") and len(forms) > 3 else forms[0]
