"""The title of a report: the main thing that it says, with its number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core import queries
from core.findings import Finding
from core.queries import Connection, CueRow
from core.statistics import format_pictures, format_spoken


def title(con: Connection, run: str, used: Sequence[CueRow], findings: Sequence[Finding]) -> str:
    """The first cause, else the first finding that compares, else how often the classifier is right; a sentence."""
    if used:
        return used[0].words.partition(";")[0].rstrip(".") + "."
    told = sorted(findings, key=lambda finding: finding.kind == "failures")  # what goes wrong before how much does
    if told:
        return re.split(r"(?<=[.!?]) ", told[0].sentence, maxsplit=1)[0]
    counts = queries.run_counts(con, run)
    if counts.labelled:
        right = format_spoken(counts.correct / counts.labelled)
        return f"The classifier is right on {right} of {format_pictures(counts.labelled)}; nothing else stands out."
    return f"{format_pictures(counts.pictures)} without labels: what the classifier says and where it looks."
