"""Which cues are worth an intervention: groups of a class that are wrong more often, properties and columns that pull.

A ranking, not a test: what it names is tested by interventions, in an error budget of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from scipy.stats import mannwhitneyu

from core.discovery.changes import CHANGEABLE
from core.discovery.regions import Box
from core.discovery.strategies import Codes, Matrix, components
from core.findings.asking import Comparison, answered
from core.findings.frame import Condition, Frame, Mask, quoted
from core.findings.shortcuts import context_shortcuts
from core.findings.slices import weak_slices

Kind = Literal["strategy", "detail", "property", "context"]
LEAST = 8
"""Pictures of a candidate."""
TAIL = 0.15
"""Share of the pictures that are called dark, warm, blurred ..."""
PULLS = 0.05
LETTERS = "abcdefgh"
SEPARATES = 0.85
"""Area under the ROC curve from which a property stands for a value of a column."""
MOST: dict[Kind, int] = {"strategy": 10, "context": 10, "detail": 8, "property": 8}
TAILS = {
    ("brightness", -1): "dark pictures", ("brightness", 1): "bright pictures", ("contrast", -1): "flat pictures",
    ("contrast", 1): "pictures of high contrast", ("saturation", -1): "pictures with little colour",
    ("saturation", 1): "pictures with strong colours", ("warmth", -1): "pictures with a cold cast",
    ("warmth", 1): "pictures with a warm cast", ("sharpness", -1): "blurred pictures",
    ("sharpness", 1): "pictures rich in detail",
}  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A cue that may be used: the pictures that hold it, and the class it may pull towards (None: it costs the label).

    `harm` compares the mistakes of its pictures with those of others; a picture is given it by changing `property` as
    far as from `usual`, the median of the others, to `level`, theirs. `sql` is the condition that gives its pictures.
    """

    name: str
    kind: Kind
    words: str
    sql: str
    members: Mask
    answer: str | None
    harm: Comparison
    p: float
    property: str | None = None
    level: float = float("nan")
    usual: float = float("nan")
    region: Box | None = None
    peak: float = 0.0
    """Where the group differs most from its class, and how many times the mean that is."""


@dataclass(frozen=True)
class Ways:
    """Two groupings of the pictures by what was seen, (n,) names and codes: with places, and where the answer rests."""

    strategy: list[str | None]
    detail: list[str | None]
    strategies: Codes
    details: Codes


def ways_of_seeing(frame: Frame, places: Matrix, detail: Matrix, known: Mask) -> Ways:
    """Groups of each predicted class; `places` and `detail` (n, 96) hold something where `known` (n,)."""
    names, _, answers = frame.classes
    seen = np.where(known, answers, -1)
    codes = [components(vectors, seen) for vectors in (places, detail)]
    strategies, details = codes
    numbered = [
        f"{names[answer]} {code + 1}" if code >= 0 else None for answer, code in zip(seen, strategies, strict=True)
    ]
    lettered = [
        f"{names[answer]} {LETTERS[code]}" if code >= 0 else None for answer, code in zip(seen, details, strict=True)
    ]
    return Ways(numbered, lettered, strategies, details)


def candidates(frame: Frame, ways: Ways) -> list[Candidate]:
    """Everything that may be a cue; `chosen` says what is worth an intervention."""
    found = [
        *_groups(frame, "strategy", ways.strategy, ways.strategies),
        *_groups(frame, "detail", ways.detail, ways.details),
    ]
    if frame.judgeable.any():
        found += [*_properties(frame), *_columns(frame)]
    return found


def chosen(found: Sequence[Candidate]) -> list[Candidate]:
    """The best of each kind in turn: by how sure their harm is, and groups also by how much one place stands out."""
    queues = []
    for kind, most in MOST.items():
        own = [item for item in found if item.kind == kind]
        by_harm = sorted(own, key=lambda item: (item.p, -int(item.members.sum())))
        by_peak = sorted((item for item in own if item.peak), key=lambda item: -item.peak)
        turns = [item for pair in zip_longest(by_peak, by_harm) for item in pair if item is not None]
        queues.append(list({item.name: item for item in turns}.values())[:most])
    return [item for turn in zip_longest(*queues) for item in turn if item is not None]


