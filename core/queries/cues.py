"""What discovery found in a run: its cues with their verdicts and evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from core.queries.rows import Connection, fetch_rows, has_table
from core.statistics import format_spoken

PLACEBO = (
    "A placebo is a change of the same size without the cue: of another part, in or from a picture that lacks it, or "
    "as far the other way. What it does on its own is taken off."
)


CAUSE, AGAIN, HARMLESS, UNUSED, UNSURE, UNTESTED = (
    "used", "used, and part of another", "used, and no more often wrong", "there but not used", "cannot tell",
    "not tested",
)  # fmt: skip
SECTIONS = (CAUSE, AGAIN, HARMLESS, UNSURE, UNUSED, UNTESTED)
"""What people are told of a cue, in this order: causes first, the rest folded."""


GROUPS = ("strategy", "detail")
"""Kinds of cues that are a group of pictures with one answer."""


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

    def words(self, answer: str | None) -> tuple[str, str]:
        """What it was called before and after, and how the class that is followed fared: `horse 12% → 83%`."""
        same = self.said_before == self.said_after
        called = f"still {self.said_before}" if same else f"{self.said_before} → {self.said_after}"
        return called, f"{answer or self.said_before} {_percent(self.towards_before)} → {_percent(self.towards_after)}"


@dataclass(frozen=True)
class CueRow:
    """A row of table `cues`.

    `effect` with `low` and `high` is the change of probability beyond the stronger placebo, `p` its adjusted p-value,
    `tested` the pictures changed; None and 0 where nothing was. `wrong`, `wrong_rest`, `wrong_overall`: how often its
    pictures, the others and all of the run are wrong. `region` is top, left, bottom, right as shares of the picture.
    `prototypes` are image ids.
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
    wrong_overall: float | None = None

    @property
    def section(self) -> str:
        """Where it is told; a group of pictures is a cause only where more of it is wrong than of the whole run."""
        if self.verdict == "used":
            if self.reason:
                return AGAIN
            known = self.wrong is not None and self.wrong_overall is not None
            harmless = known and (self.wrong or 0.0) <= (self.wrong_overall or 0.0)
            return HARMLESS if harmless and self.kind in GROUPS else CAUSE
        return UNUSED if self.verdict == "present but not used" else UNSURE if self.tested else UNTESTED

    @property
    def harm(self) -> str:
        """What goes with it, as counted: its pictures beside the others; empty where labels do not say."""
        if self.wrong is None or self.wrong_rest is None:
            return ""
        here, there = format_spoken(self.wrong), format_spoken(self.wrong_rest)
        if self.answer is None:
            return f"Such pictures are wrong {here} of the time, the others {there}."
        if self.kind in GROUPS:
            return f"They are wrong {here} of the time, the others called “{self.answer}” {there}."
        return f"Such pictures of other classes are called “{self.answer}” {here} of the time, the others {there}."

    @property
    def evidence(self) -> str:
        """The effect beyond the placebo with its interval; why there is none where nothing was changed."""
        if self.effect is None or self.low is None or self.high is None:
            return self.reason
        bounds = f"[{100 * self.low:.2g}, {100 * self.high:.2g}]"
        parts = [f"{100 * self.effect:+.2g} points {bounds} beyond the placebo", f"{self.tested:,} pictures changed"]
        return " · ".join(parts + ([f"p {self.p:.2g}, adjusted for all cues"] if self.p is not None else []))


def cues(con: Connection, run: str) -> list[CueRow]:
    """The cues of a run, used ones first; none where discovery has not looked."""
    if not has_table(con, "cues"):
        return []
    overall = con.execute("SELECT avg((NOT correct)::INT) FROM samples WHERE run = ?", [run]).fetchall()[0][0]
    rows = fetch_rows(con, "SELECT * EXCLUDE (run, class), class AS answer FROM cues WHERE run = ?", [run])
    return [
        CueRow(
            **{
                **row,
                "region": _four(row["region"]),
                "prototypes": tuple(row["prototypes"] or ()),
                "wrong_overall": overall,
                "examples": tuple(Example(**item) for item in json.loads(row["examples"] or "[]")),
            }
        )
        for row in rows
    ]


def sections(found: Sequence[CueRow]) -> dict[str, list[CueRow]]:
    """Cues by the section in which they are told, in its order; a section that has none is left out."""
    by = {name: [cue for cue in found if cue.section == name] for name in SECTIONS}
    return {name: cues for name, cues in by.items() if cues}


def _four(values: Sequence[float] | None) -> tuple[float, float, float, float] | None:
    return (values[0], values[1], values[2], values[3]) if values else None


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
