"""What discovery found in a run: its cues with their verdicts and evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from core.queries.rows import Connection, fetch_rows


@dataclass(frozen=True)
class Example:
    """A picture before and after an intervention: WebP as base64, what the classifier says with which probability.

    `towards_before` and `towards_after` are the probability of the class that is followed.
    """

    before: str
    after: str
    said_before: str
    said_after: str
    towards_before: float
    towards_after: float


@dataclass(frozen=True)
class CueRow:
    """A row of table `cues`.

    `effect` with `low` and `high` is the change of probability beyond the stronger placebo, `p` its adjusted p-value,
    `tested` the pictures changed; None and 0 where nothing was. `wrong` and `wrong_rest`: how often its pictures and
    the others are wrong. `region` is top, left, bottom, right as shares of the picture. `prototypes` are image ids.
    """

    cue: str
    kind: str
    answer: str | None
    words: str
    verdict: str
    reason: str
    sql: str
    n: int
    wrong: float | None
    wrong_rest: float | None
    effect: float | None
    low: float | None
    high: float | None
    placebo: float | None
    p: float | None
    tested: int
    region: tuple[float, float, float, float] | None
    prototypes: tuple[str, ...]
    examples: tuple[Example, ...]


def cues(con: Connection, run: str) -> list[CueRow]:
    """The cues of a run, used ones first; none where discovery has not looked."""
    if not con.execute("SELECT 1 FROM information_schema.tables WHERE table_name = 'cues'").fetchall():
        return []
    rows = fetch_rows(con, "SELECT * EXCLUDE (run, class), class AS answer FROM cues WHERE run = ?", [run])
    return [
        CueRow(
            **{
                **row,
                "region": _four(row["region"]),
                "prototypes": tuple(row["prototypes"] or ()),
                "examples": tuple(Example(**item) for item in json.loads(row["examples"] or "[]")),
            }
        )
        for row in rows
    ]


def _four(values: Sequence[float] | None) -> tuple[float, float, float, float] | None:
    return (values[0], values[1], values[2], values[3]) if values else None