def _groups(
    frame: Frame, kind: Literal["strategy", "detail"], named: Sequence[str | None], codes: Codes
) -> list[Candidate]:
    names, _, answers = frame.classes
    found = []
    for answer in np.unique(answers[codes >= 0]):
        own = (answers == answer) & (codes >= 0)
        for code in np.unique(codes[own]):
            members = own & (codes == code)
            if not LEAST <= int(members.sum()) <= int(own.sum()) - LEAST:
                continue
            harm = Comparison(members & frame.judgeable, own & ~members & frame.judgeable, frame.wrong, answers)
            name = str(named[int(np.flatnonzero(members)[0])])
            words = f"one way in which {quoted(names[answer])} is seen"
            sql = f"{kind} = '{name.replace(chr(39), chr(39) * 2)}'"
            found.append(
                Candidate(name, kind, words, sql, members, names[answer], harm, harm.p(frame, frame.everything))
            )
    return found


def _properties(frame: Frame) -> list[Candidate]:
    """Tails of properties in which other classes are given one answer more often."""
    names, labels, answers = frame.classes
    found = []
    for name in CHANGEABLE:
        values = frame.numbers(name)
        if np.count_nonzero(np.isfinite(values)) < 4 * LEAST:
            continue
        for side, border in ((-1, np.nanquantile(values, TAIL)), (1, np.nanquantile(values, 1 - TAIL))):
            at = float(f"{border:.3g}")
            sql = f"{name} <= {at!r}" if side < 0 else f"{name} >= {at!r}"
            members = frame.masks([sql])[0]
            if not LEAST <= int(members.sum()) <= frame.n - LEAST:
                continue
            level, usual = _levels(frame, name, members)
            for answer in np.unique(answers[frame.judgeable]):
                others = frame.judgeable & (labels != answer)
                harm = Comparison(others & members, others & ~members, answers == answer, labels)
                p = harm.p(frame, frame.everything)
                if p < PULLS:
                    found.append(
                        Candidate(f"{TAILS[name, side]} → {names[answer]}", "property", TAILS[name, side], sql, members,
                                  names[answer], harm, p, name, level, usual)
                    )  # fmt: skip
    return found


def _columns(frame: Frame) -> list[Candidate]:
    """What the report says of the user's columns: contexts that pull, and values where more is wrong."""
    found = []
    questions = [*context_shortcuts(frame), *(item for item in weak_slices(frame) if item.cause is not None)]
    for question, _ in answered(frame, questions):
        cause = question.cause
        if cause is None or cause.column.startswith("attention_"):
            continue
        name = None if question.answer else _stands_for(frame, cause)
        level, usual = _levels(frame, name, cause.mask) if name else (float("nan"), float("nan"))
        spoken = f"{cause.words} → {question.answer}" if question.answer else cause.words
        found.append(
            Candidate(spoken, "context", cause.words, cause.sql, cause.mask, question.answer, question.shown,
                      question.p(frame), name, level, usual)
        )  # fmt: skip
    return found


def _levels(frame: Frame, name: str, members: Mask) -> tuple[float, float]:
    """The median of a property in some pictures, and in the others."""
    values = frame.numbers(name)
    return float(np.nanmedian(values[members])), float(np.nanmedian(values[~members]))


def _stands_for(frame: Frame, cause: Condition) -> str | None:
    """The property that tells these pictures from others; None where none does."""
    members = cause.mask
    if cause.column in CHANGEABLE:
        return cause.column
    best, name = SEPARATES, None
    for able in CHANGEABLE:
        values = frame.numbers(able)
        known = np.isfinite(values)
        inside, outside = values[members & known], values[~members & known]
        if min(inside.size, outside.size) < LEAST:
            continue
        area = float(mannwhitneyu(inside, outside).statistic) / (inside.size * outside.size)
        if max(area, 1 - area) > best:
            best, name = max(area, 1 - area), able
    return name
