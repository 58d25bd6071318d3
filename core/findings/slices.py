"""Groups of pictures where the classifier is wrong more often than it is on the same classes elsewhere.

Conditions on metadata and attention, alone, within one class, and up to three of them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import combinations
from operator import and_

import numpy as np

from core.columns import BY_NAME
from core.findings.asking import EVERY, LEAST_INSIDE, PROPOSE_P, Comparison, Question, promising
from core.findings.finding import Finding
from core.findings.frame import (
    ATTENTION,
    Condition,
    Frame,
    Mask,
    Places,
    attention_conditions,
    metadata_conditions,
    quoted,
)
from core.findings.significance import Table, cross
from core.queries import literal
from core.statistics import complement, format_spoken

MOST_EXTENDED = 30
"""Pairs that are tried with a third condition."""


@dataclass(frozen=True)
class Slice:
    """Pictures where all conditions hold, of one label or of any."""

    conditions: tuple[Condition, ...]
    label: str | None = None

    def mask(self, frame: Frame, part: Places | slice = EVERY) -> Mask:
        """Where it holds among pictures with a label and a prediction, of `part`. Shape (n,)."""
        own = frame.judgeable[part]
        if self.label is not None:
            own = own & (frame.codes("label")[part] == _place(frame, self.label))
        return reduce(and_, [own, *(item.mask[part] for item in self.conditions)])

    def comparisons(self, frame: Frame, part: Places | slice = EVERY) -> tuple[Comparison, ...]:
        """Against the same classes elsewhere; a conjunction against what each of its conditions leaves out."""
        inside = self.mask(frame, part)
        rests = combinations(self.conditions, len(self.conditions) - 1)
        around = [Slice(rest, self.label).mask(frame, part) for rest in rests]
        wrong, labels = frame.wrong[part], frame.classes[1][part]
        return tuple(Comparison(inside, wide & ~inside, wrong, labels) for wide in around)

    def first(self, frame: Frame, part: Places | slice) -> Comparison:
        """The first of its comparisons."""
        return self.comparisons(frame, part)[0]


def weak_slices(frame: Frame) -> list[Question]:
    """Questions about single conditions (asked of all pictures) and about what the proposing half suggests."""
    metadata, attention = metadata_conditions(frame), attention_conditions(frame)
    every = [*metadata, *attention]
    fixed = [Slice((item,)) for item in metadata if not item.ordered]
    questions = [_question(frame, item, frame.everything) for item in fixed]
    ranges = _proposed(frame, [Slice((item,)) for item in every if item.ordered])
    questions += [_question(frame, item, frame.confirming) for item in _best_ranges(frame, ranges)]
    usable = [item for item in every if not item.ordered] + [item.conditions[0] for item in _best_ranges(frame, ranges)]
    within = list(_within_classes(frame, [item for item in every if not item.ordered or _tail(item)]))
    questions += [_question(frame, item, frame.confirming) for item in _best_ranges(frame, _proposed(frame, within))]
    pairs = _proposed(frame, list(_conjunctions(usable)))
    triples = _proposed(frame, list(_extended(pairs[:MOST_EXTENDED], usable)))
    return questions + [_question(frame, item, frame.confirming) for item in (*pairs, *triples)]


def _within_classes(frame: Frame, conditions: Sequence[Condition]) -> Iterator[Slice]:
    """A class with one condition, where the proposing pictures show more mistakes than a glance can explain.

    The glance (difference of two rates above one and a half standard errors) spares a test for every class and value.
    """
    part = frame.proposing
    names, labels, _ = frame.classes
    known, wrong = frame.judgeable[part], frame.wrong[part]
    for item in conditions:
        table = cross(item.mask[part], wrong, known, labels[part])
        n1, n0 = np.maximum(table.inside, 1), np.maximum(table.outside, 1)
        both = (table.hits + table.rest_hits) / (n1 + n0)
        error = np.sqrt(np.maximum(both * (1 - both), 1e-12) * (1 / n1 + 1 / n0))
        glance = (table.hits / n1 - table.rest_hits / n0) / error
        for place in np.flatnonzero((glance > 1.5) & (table.inside >= LEAST_INSIDE) & (table.outside >= LEAST_INSIDE)):
            yield Slice((item,), names[int(place)])


def _place(frame: Frame, label: str) -> int:
    """The code of a label."""
    return frame.values("label").index(label)


def _tail(item: Condition) -> bool:
    return item.sql.count(" AND ") == 0


def _conjunctions(conditions: Sequence[Condition]) -> Iterator[Slice]:
    for first, second in combinations(conditions, 2):
        if first.column != second.column:
            yield Slice((first, second))


def _extended(pairs: Sequence[Slice], conditions: Sequence[Condition]) -> Iterator[Slice]:
    seen: set[frozenset[str]] = set()
    for pair in pairs:
        for item in conditions:
            key = frozenset([*(part.sql for part in pair.conditions), item.sql])
            if item.column not in {part.column for part in pair.conditions} and key not in seen:
                seen.add(key)
                yield Slice((*pair.conditions, item))


def _proposed(frame: Frame, slices: Sequence[Slice]) -> list[Slice]:
    """Those whose every comparison looks worse in the proposing half, best first."""
    kept: list[Slice] = []
    groups = frame.groups[frame.proposing] if frame.grouped else None
    for place in promising(frame, [partial(item.first, frame) for item in slices]):
        rest = slices[place].comparisons(frame, frame.proposing)[1:]
        if all(item.p_of_all(groups) < PROPOSE_P for item in rest):
            kept.append(slices[place])
    return kept


def _best_ranges(frame: Frame, slices: Sequence[Slice]) -> list[Slice]:
    """One range per column and label: overlapping ranges say the same thing. The input's order decides."""
    seen: set[tuple[str, str | None]] = set()
    kept: list[Slice] = []
    for item in slices:
        key = (item.conditions[0].column, item.label)
        if not item.conditions[0].ordered or key not in seen:
            kept.append(item)
            seen.add(key)
    return kept


