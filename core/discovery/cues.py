"""A cue with its verdict: used, present but not used, or cannot tell."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from core.discovery.candidates import Candidate
from core.discovery.interventions import LEAST_EFFECT, SLIGHT, Effect
from core.discovery.regions import Box
from core.findings.frame import Frame, Mask, quoted
from core.findings.significance import RATE, adjusted

Verdict = Literal["used", "present but not used", "cannot tell"]
ENOUGH = 24
"""Changed pictures from which a small effect can be told from none."""
PROTOTYPES = 8
_CONDITION = re.compile(r"(\w+) (=|≤|>) ")
_SPOKEN = {"=": " ", "≤": " of at most ", ">": " above "}
UNTESTED = 1.0


class Shown(Protocol):
    """A pair of pictures, as fields that JSON can hold."""

    __dict__: dict[str, object]


@dataclass(frozen=True)
class Cue:
    """A candidate after its interventions.

    `effect` is the strongest of `effects` beyond its placebo; `p` is adjusted over all cues of the discovery (Benjamini
    and Hochberg). `wrong` and `wrong_rest`: how often its pictures and the others of the same answer are wrong.
    """

    name: str
    kind: str
    answer: str | None
    words: str
    sql: str
    n: int
    wrong: float
    wrong_rest: float
    members: Mask
    prototypes: tuple[str, ...]
    verdict: Verdict = "cannot tell"
    reason: str = ""
    effects: tuple[Effect, ...] = ()
    p: float = UNTESTED
    region: Box | None = None
    examples: tuple[Shown, ...] = ()

    @staticmethod
    def of(
        frame: Frame, item: Candidate, effects: Sequence[Effect], *, region: Box | None, examples: Sequence[Shown]
    ) -> Cue:
        """The cue of a candidate whose interventions gave something."""
        p = min(1.0, len(effects) * min(each.p for each in effects))  # Bonferroni over putting in and taking out
        bare = unknown(frame, item, "", region=region)
        return replace(bare, effects=tuple(effects), p=p, examples=tuple(examples))

    @property
    def effect(self) -> Effect | None:
        """The surest of its effects; None where nothing was tested."""
        return min(self.effects, key=lambda each: (each.p, -each.value), default=None)

    @property
    def sentence(self) -> str:
        """What people repeat: two numbers and the verdict."""
        found = self.effect
        if found is None:
            return f"{self.subject.rstrip(' ,')}: cannot tell whether that is used ({self.reason})."
        be = "are" if self.kind == "property" else "is"
        said = {"used": f"{be} used", "present but not used": f"{be} there but not used", "cannot tell": "may be used"}
        made = {
            "insert": "put into other pictures,",
            "swap": "with it in other pictures,",
            "remove": "without it,",
            "apply": "in other pictures made so,",
        }[found.kind]
        placebo = _points(math.copysign(1, found.change) * found.placebo)
        does = f"{made} {_moves(found, self.answer)}; with a matched placebo {placebo}"
        return f"{self.subject} {said[self.verdict]}: {does}."

    @property
    def subject(self) -> str:
        """What the cue is, for the beginning of a sentence."""
        who = quoted(self.answer)
        if self.kind == "strategy":
            return f"What {self.n:,} pictures called {who} show {_where(self.region)}"
        if self.kind == "detail":
            return f"What {self.n:,} pictures called {who} show where the answer rests, at changing places,"
        words = _CONDITION.sub(lambda found: found[1].replace("_", " ") + _SPOKEN[found[2]], self.words)
        return f"{words[:1].upper()}{words[1:]}"

    def row(self) -> Mapping[str, object]:
        """As a row of table `cues`."""
        found = self.effect
        box = self.region
        return {
            "cue": self.name, "kind": self.kind, "class": self.answer, "words": self.sentence, "verdict": self.verdict,
            "reason": self.reason, "sql": self.sql, "n": self.n, "wrong": _plain(self.wrong),
            "wrong_rest": _plain(self.wrong_rest), "effect": found and found.value, "low": found and found.low,
            "high": found and found.high, "placebo": found and found.placebo, "p": self.p,
            "tested": found.n if found else 0, "region": [box.top, box.left, box.bottom, box.right] if box else None,
            "prototypes": list(self.prototypes), "examples": json.dumps([vars(item) for item in self.examples]),
        }  # fmt: skip


def unknown(frame: Frame, item: Candidate, reason: str, *, region: Box | None = None) -> Cue:
    """The cue of a candidate of which nothing could be tested."""
    table = item.harm.table(frame.everything)
    ids = frame.table["image_id"].to_pylist()
    sure = np.nan_to_num(frame.numbers("confidence"), nan=-1.0)
    hits = item.members & frame.wrong if (item.members & frame.wrong).any() else item.members
    best = sorted(np.flatnonzero(hits), key=lambda place: -sure[place])[:PROTOTYPES]
    return Cue(
        item.name, item.kind, item.answer, item.words, item.sql, int(item.members.sum()), table.rate, table.rest_rate,
        item.members, tuple(str(ids[place]) for place in best), reason=reason, region=region,
    )  # fmt: skip


def judged(cues: Sequence[Cue]) -> list[Cue]:
    """The cues with their verdicts at one false discovery rate, used ones first, then by effect."""
    tested = [cue for cue in cues if cue.effects]
    levels = adjusted([cue.p for cue in tested])
    told = [_verdict(cue, float(level)) for cue, level in zip(tested, levels, strict=True)]
    told += [cue for cue in cues if not cue.effects]
    order = {"used": 0, "present but not used": 2, "cannot tell": 1}
    return sorted(told, key=lambda cue: (order[cue.verdict], -(cue.effect.value if cue.effect else -1.0)))


def _verdict(cue: Cue, level: float) -> Cue:
    found = cue.effect
    assert found is not None
    if level <= RATE and found.value >= LEAST_EFFECT:
        return replace(cue, verdict="used", p=level)
    telling = all(each.kind != "swap" for each in cue.effects)  # what was attended may still hold the old context
    if telling and all(each.reach < SLIGHT and each.n >= ENOUGH for each in cue.effects):
        return replace(cue, verdict="present but not used", p=level)
    return replace(cue, p=level, reason="the difference to the placebo is within chance")


def _where(box: Box | None) -> str:
    """A box in words: at the bottom right."""
    if box is None:
        return ""
    across, down = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    column = "left" if across < 0.4 else "right" if across > 0.6 else ""
    row = "top" if down < 0.4 else "bottom" if down > 0.6 else ""
    if not row and not column:
        return "in the middle"
    return f"at the {row or 'middle'} {column}".rstrip()


def _moves(found: Effect, answer: str | None) -> str:
    """What an answer does: “horse” loses 61 points of probability."""
    down = found.kind == "remove" or (found.kind == "apply" and answer is None)
    size = _points(abs(found.change))
    if size == "0":
        return f"{f'“{answer}”' if answer is not None else 'the right answer'} hardly moves"
    verb = "loses" if (found.change > 0) == down else "gains"
    who = f"“{answer}”" if answer is not None else "the right answer"
    return f"{who} {verb} {size} point{'' if size == '1' else 's'} of probability"


def _points(change: float) -> str:
    """A change of probability in whole points, with a real minus."""
    return f"{100 * change:.0f}".replace("-0", "0").replace("-", "−")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
