"""Every column of `samples` as bars or a histogram: a slice against the rest of its run.

The columns of a run are read once, as small numbers; a slice then only counts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.columns import BY_NAME, PROPERTIES
from core.queries.reads import columns
from core.queries.rows import Connection
from core.store.quoting import identifier

Value = str | int | float | bool
YOURS = "Your columns"
GROUPS: dict[str, tuple[str, ...]] = {
    "Answer": ("label", "prediction", "correct", "confidence", "margin", "label_probability"),
    YOURS: (),
    "Judge": ("cell", "score", "mistake", "label_score", "score_entropy", "judge_state", "weight"),
    "Discovery": ("strategy", "detail", "cue"),
    "Picture": PROPERTIES,
    "Attention": tuple(name for name in BY_NAME if name.startswith(("attention", "causal"))),
}
"""The columns of `samples` as people think of them."""
NOT_SHOWN = ("run", "image_id", "path", "description", "justification", "tags", "map_x", "map_y", "words_x", "words_y")
"""Columns in which every picture is another; tags change while a generation stays, so the page counts them itself."""
MOST_VALUES = 2000
MOST_SHOWN = 40
FEW = 12
"""So many different numbers are values, more are a histogram."""
BINS = 20
_NUMBERS = ("FLOAT", "DOUBLE", "INTEGER", "BIGINT")


@dataclass(frozen=True)
class Bar:
    """A value, or None: not known, and how many pictures have it."""

    value: Value | None
    inside: int
    rest: int


@dataclass(frozen=True)
class Facet:
    """One column. A histogram has `edges`, one more than bars; of values the commonest of the run come first."""

    column: str
    group: str
    bars: tuple[Bar, ...]
    edges: tuple[float, ...] = ()
    more: int = 0
    """Values that are not among the bars."""
    whole: bool = False
    """Whether the edges are between whole numbers, so that a bin ends at the number below its upper edge."""


@dataclass(frozen=True)
class CodedColumn:
    """A column as numbers: which value or bin each picture has, -1 where it has none."""

    column: str
    group: str
    values: tuple[Value, ...]
    edges: tuple[float, ...]
    codes: NDArray[np.int16]  # (n,)
    whole: bool = False

    @property
    def places(self) -> int:
        """How many values or bins there are."""
        return len(self.edges) - 1 if self.edges else len(self.values)


@dataclass(frozen=True)
class CodedRun:
    """The columns of a run that can be counted."""

    image_ids: pa.Array
    columns: tuple[CodedColumn, ...]


def coded_run(con: Connection, run: str) -> CodedRun:
    """Reads the columns of a run; those that are empty, all the same or all different are left out."""
    named = [(name, kind) for name, kind in columns(con) if name not in NOT_SHOWN and _countable(kind)]
    wanted = ", ".join(identifier(name) for name in ("image_id", *(name for name, _ in named)))
    table = con.execute(f"SELECT {wanted} FROM samples WHERE run = ?", [run]).to_arrow_table()
    groups = {name: group for group, names in GROUPS.items() for name in names}
    found = []
    for place, (name, kind) in enumerate(named):
        array = table.column(place + 1).combine_chunks()
        coded = _coded(name, groups.get(name, YOURS), array, kind)
        if coded is not None:
            found.append(coded)
    order = list(GROUPS)
    found.sort(key=lambda column: (order.index(column.group), _place(column)))
    return CodedRun(table.column(0).combine_chunks(), tuple(found))


def facets(coded: CodedRun, ids: Sequence[str] | None) -> list[Facet]:
    """Counts every column of a run for the pictures of a slice and for the others; None is the whole run."""
    inside = _inside(coded, ids)
    return [_counted(column, inside) for column in coded.columns]


@dataclass(frozen=True)
class GroupCount:
    """The pictures of one value or bin of a column: in the run, in a slice, of those with a label, of those right."""

    words: str
    whole: int
    inside: int
    labelled: int
    right: int


def groups(coded: CodedRun, ids: Sequence[str], name: str) -> list[GroupCount]:
    """A slice grouped by a column: bins in their order, values with the largest group first; empty groups left out."""
    column = next(item for item in coded.columns if item.column == name)
    inside = _inside(coded, ids)
    known = np.zeros(len(inside), dtype=np.bool_)
    right = known
    if (correct := next((item for item in coded.columns if item.column == "correct"), None)) is not None:
        known, right = correct.codes >= 0, correct.codes == correct.values.index(True)
    masks = (np.ones(len(inside), dtype=np.bool_), inside, inside & known, inside & right)
    counts = [np.bincount(column.codes[mask] + 1, minlength=column.places + 1).tolist() for mask in masks]
    rows = [GroupCount(words, *(count[at] for count in counts)) for at, words in enumerate(_names(column))]
    kept = [row for row in (*rows[1:], rows[0]) if row.inside]
    return kept if column.edges else sorted(kept, key=lambda row: -row.inside)


def _names(column: CodedColumn) -> list[str]:
    """In words: not known, then each value or bin."""
    less = 1 if column.whole else 0
    bins = [f"{low:g} to {high - less:g}" for low, high in pairwise(column.edges)]
    said = {True: "true", False: "false"}
    values = [said[item] if isinstance(item, bool) else str(item) for item in column.values]
    return ["not known", *(bins or values)]


def _inside(coded: CodedRun, ids: Sequence[str] | None) -> NDArray[np.bool_]:
    if ids is None:
        return np.ones(len(coded.image_ids), dtype=np.bool_)
    return np.asarray(pc.is_in(coded.image_ids, value_set=pa.array(ids, pa.string())))


def _counted(column: CodedColumn, inside: NDArray[np.bool_]) -> Facet:
    both = np.bincount(column.codes + 1, minlength=column.places + 1)
    here = np.bincount(column.codes[inside] + 1, minlength=column.places + 1)
    unknown = (Bar(None, int(here[0]), int(both[0] - here[0])),) if both[0] else ()
    here, rest = here[1:], both[1:] - here[1:]
    if column.edges:
        bars = tuple(Bar(None, int(here[at]), int(rest[at])) for at in range(column.places))
        return Facet(column.column, column.group, (*bars, *unknown), column.edges, whole=column.whole)
    order = np.arange(column.places)
    if any(isinstance(value, str) for value in column.values):  # numbers keep their order
        order = np.argsort(-(here + rest), kind="stable")  # of the run, so that no bar moves away under the pointer
    shown = order[:MOST_SHOWN]
    bars = tuple(Bar(column.values[at], int(here[at]), int(rest[at])) for at in shown)
    return Facet(column.column, column.group, (*bars, *unknown), more=column.places - len(shown))


def _countable(kind: str) -> bool:
    return kind in ("VARCHAR", "BOOLEAN", *_NUMBERS)


def _place(column: CodedColumn) -> int:
    known = GROUPS[column.group]
    return known.index(column.column) if column.column in known else len(known)


def _coded(name: str, group: str, array: pa.Array, kind: str) -> CodedColumn | None:
    """A column as codes; None where it tells no pictures apart."""
    if kind in ("FLOAT", "DOUBLE"):
        array = pc.if_else(pc.is_finite(array), array, None)
    if kind == "FLOAT":  # a decimal in SQL need not equal the FLOAT that it was read from, so these are never values
        least, most = pc.min_max(array).values()
        alone = least.as_py() is None or (least == most and not array.null_count)
        return None if alone else _binned(name, group, array, whole=False)
    encoded = array.dictionary_encode()
    different = len(encoded.dictionary)
    if different < 2 and not (different and array.null_count):
        return None
    if kind in _NUMBERS and different > FEW:
        return _binned(name, group, array, whole=pa.types.is_integer(array.type))
    if different > MOST_VALUES or different > max(FEW, len(array) // 2):
        return None
    values: list[Value] = encoded.dictionary.to_pylist()
    order = sorted(range(different), key=lambda at: values[at])
    place = np.empty(different + 1, dtype=np.int16)
    place[order] = np.arange(different)
    place[-1] = -1
    codes = place[np.asarray(encoded.indices.fill_null(different))]
    return CodedColumn(name, group, tuple(values[at] for at in order), (), codes)


def _binned(name: str, group: str, array: pa.Array, *, whole: bool) -> CodedColumn:
    """Numbers in bins between round edges; an edge belongs to the bin above it, the last one also to that below."""
    known = np.asarray(array.is_valid())
    numbers = np.asarray(array.fill_null(0).cast(pa.float64(), safe=False))
    edges = round_edges(float(numbers[known].min()), float(numbers[known].max()), whole=whole)
    places = np.clip(np.searchsorted(np.asarray(edges), numbers, side="right") - 1, 0, len(edges) - 2)
    codes = np.where(known, places, -1).astype(np.int16)
    return CodedColumn(name, group, (), edges, codes, whole)


def round_edges(low: float, high: float, *, whole: bool = False, bins: int = BINS) -> tuple[float, ...]:
    """At most `bins` + 2 equal bins from `low` to `high` whose edges are short decimals."""
    raw = (high - low) / bins
    power = math.floor(math.log10(raw)) if raw > 0 else 0
    step = next(unit for unit in (1, 2, 5, 10) if unit * 10.0**power >= raw * (1 - 1e-9)) * 10.0**power
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step), math.floor(high / step) + 1 if whole else math.ceil(high / step)
    digits = max(0, -math.floor(math.log10(step)))
    return tuple(round(at * step, digits) for at in range(first, max(last, first + 1) + 1))
