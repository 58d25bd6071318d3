"""What was asked of the data, and which answers stand when all of a report's questions are counted together.

A finder looks through the pictures of the proposing half as it likes and asks its questions of the confirming half; a
question that was there before any look (a class, a value of a column) is asked of all pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.findings.finding import Finding
from core.findings.frame import Codes, Condition, Frame, Mask, Places
from core.findings.significance import RATE, Table, adjusted, clustered_p, cross, design_effect, excess_p, selected_z
from core.statistics import format_rate

PROPOSE_P = 0.05
MOST_PROPOSALS = 100
"""Of one kind: the more questions, the less each can say."""
MOST_FIXED = 150
"""Comparisons of one kind that may all be asked; of more, one half proposes and the other confirms."""
_LOOKED_AT = 10 * MOST_FIXED
"""Comparisons of one kind that are each looked at whether they can say something; of more, the proposing half tells."""
LEAST_HITS = 5
LEAST_INSIDE = 8
"""Pictures that a group needs among those of which it is asked."""
LEAST_GAP, LEAST_RATIO = 0.02, 2.0
"""A difference of fewer points is not worth a sentence, however sure it is, unless one rate is twice the other."""


@dataclass(frozen=True)
class Comparison:
    """`hits` among the pictures `inside` against `outside`, within `strata`. All of shape (n,)."""

    inside: Mask
    outside: Mask
    hits: Mask
    strata: Codes

    def table(self, part: Places) -> Table:
        """Counts per stratum among the pictures of `part`."""
        inside = self.inside[part]
        return cross(inside, self.hits[part], inside | self.outside[part], self.strata[part])

    def among(self, part: Places) -> Comparison:
        """The same among the pictures of `part`, of shape (len(part),)."""
        return Comparison(self.inside[part], self.outside[part], self.hits[part], self.strata[part])

    def p(self, frame: Frame, part: Places) -> float:
        """Chance of as many hits inside, in a world where only the strata matter; groups count once."""
        return self.among(part).p_of_all(frame.groups[part] if frame.grouped else None)

    def p_of_all(self, groups: Codes | None) -> float:
        """The same of all pictures that it has, whose groups are given where some have more than one."""
        known = self.inside | self.outside
        if groups is None:
            return excess_p(cross(self.inside, self.hits, known, self.strata))
        return clustered_p(self.inside, self.hits, known, self.strata, groups)

    def design_effect(self, frame: Frame, part: Places) -> float:
        """How many times larger the variance of the rates is because pictures come in groups: the larger of the two."""
        sides = (part[self.inside[part]], part[self.outside[part]])
        return max(design_effect(self.hits[side], frame.groups[side]) for side in sides) if frame.grouped else 1.0


Recipe = Callable[[Places | slice], Comparison]
"""A comparison that is made when it is looked at, of some pictures or (EVERY) of all: a thousand classes times ten
conditions over a million pictures are more arrays than fit into memory."""
EVERY = slice(None)


@dataclass(frozen=True)
class Question:
    """Whether there is more inside than in each of several comparisons, asked of the pictures `part`.

    `write` makes the finding from the counts of `shown` and the standard errors of its intervals.
    """

    kind: str
    comparisons: tuple[Comparison, ...]
    shown: Comparison
    part: Places
    write: Callable[[Table, float], Finding]
    demands: tuple[Comparison, ...] = ()
    """What must hold besides, each at PROPOSE_P; else the question is answered with no."""
    cause: Condition | None = None
    """The condition that is suspected, where the question is about a single one ..."""
    answer: str | None = None
    """... and the class towards which it is suspected to pull."""
    measured: bool = False
    """Whether it is about what was measured in pictures and maps: it may follow from what the user's columns say."""
    topic: str = ""
    """Questions of one topic whose pictures overlap are one story; an empty one is no topic."""

    def p(self, frame: Frame) -> float:
        """The largest p-value of its comparisons, all of which must hold (intersection-union); 1 if a demand fails."""
        p = max(item.p(frame, self.part) for item in self.comparisons)
        return p if all(item.p(frame, self.part) < PROPOSE_P for item in self.demands) else 1.0


def worth_asking(frame: Frame, recipes: Sequence[Recipe]) -> tuple[list[int], Places]:
    """Places of the comparisons to ask about, and of the pictures to ask.

    Few enough are all asked, of all pictures; what leaves some out are margins only, on which the test is conditional.
    Of many, the proposing half names the best and the confirming half is asked.
    """
    able: Sequence[int] = range(len(recipes))
    if len(recipes) <= _LOOKED_AT:
        able = [place for place, recipe in enumerate(recipes) if _says_something(recipe(EVERY))]
        if len(able) <= MOST_FIXED:
            return list(able), frame.everything
    chosen = promising(frame, [recipes[place] for place in able])
    return [able[place] for place in chosen], frame.confirming


def _says_something(item: Comparison) -> bool:
    hits = np.count_nonzero((item.inside | item.outside) & item.hits)
    return bool(np.count_nonzero(item.inside) >= LEAST_INSIDE and hits >= LEAST_HITS)


def promising(frame: Frame, recipes: Sequence[Recipe]) -> list[int]:
    """Places of the best of many comparisons in the proposing half, best first."""
    found: list[tuple[float, int]] = []
    groups = frame.groups[frame.proposing] if frame.grouped else None
    for place, recipe in enumerate(recipes):
        item = recipe(frame.proposing)
        if np.count_nonzero(item.inside) < LEAST_INSIDE:
            continue
        p = item.p_of_all(groups)
        if p < PROPOSE_P:
            found.append((p, place))
    return [place for _, place in sorted(found)[:MOST_PROPOSALS]]


def answered(frame: Frame, questions: Sequence[Question]) -> list[tuple[Question, Finding]]:
    """The questions that stand at one false discovery rate over all of them, with their findings."""
    levels = adjusted([question.p(frame) for question in questions])
    standing = [place for place, level in enumerate(levels) if level <= RATE and _matters(questions[place])]
    z = selected_z(len(standing), len(questions))
    found: list[tuple[Question, Finding]] = []
    for place in standing:
        question = questions[place]
        wider = question.shown.design_effect(frame, question.part) ** 0.5
        finding = question.write(question.shown.table(question.part), z * wider)
        found.append((question, replace(finding, evidence=_evidence(finding, len(questions), float(levels[place])))))
    return found


def _matters(question: Question) -> bool:
    table = question.shown.table(question.part)
    rate, rest = table.rate, table.rest_rate
    return not (rate - rest < LEAST_GAP and rate < LEAST_RATIO * rest)  # also where there is no rest


def _evidence(finding: Finding, tried: int, level: float) -> str:
    against = f" against {format_rate(finding.rest)}" if finding.rest is not None and finding.rest.known else ""
    return (
        f"{format_rate(finding.value)}{against}. One of {tried:,} comparisons of this report, adjusted p "
        f"{level:.2g}; one in twenty listed may be false; 95% of the listed intervals hold the truth."
    )
