"""Weak slices and context shortcuts: proposed on one half of the pictures, confirmed on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from core.findings.finding import Finding
from core.findings.frame import Condition, Frame, Mask, attention_conditions, metadata_conditions, quoted
from core.findings.significance import benjamini_hochberg, two_proportion
from core.queries import literal
from core.statistics import Interval, format_rate, wilson

LEAST_PICTURES = 8
"""Pictures that a slice needs in each half."""
PROPOSE_P = 0.05
MOST_PROPOSALS = 200
SAME = 0.5
"""Two slices that share this part of their mistakes are one; the better one stays."""
MOST_SLICES = 6
MOST_SHORTCUTS = 5


@dataclass(frozen=True)
class Candidate:
    """Pictures `inside` against `outside`; `hits` are what is counted in both (mistakes, or answers of one class)."""

    conditions: tuple[Condition, ...]
    inside: Mask
    outside: tuple[Mask, ...]
    label: str | None = None


def weak_slices(frame: Frame) -> list[Finding]:
    """Combinations of label, metadata and attention where mistakes are commoner than where either part holds alone."""
    metadata, attention = metadata_conditions(frame), attention_conditions(frame)
    candidates = list(_candidates(frame, metadata, attention))
    kept = confirmed(candidates, frame.wrong, frame.half)
    return [_weak_slice(frame, item) for item in distinct(kept, frame.wrong)[:MOST_SLICES]]


def _candidates(frame: Frame, metadata: Sequence[Condition], attention: Sequence[Condition]) -> Iterator[Candidate]:
    """Single conditions, a label with one condition, and pairs of metadata conditions."""
    known = frame.judgeable
    for item in (*metadata, *attention):
        yield Candidate((item,), known & item.mask, (known & ~item.mask,))
    for label in frame.names("label"):
        own = known & frame.is_value("label", label)
        for item in (*metadata, *attention):
            yield Candidate((item,), own & item.mask, (own & ~item.mask,), label)
    for first, second in combinations(metadata, 2):
        if first.column != second.column:
            inside = known & first.mask & second.mask
            yield Candidate((first, second), inside, (known & first.mask & ~inside, known & second.mask & ~inside))


def confirmed(candidates: Sequence[Candidate], hits: Mask, half: Mask) -> list[Candidate]:
    """Those that stand in the half that did not propose them, at a false discovery rate of 5%."""
    proposed: list[tuple[float, Candidate]] = []
    for item in candidates:
        sizes = [int((item.inside & side).sum()) for side in (half, ~half)]
        if min(sizes) >= LEAST_PICTURES and (p := excess_p(item, hits, half)) < PROPOSE_P:
            proposed.append((p, item))
    proposed.sort(key=lambda pair: pair[0])
    best = [item for _, item in proposed[:MOST_PROPOSALS]]
    stands = benjamini_hochberg([excess_p(item, hits, ~half) for item in best])
    return [item for item, stand in zip(best, stands, strict=True) if stand]


def excess_p(item: Candidate, hits: Mask, side: Mask) -> float:
    """The largest p-value against any of its comparisons; 1 where the inside is not the worse one."""
    k, n = int((item.inside & hits & side).sum()), int((item.inside & side).sum())
    worst = 0.0
    for outside in item.outside:
        rest_k, rest_n = int((outside & hits & side).sum()), int((outside & side).sum())
        if n == 0 or rest_n == 0 or k / n <= rest_k / rest_n:
            return 1.0
        worst = max(worst, two_proportion(k, n, rest_k, rest_n))
    return worst


def excess(item: Candidate, hits: Mask) -> float:
    """How many more hits there are inside than at the rate of the harshest comparison, of a confirmed candidate."""
    k, n = int((item.inside & hits).sum()), int(item.inside.sum())
    return k - n * max(float(hits[outside].mean()) for outside in item.outside)


def distinct(candidates: Sequence[Candidate], hits: Mask) -> list[Candidate]:
    """Confirmed candidates, best first, without near copies of a better one."""
    kept: list[tuple[Mask, Candidate]] = []
    for item in sorted(candidates, key=lambda candidate: -excess(candidate, hits)):
        mistakes = item.inside & hits
        overlaps = [int((mistakes & other).sum()) / min(int(mistakes.sum()), int(other.sum())) for other, _ in kept]
        if max(overlaps, default=0.0) < SAME:
            kept.append((mistakes, item))
    return [item for _, item in kept]


def rates(item: Candidate, hits: Mask) -> tuple[Interval, Interval]:
    """Rate of hits inside and in all that it is compared with."""
    outside = np.logical_or.reduce(item.outside)
    return (
        wilson(int((item.inside & hits).sum()), int(item.inside.sum())),
        wilson(int((outside & hits).sum()), int(outside.sum())),
    )


def _weak_slice(frame: Frame, item: Candidate) -> Finding:
    value, rest = rates(item, frame.correct)
    place = " and ".join(condition.words for condition in item.conditions)
    who = f"Pictures labelled {quoted(item.label)} with {place}" if item.label is not None else f"Pictures with {place}"
    whom = f"the other {quoted(item.label)} pictures" if item.label is not None else "the other pictures"
    sentence = f"{who} are classified correctly in only {format_rate(value)}, against {format_rate(rest)} of {whom}."
    label = [f"label = {literal(item.label)}"] if item.label is not None else []
    sql = frame.select(*label, *(condition.sql for condition in item.conditions), "correct IS NOT NULL")
    return Finding("weak_slice", 0, sentence, value, rest, sql, value.n, excess(item, frame.wrong))


def context_shortcuts(frame: Frame) -> list[Finding]:
    """Metadata values that pull other classes towards one answer: the model may read the context, not the object.

    An association, so a suspicion only: reported where other classes are given that answer more often inside the
    context, where that is neither one look-alike class nor a context in which every answer is worse, and where the
    class itself is recognised no less often.
    """
    metadata = metadata_conditions(frame)
    found: list[tuple[float, Finding]] = []
    candidates: dict[str, list[Candidate]] = {}
    for name in frame.names("prediction"):
        others = frame.judgeable & ~frame.is_value("label", name)
        candidates[name] = [
            Candidate((item,), others & item.mask, (others & ~item.mask,), name)
            for item in metadata
            if _recognised_there(frame, name, item)
        ]
    hits = {name: frame.is_value("prediction", name) for name in candidates}
    for name, items in candidates.items():
        kept = [item for item in confirmed(items, hits[name], frame.half) if _pulls(frame, item, hits[name])]
        for item in distinct(kept, hits[name]):
            found.append((excess(item, hits[name]), _shortcut(frame, item, hits[name])))
    found.sort(key=lambda pair: -pair[0])
    return [finding for _, finding in found[:MOST_SHORTCUTS]]


def _recognised_there(frame: Frame, name: str, item: Condition) -> bool:
    """Whether pictures of the class itself are classified correctly at least as often inside the context as outside."""
    own = frame.judgeable & frame.is_value("label", name)
    inside, outside = own & item.mask, own & ~item.mask
    if not inside.any() or not outside.any():
        return bool(inside.any())
    return float(frame.correct[inside].mean()) >= float(frame.correct[outside].mean())


def _pulls(frame: Frame, item: Candidate, hits: Mask) -> bool:
    """Whether the excess remains without the class that gives most of it, and among the mistakes alone.

    Else two classes merely look alike, or the context merely makes every mistake commoner.
    """
    labels = frame.columns["label"]
    commonest = Counter(labels[item.inside & hits]).most_common(1)[0][0]
    several = np.asarray(labels != commonest, dtype=bool)
    return all(excess_p(item, hits, part) < PROPOSE_P for part in (several, frame.wrong))


def _shortcut(frame: Frame, item: Candidate, hits: Mask) -> Finding:
    value, rest = rates(item, hits)
    context, name = item.conditions[0], quoted(item.label)
    sentence = (
        f"With {context.words}, pictures of other classes are called {name} in {format_rate(value)}, against "
        f"{format_rate(rest)} elsewhere: the classifier may take the context for {name}."
    )
    called = [f"label <> {literal(item.label)}", f"prediction = {literal(item.label)}", context.sql]
    count = int((item.inside & hits).sum())
    return Finding("shortcut", 0, sentence, value, rest, frame.select(*called), count, excess(item, hits))
