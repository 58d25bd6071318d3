"""A run's samples as columns, and conditions on them that are SQL, words and a mask at once.

Columns are dictionary-encoded, so that counting is arithmetic on whole numbers whatever people store in them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core import queries
from core.columns import BY_NAME, PROPERTIES
from core.findings.groups import groups_of
from core.queries import Connection, identifier, literal
from core.statistics import format_number

Mask = NDArray[np.bool_]
Codes = NDArray[np.int64]
Places = NDArray[np.intp]
ENOUGH = 20_000
"""Pictures that propose at most: what no one sees among these is too small to matter."""
MOST_VALUES = 24
"""A metadata column with more distinct values than this is read as numbers, or not at all."""
LEAST_VALUE = 10
"""Pictures that a value needs to become a condition."""
ATTENTION = ("attention_area", "attention_entropy", "attention_border", "attention_x", "attention_y")
"""Attention statistics that may describe a slice. The causal drop is none: where the classifier is unsure it
has little to lose, so a small drop says again that mistakes are unsure."""
DECILES = tuple(place / 10 for place in range(1, 10))
NUMBERS = re.compile(r"^(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|FLOAT|DOUBLE|DECIMAL.*|U[A-Z]*INT)$")


@dataclass(frozen=True)
class Condition:
    """Where it holds (n,), its SQL, and how a sentence says it. `column` keeps it from meeting itself.

    `ordered` conditions are ranges of numbers, of which the best is searched for; the others were there beforehand.
    """

    column: str
    sql: str
    words: str
    mask: Mask
    ordered: bool = False


@dataclass(frozen=True)
class Frame:
    """Columns of one run's samples, all of length n and in the order of `image_id`."""

    con: Connection
    run: str
    table: pa.Table
    half: Mask
    """True for the pictures that propose, False for those that confirm; by group, so the same in every run."""
    groups: Codes
    """Which pictures are copies of each other or belong together: tests count groups, not pictures."""
    _encoded: dict[str, tuple[Codes, list[Any]]] = field(default_factory=dict, repr=False, compare=False)

    def has(self, column: str) -> bool:
        """Whether there is such a column with anything in it: older generations lack some."""
        return column in self.table.column_names and self.table[column].null_count < self.table.num_rows

    @property
    def n(self) -> int:
        """Pictures in the run."""
        return int(self.half.size)

    @cached_property
    def judgeable(self) -> Mask:
        """Pictures with a label and a prediction."""
        return np.asarray(pc.is_valid(self.table["correct"]).to_numpy(), dtype=bool)

    @cached_property
    def correct(self) -> Mask:
        """Classified correctly."""
        return np.asarray(pc.fill_null(self.table["correct"], False).to_numpy(), dtype=bool)

    @cached_property
    def wrong(self) -> Mask:
        """Classified wrongly."""
        return self.judgeable & ~self.correct

    @cached_property
    def everything(self) -> Places:
        """Places of all pictures, (n,)."""
        return np.arange(self.n)

    @cached_property
    def proposing(self) -> Places:
        """Places of the pictures that suggest what to ask; the image ids' order is a random one."""
        return np.flatnonzero(self.half)[:ENOUGH]

    @cached_property
    def confirming(self) -> Places:
        """Places of the pictures that are asked what the others suggested."""
        return np.flatnonzero(~self.half)

    @cached_property
    def grouped(self) -> bool:
        """Whether any two pictures belong together."""
        return int(self.groups.max(initial=-1)) + 1 < self.n

    def codes(self, column: str) -> Codes:
        """Which of `values` each picture has, shape (n,); -1 for NULL."""
        return self._encode(column)[0]

    def values(self, column: str) -> list[Any]:
        """Distinct values, commonest first, without NULL."""
        return self._encode(column)[1]

    def _encode(self, column: str) -> tuple[Codes, list[Any]]:
        if column not in self._encoded:
            encoded = self.table[column].combine_chunks().dictionary_encode()
            codes = np.asarray(pc.fill_null(encoded.indices, -1).to_numpy(), dtype=np.int64)
            words = encoded.dictionary.to_pylist()
            counts = np.bincount(codes[codes >= 0], minlength=len(words))
            order = sorted(range(len(words)), key=lambda place: (-counts[place], str(words[place])))
            place_of = np.full(len(words) + 1, -1, dtype=np.int64)  # the last one stands for NULL
            place_of[order] = np.arange(len(words))
            self._encoded[column] = place_of[codes], [words[place] for place in order]
        return self._encoded[column]

    @cached_property
    def classes(self) -> tuple[list[str], Codes, Codes]:
        """Names of all classes, and label and prediction of each picture as places in them (-1 for NULL)."""
        names = self.values("label")
        names = names + [name for name in self.values("prediction") if name not in set(names)]
        place = {name: index for index, name in enumerate(names)}
        coded = [
            np.asarray([*(place[name] for name in self.values(column)), -1])[self.codes(column)]
            for column in ("label", "prediction")
        ]
        return names, coded[0], coded[1]

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column as float64 with NaN for NULL, shape (n,)."""
        return np.asarray(pc.cast(self.table[column], pa.float64(), safe=False).to_numpy(), dtype=np.float64)

    def is_value(self, column: str, value: object) -> Mask:
        """Where a column has a value."""
        codes, values = self._encode(column)
        return np.asarray(codes == values.index(value) if value in values else np.zeros(self.n), dtype=bool)

    def select(self, *conditions: str) -> str:
        """The SELECT that gives exactly the pictures of the run where all conditions hold."""
        return " AND ".join([f"SELECT * FROM samples WHERE run = {literal(self.run)}", *conditions])

    def masks(self, conditions: Sequence[str]) -> list[Mask]:
        """Where each SQL condition holds, as DuckDB sees it: sentence and query can never disagree."""
        if not conditions:
            return []
        wanted = ", ".join(f"coalesce(({sql}), false) AS m{place}" for place, sql in enumerate(conditions))
        found = self.con.execute(
            f"SELECT {wanted} FROM samples WHERE run = ? ORDER BY image_id", [self.run]
        ).fetchnumpy()
        return [np.asarray(found[f"m{place}"], dtype=bool) for place in range(len(conditions))]


def load(con: Connection, run: str, *, group: str | None = None) -> Frame:
    """Everything but the texts of one run; pictures with the same value of the metadata column `group` belong together.

    Raises:
        QueryError: There is no such column.
    """
    table = con.execute(
        "SELECT * EXCLUDE (run, path, description, justification) FROM samples WHERE run = ? ORDER BY image_id", [run]
    ).to_arrow_table()
    groups = groups_of(con, run, table.num_rows, group=group)
    first = np.unique(groups, return_index=True)[1]
    images = table["image_id"].to_pylist()
    side = np.asarray([zlib.crc32(str(images[place]).encode()) % 2 == 0 for place in first], dtype=bool)
    return Frame(con, run, table, side[groups] if table.num_rows else side, groups)


def quoted(value: object) -> str:
    """A value inside a sentence."""
    return f"“{value}”" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def metadata_conditions(frame: Frame) -> list[Condition]:
    """Conditions on the user's metadata: each common value, and ranges of numbers between deciles."""
    found: list[Condition] = []
    for name, kind in queries.metadata_columns(frame.con):
        column = identifier(name)
        distinct = pc.count_distinct(frame.table[name], mode="only_valid").as_py()
        if distinct < 2:
            continue
        if distinct <= MOST_VALUES:
            found += _values(frame, name, name)
        elif NUMBERS.match(kind):
            found += _ranges(frame, name, column, name)
    return _useful(found)


