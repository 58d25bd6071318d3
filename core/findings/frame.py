"""A run's samples as columns, and conditions on them that are SQL, words and a mask at once."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core import queries
from core.columns import BY_NAME
from core.queries import Connection, identifier, literal
from core.records import HIGH_SCORE
from core.statistics import format_number

Mask = NDArray[np.bool_]
MOST_VALUES = 24
"""A metadata column with more distinct values than this is read as numbers, or not at all."""
ATTENTION = ("attention_area", "attention_entropy", "attention_border")
"""Attention statistics that may describe a slice. The causal drop is none: where the classifier is unsure it
has little to lose, so a small drop says again that mistakes are unsure."""
QUANTILES = (0.2, 0.8)
NUMBERS = re.compile(r"^(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|FLOAT|DOUBLE|DECIMAL.*|U[A-Z]*INT)$")


@dataclass(frozen=True)
class Condition:
    """Where it holds (n,), its SQL, and how a sentence says it. `column` keeps it from meeting itself."""

    column: str
    sql: str
    words: str
    mask: Mask


@dataclass(frozen=True)
class Frame:
    """Columns of one run's samples, all of length n and in one order."""

    con: Connection
    run: str
    columns: dict[str, NDArray[np.object_]]
    half: Mask
    """True for the pictures that propose, False for those that confirm; by picture, so the same in every run."""
    high_score: float = HIGH_SCORE
    """From which score on attention is high in this run."""

    @property
    def n(self) -> int:
        """Pictures in the run."""
        return int(self.half.size)

    @property
    def judgeable(self) -> Mask:
        """Pictures with a label and a prediction."""
        return np.asarray([value is not None for value in self.columns["correct"]], dtype=bool)

    @property
    def correct(self) -> Mask:
        """Answered right."""
        return np.asarray([value is True for value in self.columns["correct"]], dtype=bool)

    @property
    def wrong(self) -> Mask:
        """Answered wrong."""
        return self.judgeable & ~self.correct

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column as float64 with NaN for NULL, shape (n,)."""
        return np.asarray(
            [np.nan if value is None else float(value) for value in self.columns[column]], dtype=np.float64
        )

    def is_value(self, column: str, value: object) -> Mask:
        """Where a column has a value."""
        return np.asarray(self.columns[column] == value, dtype=bool)

    def values(self, column: str) -> list[object]:
        """Distinct values, commonest first, without NULL."""
        found: dict[object, int] = {}
        for value in self.columns[column]:
            if value is not None:
                found[value] = found.get(value, 0) + 1
        return sorted(found, key=lambda value: (-found[value], str(value)))

    def names(self, column: str) -> list[str]:
        """Distinct values of a column of texts, commonest first, without NULL."""
        return [str(value) for value in self.values(column)]

    def select(self, *conditions: str) -> str:
        """The SELECT that gives exactly the pictures of the run where all conditions hold."""
        return " AND ".join([f"SELECT * FROM samples WHERE run = {literal(self.run)}", *conditions])

    def masks(self, conditions: Sequence[str]) -> list[Mask]:
        """Where each SQL condition holds, as DuckDB sees it: sentence and query can never disagree."""
        if not conditions:
            return []
        wanted = ", ".join(f"coalesce(({sql}), false)" for sql in conditions)
        rows = self.con.execute(f"SELECT {wanted} FROM samples WHERE run = ? ORDER BY image_id", [self.run]).fetchall()
        return list(np.asarray(rows, dtype=bool).reshape(self.n, len(conditions)).T)


def load(con: Connection, run: str) -> Frame:
    """Everything but the texts of one run."""
    result = con.execute(
        "SELECT * EXCLUDE (run, path, description, justification) FROM samples WHERE run = ? ORDER BY image_id", [run]
    )
    names = [str(column[0]) for column in result.description or []]
    rows = result.fetchall()
    columns: dict[str, NDArray[np.object_]] = {}
    for place, name in enumerate(names):
        column = np.empty(len(rows), dtype=object)
        column[:] = [row[place] for row in rows]
        columns[name] = column
    half = np.asarray([zlib.crc32(str(image_id).encode()) % 2 == 0 for image_id in columns["image_id"]], dtype=bool)
    high = con.execute("SELECT high_score FROM runs WHERE run = ?", [run]).fetchall()
    return Frame(con, run, columns, half, high[0][0] if high and high[0][0] is not None else HIGH_SCORE)


def quoted(value: object) -> str:
    """A value inside a sentence."""
    return f"“{value}”" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def metadata_conditions(frame: Frame) -> list[Condition]:
    """Conditions on the user's metadata: each common value, and the low and high fifth of numbers."""
    found: list[tuple[str, str, str]] = []
    for name, kind in queries.metadata_columns(frame.con):
        values = frame.values(name)
        column = identifier(name)
        if len(values) < 2:
            continue
        if len(values) <= MOST_VALUES:
            found += [(name, f"{column} = {literal(value)}", f"{name} = {quoted(value)}") for value in values]
        elif NUMBERS.match(kind):
            found += _tails(frame, name, column, name)
    return _with_masks(frame, found)


def attention_conditions(frame: Frame) -> list[Condition]:
    """Conditions on where and how widely the classifier looked."""
    return _with_masks(frame, [item for name in ATTENTION for item in _tails(frame, name, name, BY_NAME[name].phrase)])


def _tails(frame: Frame, name: str, column: str, words: str) -> list[tuple[str, str, str]]:
    """The lowest and the highest fifth of a numeric column, at thresholds people can read."""
    numbers = frame.numbers(name)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size < 20 or float(np.ptp(numbers)) == 0:
        return []
    low, high = (float(f"{value:.3g}") for value in np.quantile(numbers, QUANTILES))
    return [
        (name, f"{column} <= {low!r}", f"{words} ≤ {format_number(low)}"),
        (name, f"{column} >= {high!r}", f"{words} ≥ {format_number(high)}"),
    ]


def _with_masks(frame: Frame, found: Sequence[tuple[str, str, str]]) -> list[Condition]:
    masks = frame.masks([sql for _, sql, _ in found])
    conditions = [Condition(*item, mask) for item, mask in zip(found, masks, strict=True)]
    return [item for item in conditions if item.mask.any() and not item.mask.all()]