def _question(frame: Frame, item: Slice, part: Places) -> Question:
    inside = item.mask(frame)
    own = frame.judgeable if item.label is None else frame.judgeable & frame.is_value("label", item.label)
    shown = Comparison(inside, own & ~inside, frame.wrong, frame.classes[1])
    cause = item.conditions[0] if len(item.conditions) == 1 and item.label is None else None
    attention = all(condition.column in ATTENTION for condition in item.conditions)
    return Question(
        "weak_slice", item.comparisons(frame), shown, part, partial(_weak_slice, frame, item),
        cause=cause,
        measured=any(condition.column in BY_NAME for condition in item.conditions),
        topic=f"where it looks: {item.label!r}" if attention else "",
    )  # fmt: skip


def _weak_slice(frame: Frame, item: Slice, table: Table, z: float) -> Finding:
    wrong, rest = table.intervals(z=z)
    place = " and ".join(condition.words for condition in item.conditions)
    who = f"Pictures labelled {quoted(item.label)} with {place}" if item.label is not None else f"Pictures with {place}"
    sentence = (
        f"{who} are classified correctly {format_spoken(1 - wrong.value)} of the time, against "
        f"{format_spoken(1 - rest.value)} of the same classes elsewhere."
        if item.label is None
        else f"{who} are classified correctly {format_spoken(1 - wrong.value)} of the time, the others "
        f"{format_spoken(1 - rest.value)}."
    )
    label = [f"label = {literal(item.label)}"] if item.label is not None else []
    sql = frame.select(*label, *(condition.sql for condition in item.conditions), "correct IS NOT NULL")
    here = " AND ".join(condition.sql for condition in item.conditions)
    contrast = frame.select(*label, f"({here}) IS NOT TRUE", "correct")
    n, value = int(item.mask(frame).sum()), complement(wrong)
    impact = n * (wrong.value - rest.value)
    return Finding("weak_slice", 0, sentence, value, complement(rest), sql, n, impact, contrast_sql=contrast)
