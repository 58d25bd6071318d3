"""What discovery found, told in the report: cues that are used, and what interventions say of what is suspected.

Their tests were made by discovery, in an error budget of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from core.findings.asking import Comparison, Question
from core.findings.finding import Finding
from core.findings.frame import Frame
from core.findings.significance import Table
from core.queries import CAUSE, GROUPS, CueRow
from core.statistics import Interval, format_percent

CONFIRMED = {
    "used": "Given to other pictures it {moves}, beyond a placebo: it is used.",
    "present but not used": "Yet given to other pictures it hardly moves an answer: it is not used.",
}


def used_cues(frame: Frame, rows: Sequence[CueRow]) -> list[tuple[Question, Finding]]:
    """The used cues that no column lists, as answered questions, so that what follows from them joins their story."""
    names, labels, answers = frame.classes
    found: list[tuple[Question, Finding]] = []
    for row in rows:
        if row.section != CAUSE or row.answer not in names or row.effect is None:
            continue  # also a way of seeing that does no harm, such as the thing itself
        members, answer = frame.masks([row.sql])[0], names.index(row.answer)
        if row.kind in GROUPS:
            own = frame.judgeable & (answers == answer)
            shown = Comparison(members & own, own & ~members, frame.wrong, answers)
        elif row.kind == "property":
            others = frame.judgeable & (labels != answer)
            shown = Comparison(members & others, others & ~members, answers == answer, labels)
        else:
            continue  # a column's value has its own finding; `confirmed` adds to it
        cost = int((shown.inside & shown.hits).sum())
        table = shown.table(frame.everything)
        write = partial(_finding, frame, row, int(members.sum()), float(cost))
        question = Question("cue", (shown,), shown, frame.everything, write, answer=row.answer)
        found.append((question, write(table, 0.0)))
    return found


def _finding(frame: Frame, row: CueRow, n: int, cost: float, table: Table, z: float) -> Finding:
    assert row.effect is not None and row.low is not None and row.high is not None
    value = Interval(row.effect, row.low, row.high, row.tested)
    evidence = (
        f"{format_percent(row.effect)} of probability beyond the stronger placebo, 95% interval "
        f"{format_percent(row.low)} to {format_percent(row.high)}, {row.tested:,} pictures changed, adjusted p "
        f"{row.p or 0:.2g} over all cues tested."
    )
    if np.isfinite(table.rate) and row.kind in GROUPS and np.isfinite(table.rest_rate):
        evidence += (
            f" {format_percent(table.rate)} of these pictures are wrong, "
            f"{format_percent(table.rest_rate)} of the others with this answer."
        )
    return Finding("cue", 0, row.words, value, None, frame.select(f"({row.sql})"), n, cost, evidence)


def confirmed(stands: Sequence[tuple[Question, Finding]], rows: Sequence[CueRow]) -> list[tuple[Question, Finding]]:
    """Findings about a value of a column, with what interventions say of it."""
    said = {(row.sql, row.answer): row for row in rows if row.verdict in CONFIRMED}
    told = []
    for question, finding in stands:
        row = said.get((question.cause.sql, question.answer)) if question.cause is not None else None
        if row is not None:
            sentence = f"{finding.sentence} {_confirming(row)}"
            finding = replace(finding, sentence=sentence, evidence=f"{finding.evidence} {row.words}")
        told.append((question, finding))
    return told


def _confirming(row: CueRow) -> str:
    points = f"{100 * (row.effect or 0.0):.0f} points of probability"
    moves = f"costs the right answer {points}" if row.answer is None else f"adds {points} to “{row.answer}”"
    return CONFIRMED[row.verdict].format(moves=moves)
