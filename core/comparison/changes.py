"""Where two runs differ: each class, each slice and each confusion, in one false discovery rate.

A class or confusion is asked whether A and B differ there (exact sign-flip test, corrected for how much classes vary
anyway). A slice is asked whether it differs from the rest of the pictures, as far as there are enough disagreements
within the same classes: what follows from a class, or from one run being better everywhere, is no slice. Slices are
values of the metadata, and the lowest, middle or highest third of a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from core import queries
from core.columns import BY_NAME, PROPERTIES
from core.comparison.exact import LEAST, Signs, by_group, flip_p, paired_interval, spread_of, spread_p
from core.comparison.pairs import Pairs
from core.comparison.result import Change, Changes, Rest
from core.findings.frame import MOST_VALUES, NUMBERS, Frame, quoted
from core.findings.significance import RATE, adjusted, clustered_p, cross, excess_p, selected_z
from core.queries import identifier, literal
from core.statistics import format_number

MOST_LISTED = 400
PER_CLASS = 4
"""Disagreements per class from which slices are compared within classes."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Question:
    """Hits of A and of B, (n,), among the pictures of a mask."""

    kind: Literal["class", "slice", "confusion"]
    words: str
    condition: str
    mask: Mask
    hits_a: Mask
    hits_b: Mask

    def change(self, groups: Signs) -> Signs:
        """What each group changes, those that change nothing left out."""
        found = np.where(self.mask, self.hits_b.astype(np.int64) - self.hits_a.astype(np.int64), 0)
        return by_group(found, groups)


def changes(pairs: Pairs) -> Changes:
    """Every class, slice and confusion of two runs, those least likely by chance first."""
    questions = [*_classes(pairs), *_slices(pairs), *_confusions(pairs)]
    moves = [item.change(pairs.groups) for item in questions]
    # Which are asked depends on how many disagreements there are, not on whose they are: that costs nothing.
    asked = [place for place, move in enumerate(moves) if move.size >= LEAST]
    p_values = np.ones(len(questions))
    told = [place for place in asked if questions[place].kind == "class"]
    for place in asked:
        if questions[place].kind == "slice":
            p_values[place] = _apart_p(pairs, questions[place].mask)
            continue
        others = [moves[other] for other in told if other != place]
        spread = spread_of(others)
        p = flip_p(moves[place])
        p_values[place] = p if spread is None else spread_p(p, moves[place].size, spread)
    p_values[asked] = adjusted(p_values[asked].tolist())
    standing = int((p_values[asked] <= RATE).sum())
    z = selected_z(standing, len(asked)) if standing else selected_z(1, 1)
    listed = [_told(pairs, item, move, float(p), z) for item, move, p in zip(questions, moves, p_values, strict=True)]
    listed.sort(key=lambda item: (item.p, -abs(item.only_b - item.only_a), -item.n, item.words))
    kept = [item for item in listed if item.only_a or item.only_b]
    return Changes(len(asked), tuple(kept[:MOST_LISTED]), spread_of([moves[place] for place in told]))


def _apart_p(pairs: Pairs, inside: Mask) -> float:
    """Two-sided p-value that B has the same share of the disagreements inside and outside a slice.

    Within classes (see `core.findings.significance.excess_p`), unless there are too many of them; groups count once.
    """
    apart = pairs.change != 0
    names, codes = np.unique(pairs.labels[apart].astype(str), return_inverse=True)
    strata = np.zeros(pairs.n, dtype=np.int64)
    if int(apart.sum()) >= PER_CLASS * names.size:
        strata[apart] = codes
    sides = (pairs.change > 0, pairs.change < 0)
    if pairs.frame.grouped:
        p_values = [clustered_p(inside, hits, apart, strata, pairs.groups) for hits in sides]
    else:
        p_values = [excess_p(cross(inside, hits, apart, strata)) for hits in sides]
    return min(1.0, 2 * min(p_values))


