"""Findings of a run, ranked: each a sentence with its number, interval, n and its own SQL.

The sentences come from the numbers; no language model writes them, and none is written without a query behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core import queries
from core.findings.asking import Comparison, Question, answered
from core.findings.attention import idle_maps
from core.findings.classes import MOST_SUSPECTS, confusions, failures, weak_classes, wrong_labels
from core.findings.cues import confirmed, used_cues
from core.findings.finding import Finding
from core.findings.frame import Frame, load
from core.findings.shortcuts import context_shortcuts
from core.findings.slices import weak_slices
from core.labels import Suspects, suspects
from core.queries import Connection

ASKING = (context_shortcuts, confusions, weak_classes, weak_slices)
"""What is asked of the data; all their questions share one false discovery rate."""
COUNTING = (failures, idle_maps)
"""What is counted: no comparison, so nothing that chance could accuse."""
SAME = 0.8
"""Two findings that share this part of their hits are one story; the one that costs more tells it."""
MOST_OF = 0.5
"""What holds more than this part of the pictures explains nothing: nearly everything lies within it."""
LEFT = 0.25
"""A finding follows from another without whose pictures less than this remains of it; or less than UNSURE of it, and no
more than CHANCE standard errors."""
UNSURE, CHANCE = 0.4, 1.64


def summarise(con: Connection, run: str, *, group: str | None = None) -> list[Finding]:
    """The findings of a run, most important first: what is wrong overall, then the best of every kind in turn.

    Kinds take turns, ordered by how many pictures their best finding costs, so that the first page of a report shows
    the breadth; within a kind the order is by impact. Every `sql` gives exactly `n` pictures.

    Pictures with the same value of the metadata column `group` belong together; without it, those with the same value
    of the column that the run was started with.

    Raises:
        QueryError: There is no such run or no such column.
    """
    frame = load(con, run, group=group or queries.run(con, run).settings.group)
    return ranked(frame, suspects(queries.label_rows(con, run), most=MOST_SUSPECTS)) if frame.n else []


def ranked(frame: Frame, doubtful: Suspects | None = None) -> list[Finding]:
    """The findings of a frame, with its suspected wrong labels if they were looked for, in the order of the report."""
    kinds: dict[str, list[Finding]] = defaultdict(list)
    stands = answered(frame, [question for ask in ASKING for question in ask(frame)])
    cues = queries.cues(frame.con, frame.run)
    stands = [*used_cues(frame, cues), *confirmed(stands, cues)]
    counted = [finding for count in COUNTING for finding in count(frame)]
    counted += wrong_labels(frame, doubtful) if doubtful is not None else []
    for finding in [*stories(frame, stands), *counted]:
        kinds[finding.kind].append(finding)
    for found in kinds.values():
        found.sort(key=lambda item: -item.impact)
    overall = kinds.pop("failures", [])
    queues = sorted(kinds.values(), key=lambda found: -found[0].impact)
    turns = max((len(found) for found in queues), default=0)
    rest = [found[turn] for turn in range(turns) for found in queues if turn < len(found)]
    ordered = [*overall[:1], *rest, *overall[1:]]
    return [replace(finding, rank=rank) for rank, finding in enumerate(ordered, start=1)]


def stories(frame: Frame, stands: Sequence[tuple[Question, Finding]]) -> list[Finding]:
    """What stands, without what merely follows from something else that stands; that is said in its evidence.

    A finding follows from another where both share nearly all hits, or half of them where both say where the classifier
    looks on one class; where it is a part of the other and no worse than it; or where, without the other's hits or the
    other's pictures, nothing is left of its difference.
    """
    ordered = sorted(stands, key=lambda pair: -pair[1].impact)
    causes: dict[int, int] = {}
    judged = max(1, int(frame.judgeable.sum()))
    wide = [int((question.shown.inside & frame.judgeable).sum()) > MOST_OF * judged for question, _ in ordered]
    costs = [np.flatnonzero(question.shown.inside & question.shown.hits) for question, _ in ordered]
    mark = np.zeros(frame.n, dtype=bool)
    for place, (question, _) in enumerate(ordered):
        mark[:] = False
        mark[costs[place]] = True
        meets = [bool(mark[cost].any()) for cost in costs]
        for other, (cause, _) in enumerate(ordered):
            apart = not meets[other] and not question.kind == "cue" != cause.kind
            if other == place or wide[other] or apart or _root(causes, other) == place:
                continue
            if _follows(frame, question, cause, other < place):
                causes[place] = other
                break
    told: dict[int, list[str]] = defaultdict(list)
    for place in causes:
        told[_root(causes, place)].append(ordered[place][1].sentence)
    return [
        replace(finding, evidence=" ".join([finding.evidence, *_same_story(told[place])]))
        for place, (_, finding) in enumerate(ordered)
        if place not in causes
    ]


def _root(causes: dict[int, int], place: int) -> int:
    while place in causes:
        place = causes[place]
    return place


def _same_story(sentences: Sequence[str]) -> list[str]:
    return ["The same story:", *(f"• {sentence}" for sentence in sentences)] if sentences else []


def _follows(frame: Frame, question: Question, cause: Question, costlier: bool) -> bool:
    """Whether `question` follows from `cause`; `costlier`: whether the cause costs more pictures."""
    if question.kind == "shortcut" != cause.kind:  # a suspected cause follows from no count of mistakes
        return False
    if question.kind == "cue" != cause.kind:  # what interventions showed follows only from what pulls to the same class
        return _pulled_alike(question, cause)
    if question.kind == cause.kind == "weak_slice" and question.measured != cause.measured:
        if cause.measured:  # what the user wrote down is the better name
            return False
        costlier = True
    own, other = question.shown, cause.shown
    here, there = own.inside & own.hits, other.inside & other.hits
    shared = int((here & there).sum())
    if shared > SAME * max(1, int(here.sum()), int(there.sum())):
        return costlier
    if shared == 0:
        return False
    if question.topic and question.topic == cause.topic and 2 * shared >= min(int(here.sum()), int(there.sum())):
        return costlier
    whole = _gap(frame, own)[0]
    if whole <= 0:  # there is no difference that could be explained
        return False
    mostly = 2 * shared >= int(here.sum())
    alike = np.array_equal(own.hits, other.hits)
    if alike and not (own.inside & ~other.inside).any():
        return len(question.comparisons) == 1 and not _worse(frame, own, other)
    within = not (other.inside & ~own.inside).any()
    if alike and (within or (costlier and not _worse(frame, own, other))):  # the weaker does not explain the stronger
        left = replace(own, inside=own.inside & ~other.inside, outside=own.outside & ~other.inside)
    elif mostly and costlier and question.kind != cause.kind:
        left = replace(own, hits=own.hits & ~there)
    else:
        return False
    rest, spread = _gap(frame, left)
    return rest < max(LEFT * whole, min(CHANCE * spread, UNSURE * whole))


def _pulled_alike(question: Question, cause: Question) -> bool:
    """Whether nearly all that a cue costs lies within a shortcut to the same class."""
    if cause.kind != "shortcut" or not question.answer or question.answer != cause.answer:
        return False
    here = question.shown.inside & question.shown.hits
    return int((here & cause.shown.inside).sum()) >= SAME * max(1, int(here.sum()))


def _gap(frame: Frame, item: Comparison) -> tuple[float, float]:
    """Difference of the rates inside and outside, and its standard error."""
    table = item.table(frame.everything)
    value, worth = table.standardised()
    n = max(1, int(table.inside.sum()))
    spread = table.rate * (1 - table.rate) / n + value * (1 - value) / max(worth, 1)
    return (table.rate - value, float(spread) ** 0.5) if np.isfinite(table.rate - value) else (0.0, 0.0)


def _worse(frame: Frame, narrow: Comparison, wide: Comparison) -> bool:
    """Whether one group differs from its rest by clearly more than another does without it."""
    part, whole = (_gap(frame, item) for item in (narrow, replace(wide, inside=wide.inside & ~narrow.inside)))
    return bool(part[0] - whole[0] > 2 * (part[1] ** 2 + whole[1] ** 2) ** 0.5)