def attention_conditions(frame: Frame) -> list[Condition]:
    """Conditions on where and how widely the classifier looked, and on what the picture is like as a whole."""
    numbers = [name for name in (*ATTENTION, *PROPERTIES) if name != "colour" and frame.has(name)]
    found = [item for name in numbers for item in _ranges(frame, name, name, BY_NAME[name].phrase)]
    if frame.has("colour"):
        found += _values(frame, "colour", "the commonest colour")
    return _useful(found)


def _values(frame: Frame, name: str, words: str) -> list[Condition]:
    codes, column = frame.codes(name), identifier(name)
    return [
        Condition(name, f"{column} = {literal(value)}", f"{words} = {quoted(value)}", codes == place)
        for place, value in enumerate(frame.values(name))
    ]


def _ranges(frame: Frame, name: str, column: str, words: str) -> list[Condition]:
    """Every range between two deciles that holds at most half of the pictures, at thresholds people can read."""
    numbers = frame.numbers(name)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size < 20 or float(np.ptp(numbers)) == 0:
        return []
    borders = sorted({float(f"{value:.3g}") for value in np.quantile(numbers, DECILES)})
    at_most = [f"{column} <= {border!r}" for border in borders]
    masks = frame.masks([*at_most, f"{column} IS NOT NULL"])
    known, below = masks[-1], masks[:-1]
    found: list[Condition] = []
    for low in range(-1, len(borders)):
        for high in range(low + 1, len(borders) + 1):
            if low == -1 and high == len(borders):
                continue
            inside = (below[high] if high < len(borders) else known) & ~(below[low] if low >= 0 else ~known)
            if 2 * np.count_nonzero(inside) > inside.size:  # the other half is the smaller thing to look at
                continue
            over = [] if low < 0 else [f"{column} > {borders[low]!r}"]
            under = [] if high == len(borders) else [at_most[high]]
            says = (
                f"{words} > {format_number(borders[low])}"
                if not under
                else f"{words} ≤ {format_number(borders[high])}"
                if not over
                else f"{words} between {format_number(borders[low])} and {format_number(borders[high])}"
            )
            found.append(Condition(name, " AND ".join([*over, *under]), says, inside, ordered=True))
    return found


def _useful(conditions: Sequence[Condition]) -> list[Condition]:
    """Those that divide the pictures into two parts of which one may say something."""
    sizes = [int(item.mask.sum()) for item in conditions]
    return [
        item
        for item, size in zip(conditions, sizes, strict=True)
        if LEAST_VALUE <= size <= item.mask.size - LEAST_VALUE
    ]