def _told(pairs: Pairs, item: _Question, move: Signs, p: float, z: float) -> Change:
    a, b = item.hits_a & item.mask, item.hits_b & item.mask
    n = int(item.mask.sum())
    return Change(
        kind=item.kind,
        words=item.words,
        sql=pairs.sql(item.condition, "a.label = b.label", "a.correct IS DISTINCT FROM b.correct")
        if item.kind != "confusion"
        else pairs.sql(item.condition, "a.label = b.label"),
        n=n,
        a=int(a.sum()),
        b=int(b.sum()),
        only_a=int((a & ~b).sum()),
        only_b=int((b & ~a).sum()),
        rest=_rest(pairs, item) if item.kind == "slice" else None,
        difference=paired_interval(move, n, z=z),
        p=p,
        stands=p <= RATE,
    )


def _rest(pairs: Pairs, item: _Question) -> Rest:
    outside = pairs.labelled & ~item.mask
    return Rest(*(int(outside[hits].sum()) for hits in (slice(None), item.hits_a, item.hits_b)))


def _classes(pairs: Pairs) -> Iterator[_Question]:
    for label in sorted(set(pairs.labels[pairs.labelled])):
        mask = pairs.labelled & (pairs.labels == label)
        yield _right(pairs, "class", f"labelled {quoted(label)}", f"b.label = {literal(label)}", mask)


def _slices(pairs: Pairs) -> Iterator[_Question]:
    frame = pairs.frame
    kinds = [*queries.metadata_columns(frame.con), *((name, "FLOAT") for name in PROPERTIES if frame.has(name))]
    for name, kind in kinds:
        distinct = int(pc.count_distinct(frame.table[name], mode="only_valid").as_py())
        phrase = BY_NAME[name].phrase or name if name in BY_NAME else name
        if 2 <= distinct <= MOST_VALUES:
            found = _values(frame, name, phrase)
        elif NUMBERS.match(kind) and distinct > MOST_VALUES and name != "colour":
            found = _thirds(frame, name, phrase)
        else:
            continue
        for words, condition, inside in found:
            yield _right(pairs, "slice", words, condition, pairs.labelled & inside[pairs.places])


def _right(pairs: Pairs, kind: Literal["class", "slice"], words: str, condition: str, mask: Mask) -> _Question:
    return _Question(kind, words, condition, mask, pairs.side_a.right, pairs.side_b.right)


def _values(frame: Frame, name: str, phrase: str) -> Iterator[tuple[str, str, Mask]]:
    column = f"b.{identifier(name)}"
    for value in frame.values(name):
        yield f"{phrase} = {quoted(value)}", f"{column} = {literal(value)}", frame.is_value(name, value)


def _thirds(frame: Frame, name: str, phrase: str) -> Iterator[tuple[str, str, Mask]]:
    """Lowest, middle and highest third of a number, at borders that people can read."""
    column, numbers = identifier(name), frame.numbers(name)
    low, high = (float(f"{value:.3g}") for value in np.nanquantile(numbers, [1 / 3, 2 / 3]))
    if not low < high:
        return
    borders = [f"{{}} <= {low!r}", f"{{}} > {low!r} AND {{}} <= {high!r}", f"{{}} > {high!r}"]
    shown = format_number(low), format_number(high)
    words = [f"{phrase} ≤ {shown[0]}", f"{phrase} between {shown[0]} and {shown[1]}", f"{phrase} > {shown[1]}"]
    masks = frame.masks([text.replace("{}", column) for text in borders])
    for said, border, inside in zip(words, borders, masks, strict=True):
        yield said, border.replace("{}", f"b.{column}"), inside


def _confusions(pairs: Pairs) -> Iterator[_Question]:
    """Each label with each wrong answer that just one of the runs gives to LEAST pictures or more."""
    labels, a, b = pairs.labels, pairs.side_a.answers, pairs.side_b.answers
    moved = np.flatnonzero(pairs.labelled & (a != b))
    seen = Counter((labels[place], answer) for place in moved for answer in (a[place], b[place]))
    for (label, answer), n in sorted(seen.items()):
        if n >= LEAST and label != answer:
            words = f"{quoted(label)} called {quoted(answer)}"
            called = f"(a.prediction = {literal(answer)} OR b.prediction = {literal(answer)})"
            mask = pairs.labelled & (labels == label)
            condition = f"b.label = {literal(label)} AND {called}"
            yield _Question("confusion", words, condition, mask, a == answer, b == answer)
