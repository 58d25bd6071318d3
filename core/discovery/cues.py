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
from core.discovery.interventions import LEAST_EFFECT, Effect
from core.discovery.regions import Box
from core.findings.frame import Frame, Mask, quoted
from core.findings.significance import RATE, adjusted
from core.queries import GROUPS

Verdict = Literal["used", "present but not used", "cannot tell"]
ENOUGH = 24
"""Changed pictures from which anything is called used, or not used."""
PROTOTYPES = 8
SAME = 0.8
"""Share of a group's pictures that lie in another, from which both are one cue."""
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
        bare = replace(unknown(frame, item, "", region=region), effects=tuple(effects), examples=tuple(examples))
        surest = bare.effect
        p = UNTESTED if surest is None else min(1.0, len(effects) * surest.p)  # Bonferroni over putting in, taking out
        return replace(bare, p=p)

    @property
    def effect(self) -> Effect | None:
        """The surest of its effects, of those from enough pictures if there are some; None where nothing was tested."""
        return min(self.effects, key=lambda each: (each.n < ENOUGH, each.p, -each.value), default=None)

    @property
    def sentence(self) -> str:
        """What people repeat: what is claimed, whether it holds, and two numbers."""
        found = self.effect
        if found is None:
            return f"Cannot tell whether {self._claim('')}: {self.reason}."
        if self.verdict == "present but not used":
            who = f"“{self.answer}”" if self.answer is not None else "the right answer"
            less = f"{who} moves by less than {_points(LEAST_EFFECT)} points"
            return f"{_capital(self._subject)}: there but not used; {less}."
        claim = self._claim(found.kind)
        if self.verdict == "used":
            return f"{_capital(claim)}: {self._numbers(found)}."
        if found.kind == "swap":  # the old background shows through, so its number would be too small
            return f"Cannot tell whether {claim}."
        return f"Cannot tell whether {claim}: {self._numbers(found)}."

    @property
    def _subject(self) -> str:
        """What the cue is."""
        if self.kind == "strategy":
            return f"{_place(self.region)} of {self.n:,} pictures called {quoted(self.answer)}"
        if self.kind == "detail":
            return f"a detail at changing places in {self.n:,} pictures called {quoted(self.answer)}"
        return _CONDITION.sub(lambda found: found[1].replace("_", " ") + _SPOKEN[found[2]], self.words)

    def _claim(self, kind: str) -> str:
        """What was tested, as a clause that stands by itself and after `whether`."""
        who = quoted(self.answer)
        if self.kind in GROUPS and kind != "insert":
            what = _place(self.region) if self.kind == "strategy" else "a detail at changing places"
            return f"{who} rests on {what} {'of' if self.kind == 'strategy' else 'in'} {self.n:,} pictures"
        if self.kind in GROUPS:
            return f"{self._subject} pulls other pictures towards {who}"
        if self.answer is None:
            be = "cost" if self._subject.startswith(("pictures", "dark", "bright", "flat", "blurred")) else "costs"
            return f"{self._subject} {be} the right answer"
        if self.kind == "property":
            return f"{self._subject} are pulled towards {who}"
        return f"a background with {self._subject} pulls towards {who}"

    def _numbers(self, found: Effect) -> str:
        """Two numbers: what the change does, and what a placebo does."""
        if found.kind == "remove":
            return f"without it they {_moves(found, 'lose', 'gain')}"
        if found.kind == "apply":
            return f"others made so {_moves(found, *(('lose', 'gain') if self.answer is None else ('gain', 'lose')))}"
        return f"{_signed(found.change)} of probability (placebo: {_points(found.placebo)})"

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
    told = [_within(cue, told) for cue in told]
    order = {"used": 0, "present but not used": 2, "cannot tell": 1}
    return sorted(told, key=lambda cue: (order[cue.verdict], -(cue.effect.value if cue.effect else -1.0)))


def _verdict(cue: Cue, level: float) -> Cue:
    found = cue.effect
    assert found is not None
    cue = replace(cue, p=level)
    if level <= RATE and min(found.value, found.change) >= LEAST_EFFECT and found.n >= ENOUGH:
        return replace(cue, verdict="used")
    telling = all(each.kind != "swap" for each in cue.effects)  # what was attended may still hold the old context
    if telling and all(each.reach < LEAST_EFFECT and each.n >= ENOUGH for each in cue.effects):
        return replace(cue, verdict="present but not used")
    few = found.n < ENOUGH
    reason = f"only {found.n} pictures could be changed" if few else "the difference to the placebo is within chance"
    return replace(cue, reason=reason)


def _within(cue: Cue, others: Sequence[Cue]) -> Cue:
    """A used group, with the reason where nearly all its pictures are those of a larger used one: the same cue."""
    if cue.verdict != "used" or cue.kind not in GROUPS:
        return cue
    for other in others:
        alike = other.verdict == "used" and other.kind in GROUPS and other.answer == cue.answer
        if alike and other.n > cue.n and int((cue.members & other.members).sum()) >= SAME * cue.n:
            return replace(cue, reason=f"its pictures are among the {other.n:,} of {other.name}")
    return cue


def _place(box: Box | None) -> str:
    """A box in words: the bottom right."""
    if box is None:
        return "a part"
    across, down = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    column = "left" if across < 0.4 else "right" if across > 0.6 else ""
    row = "top" if down < 0.4 else "bottom" if down > 0.6 else ""
    return f"the {row or 'middle'} {column}".rstrip()


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _moves(found: Effect, more: str, less: str) -> str:
    """Lose 61 points of probability (placebo: 5): a change below zero is told by the other verb."""
    sign = -1 if found.change < 0 else 1
    verb = less if sign < 0 else more
    return f"{verb} {_counted(abs(found.change))} of probability (placebo: {_points(sign * found.placebo)})"


def _counted(change: float) -> str:
    """61 points."""
    size = _points(change)
    return f"{size} point{'' if size in ('1', '−1') else 's'}"


def _signed(change: float) -> str:
    """+61 points."""
    return f"{'+' if change > 0 else ''}{_counted(change)}"


def _points(change: float) -> str:
    """A change of probability in whole points, with a real minus."""
    found = f"{100 * change:.0f}"
    return "0" if found == "-0" else found.replace("-", "−")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
