"""What a slice is worth that a person tries: how many were tried before it, and what a difference would have to be."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import streamlit as st

from core import queries
from core.errors import StoreError
from pages._shared import members, read, read_only, store, store_folder
from pages._words import plain, slice_sql

if TYPE_CHECKING:
    from core.findings.frame import Mask
    from core.findings.looks import Look

ANSWERS = re.compile(r"\b(cell|correct|prediction|label_probability)\b(?!\s+is\s+not\s+null)", re.IGNORECASE)
"""Columns that hold the answer itself: a slice by them differs by definition."""
HELP = (
    "Every slice you try is one more chance to be fooled, so the bar rises with each: over all of them, a difference "
    "that is chance stands at most one time in twenty. Copies of a picture count once. The report counts its own."
)


def by_answer(text: str) -> bool:
    """Whether a query chooses its pictures by the answer itself."""
    chosen = re.split(r"\b(?:where|order\s+by)\b", text, maxsplit=1, flags=re.IGNORECASE)[1:]
    return any(ANSWERS.search(part) for part in chosen)


def looks(run: str, text: str, ids: tuple[str, ...]) -> None:
    """Counts the slice, once, and says quietly what its difference from the rest is worth."""
    if by_answer(text) or read_only() or len(ids) == read(queries.run_counts, run).pictures:  # no rest to differ from
        return
    held = _held(str(store_folder()), store().generation(), run, hash(ids), ids)
    if held is None:
        return
    try:
        if _plain(text) in _written(run):
            return
        number = store().keep_look(run, held[1])
    except StoreError as problem:
        st.caption(f"Not counted as a look: {plain(problem)}")
        return
    found = _look(str(store_folder()), store().generation(), run, held[1], number, held[0])
    st.caption(f"{ordinal(number)} slice tried on this run. {_verdict(found)}", help=HELP)


@st.cache_resource(max_entries=16, show_spinner=False)
def _held(folder: str, generation: int, run: str, mark: int, _ids: tuple[str, ...]) -> tuple[Mask, str] | None:
    """Which pictures a slice holds, and its key; None where it has no rest, or is one."""
    from core.findings import looks as measure  # here: scipy need not be loaded before the first picture

    mask = measure.inside(members(run), _ids)
    return (mask, measure.slice_key(mask)) if mask.any() and not mask.all() else None


@st.cache_resource(max_entries=16, show_spinner=False)
def _look(folder: str, generation: int, run: str, key: str, number: int, _mask: Mask) -> Look:
    from core.findings import looks as measure

    return measure.look(members(run), _mask, number=number)


def _written(run: str) -> set[str]:
    """Queries that the program wrote itself, for a finding or a cue: nobody tried them."""
    own = {_plain(slice_sql(run, f"({cue.sql})")) for cue in read(queries.cues, run)}
    return own | {_plain(str(row["sql"])) for row in store().findings(run)}


def _plain(text: str) -> str:
    """A query without its layout."""
    return " ".join(text.split())


def _verdict(found: Look) -> str:
    if found.needed is None:
        return "At this many looks no difference of so few pictures could stand."
    points, bar = round(100 * abs(found.difference)), math.ceil(100 * found.needed - 1e-9)
    stands, unit = "stands" if found.stands else "does not", "point" if bar == 1 else "points"
    return (
        f"To stand at this many looks, a difference would have to be {bar} {unit}; this one is {points} and {stands}."
    )


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{last}"
