"""Findings of a run, ranked: each a sentence with its number, interval, n and its own SQL.

The sentences come from the numbers; no language model writes them, and none is written without a query behind it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from core import queries
from core.findings.attention import class_habits, idle_maps, wrong_reasons
from core.findings.classes import confusions, failures, weak_classes, wrong_labels
from core.findings.finding import KINDS, Finding
from core.findings.frame import load
from core.findings.slices import context_shortcuts, weak_slices
from core.queries import Connection

__all__ = ["KINDS", "Finding", "summarise"]

FINDERS = (
    failures,
    context_shortcuts,
    wrong_reasons,
    confusions,
    weak_classes,
    weak_slices,
    wrong_labels,
    class_habits,
    idle_maps,
)


def summarise(con: Connection, run: str) -> list[Finding]:
    """The findings of a run, most important first: what is wrong overall, then the best of every kind in turn.

    Kinds take turns, ordered by how many pictures their best finding costs, so that the first page of a report shows
    the breadth; within a kind the order is by impact. Every `sql` gives exactly `n` pictures.

    Raises:
        QueryError: There is no such run.
    """
    queries.run_counts(con, run)
    frame = load(con, run)
    if frame.n == 0:
        return []
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for find in FINDERS:
        for finding in find(frame):
            kinds[finding.kind].append(finding)
    for found in kinds.values():
        found.sort(key=lambda item: -item.impact)
    overall = kinds.pop("failures", [])
    queues = sorted(kinds.values(), key=lambda found: -found[0].impact)
    turns = max((len(found) for found in queues), default=0)
    rest = [found[turn] for turn in range(turns) for found in queues if turn < len(found)]
    ordered = [*overall[:1], *rest, *overall[1:]]
    return [replace(finding, rank=rank) for rank, finding in enumerate(ordered, start=1)]
