"""The headline numbers of a run and which classes are shown, once for every form of report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeVar

from core import queries
from core.findings import Finding
from core.queries import Connection
from core.statistics import format_pictures, format_rate, wilson

FAILURES_SHOWN = 20
WORST, BEST = 30, 10
"""Classes that a report shows where there are more than these together."""
T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """What a report says before its findings."""

    run: str
    title: str
    headline: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    failures: tuple[tuple[str, str, str], ...]
    failure_count: int


def facts(con: Connection, run: str) -> Facts:
    """Headline numbers, notes and failures of a run.

    Raises:
        QueryError: There is no such run.
    """
    counts = queries.run_counts(con, run)
    record = queries.run(con, run)
    settings = record.settings
    rows: list[tuple[str, str]] = [
        (
            "Pictures",
            f"{format_pictures(counts.pictures)} from {PurePath(settings.images or 'unknown').name}",
        ),
        ("Classifier", _spec(settings.classifier or "unknown")),
        ("Accuracy", format_rate(wilson(counts.correct, counts.labelled))),
    ]
    why = queries.reasons(con, run)
    if why is not None and why.measured and (sure := why.right_reason.corrected) is not None:
        counted = format_rate(why.right_reason.counted, n=False)
        rows.append(("Right for the right reason", f"{format_rate(sure)}, as counted {counted}"))
    card = queries.judge_card(con, run)
    if card is not None:
        rows.append(("Report card", card.sentence))
    rows.append(("Judge", _judge(counts) if "judge" in record.fingerprints else "none in this run"))
    notes = [said for said in (record.judge_note, record.judge_limits) if said]
    if not counts.predicted:
        notes.append("No picture has a prediction, so there is nothing to find: the failures say why.")
    elif not counts.labelled:
        notes.append("These pictures have no labels, so right and wrong are unknown.")
    if record.state != "done":
        notes.append(
            f"Partial: this run is not complete (state: {record.state}); the numbers are of the pictures done so far, "
            "a random sample of all."
        )
    if missing := queries.missing_rows(con, run):
        notes.append(missing)
    found = queries.failures(con, run)
    listed = tuple((str(row["stage"]), str(row["path"]), str(row["reason"])) for row in found[:FAILURES_SHOWN])
    return Facts(run, queries.run_title(con, run), tuple(rows), tuple(notes), listed, len(found))


def _judge(counts: queries.RunCounts) -> str:
    """All states of the judge: nothing is dropped."""
    return (
        f"{counts.judged:,} judged, {counts.abstained:,} abstained, {counts.judge_failed:,} failed, "
        f"{counts.not_judged:,} not judged"
    )


def _spec(spec: str) -> str:
    """A classifier SPEC without the folders of this machine."""
    path, colon, function = spec.rpartition(":")
    return f"{PurePath(path).name}:{function}" if colon and path.endswith(".py") else spec


def source(finding: Finding, run: str) -> tuple[str, str]:
    """What gives a finding's pictures, and its language: SQL, or a command where that would only list them."""
    if finding.about_labels:
        return f"whylook labels --run {shlex.quote(run)}", "sh"
    return finding.sql, "sql"


def worst_and_best(ordered: Sequence[T]) -> tuple[list[T], int]:
    """Of classes in the order of their accuracy those that a report shows, and how many it leaves out between them."""
    middle = len(ordered) - WORST - BEST
    return (list(ordered), 0) if middle <= 0 else ([*ordered[:WORST], *ordered[-BEST:]], middle)
