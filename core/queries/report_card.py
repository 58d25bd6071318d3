"""The judge's report card: table `judge_card` as measures with intervals, bars and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.queries.rows import Connection, fetch_rows
from core.records import HIGH_SCORE, WRONG_MAPS, Row
from core.statistics import UNKNOWN, Interval, auroc, format_mean, format_number, format_rate, mean_interval, wilson

Verdict = Literal["good", "care", "fail"]
CHANCE = 0.6
"""A judge whose AUROC may be this or less may not be able to tell a real map from a control."""
LEAST_PICTURES = 10
"""Fewer pictures than this give no verdict but `care`: an interval of three pictures says nothing."""
MISSES_MOST = 0.5
"""A judge that scores fewer true maps than this high counts good attention as bad."""
STEADY = 0.05
"""Points a score may move between two askings: servers and GPUs do not add up in the same order each time."""
MOST_SECONDS = 2000


@dataclass(frozen=True)
class CardMeasure:
    """One measure: its value with interval, the bar it should pass, and whether it does."""

    name: str
    meaning: str
    value: Interval
    bar: str
    passes: bool
    share: bool = False
    """Whether it is a rate, and written in percent."""

    @property
    def text(self) -> str:
        """The value as everywhere in whylook."""
        return format_rate(self.value) if self.share else format_mean(self.value)


@dataclass(frozen=True)
class Threshold:
    """The score that best parts true maps from controls, and what it does to them; Youden 1950, Cancer 3:32.

    `kept` is the share of true maps scored at least that, `passed` the share of controls.
    """

    score: float
    kept: Interval
    passed: Interval

    @property
    def sentence(self) -> str:
        """What it would do, in words."""
        return (
            f"A threshold of {self.score:g} parts these true maps from these controls best: it keeps "
            f"{format_rate(self.kept)} of the true maps and lets {format_rate(self.passed)} of the controls pass."
        )


@dataclass(frozen=True)
class JudgeCard:
    """What is known of a run's judge on `n` of the run's pictures.

    `scores` holds the scores given to each control, in the order of the table; `reasons` say what the verdict rests on.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    measures: tuple[CardMeasure, ...]
    scores: dict[str, list[float]]
    threshold: Threshold | None
    n: int
    high: float = HIGH_SCORE
    """From which score on attention counts as high: what `true_high` and the shares of controls were counted with."""
    sensitivity: Interval = UNKNOWN
    """Share of true maps scored `high` or more."""
    false_high: Interval = UNKNOWN
    """Share of wrong maps and wrong names scored `high` or more; a picture counts once."""
    by_class: dict[str, Interval] = field(default_factory=dict)
    """`sensitivity` by predicted class, lowest first, where there are LEAST_PICTURES true maps of it or more."""

    @property
    def supports_threshold(self) -> bool:
        """Whether its threshold parts true maps from controls well enough to be taken for the run."""
        told = {measure.name: measure.value for measure in self.measures}
        tells = all(told[name].low > CHANCE for name in ("auroc", "auroc_name") if name in told)
        found = self.threshold
        return self.n >= LEAST_PICTURES and tells and found is not None and found.kept.low > found.passed.high

    @property
    def carries(self) -> bool:
        """Whether shares can be corrected by it: true maps are scored high clearly more often than controls."""
        return self.verdict != "fail" and self.n >= LEAST_PICTURES and self.sensitivity.low > self.false_high.high

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        opening = {
            "good": "This judge tells real maps from controls.",
            "care": "Take this judge's scores with care.",
            "fail": "Do not trust this judge's scores.",
        }[self.verdict]
        return " ".join([opening, *self.reasons])

    def rows(self) -> list[dict[str, str]]:
        """One row of text per measure, for a table."""
        return [
            {"measure": measure.name, "value": measure.text, "bar": measure.bar,
             "passes": "yes" if measure.passes else "NO", "meaning": measure.meaning}
            for measure in self.measures
        ]  # fmt: skip


def judge_card(con: Connection, run: str) -> JudgeCard | None:
    """The report card of a run's judge; None where none was made."""
    rows = fetch_rows(
        con,
        """SELECT c.* FROM judge_card c JOIN runs r ON r.judge_fingerprint = c.fingerprint
        WHERE r.run = ? ORDER BY c.image_id, c.control""",
        [run],
    )
    if not rows:
        return None
    taken = con.execute(
        """SELECT j.seconds FROM judgements j JOIN runs r ON r.judge_fingerprint = j.fingerprint
        WHERE r.run = ? AND j.seconds IS NOT NULL ORDER BY j.image_id LIMIT ?""",
        [run, MOST_SECONDS],
    ).fetchall()
    found = con.execute("SELECT high_score FROM runs WHERE run = ?", [run]).fetchall()[0][0]
    high = HIGH_SCORE if found is None else float(found)
    return card_of(rows, seconds=[row[0] for row in taken], high=high)


def card_of(rows: Sequence[Row], *, seconds: Sequence[float] = (), high: float = HIGH_SCORE) -> JudgeCard:
    """The card that rows of table `judge_card` add up to.

    Args:
        rows: of one judge.
        seconds: that the pictures of the run itself took the judge.
        high: the score from which on attention counts as high in the run.
    """
    ids = sorted({row["image_id"] for row in rows})
    scores = {control: _column(rows, ids, control, "score") for control in ("true", "again", *WRONG_MAPS, "wrong name")}
    true, wrong = scores["true"], np.stack([scores[control] for control in WRONG_MAPS], axis=1)  # (n,), (n, 4)
    maps, names = auroc(true, wrong), auroc(true, scores["wrong name"][:, None])
    measures = [
        CardMeasure("auroc", "true maps are scored above wrong ones: inverted, shuffled, a patch, none", maps, "≥ 0.95",
                    maps.known and maps.value >= 0.95),
        CardMeasure("auroc_name", "the predicted class is scored above another class on the same map", names, "≥ 0.8",
                    names.known and names.value >= 0.8),
    ]  # fmt: skip
    sensitivity = _high(true[:, None], high)
    measures.append(CardMeasure("true_high", f"of true maps are scored high, {high:g} or more", sensitivity, "≥ 0.7",
                                sensitivity.known and sensitivity.value >= 0.7, share=True))  # fmt: skip
    for name, controls, most, meaning in (
        ("wrong_name_high", ("wrong name",), 0.10, "of wrong class names are scored high"),
        ("empty_high", ("empty", "patch"), 0.05, "of empty and random masks are scored high"),
    ):
        share = _high(np.stack([scores[control] for control in controls], axis=1), high)
        measures.append(CardMeasure(name, f"{meaning}, {high:g} or more", share, f"≤ {most:.0%}",
                                    share.known and share.value <= most, share=True))  # fmt: skip
    measures += _steadiness(rows, ids, true - scores["again"], seconds)
    verdict, reasons = _verdict(measures, len(ids))
    measures = [measure for measure in measures if measure.value.known]
    listed = {control: column[np.isfinite(column)].tolist() for control, column in scores.items()}
    false_high = _high(np.column_stack([wrong, scores["wrong name"]]), high)
    return JudgeCard(
        verdict, reasons, tuple(measures), listed, _threshold(scores), len(ids), high, sensitivity, false_high,
        _by_class(rows, high),
    )  # fmt: skip


def _by_class(rows: Sequence[Row], high: float) -> dict[str, Interval]:
    """Rate of true maps scored `high` or more by the class they were predicted as, lowest first."""
    given: dict[str, list[bool]] = {}
    for row in rows:
        if row["control"] == "true" and row["score"] is not None:
            given.setdefault(row["told"], []).append(row["score"] >= high)
    found = {name: wilson(sum(hits), len(hits)) for name, hits in given.items() if len(hits) >= LEAST_PICTURES}
    return dict(sorted(found.items(), key=lambda item: (item[1].value, item[0])))


def _column(rows: Sequence[Row], ids: Sequence[str], control: str, name: str) -> NDArray[np.float64]:
    """One number per picture (n,) of a control, NaN where there is none."""
    known = {row["image_id"]: row[name] for row in rows if row["control"] == control}
    return np.asarray(
        [np.nan if known.get(image_id) is None else known[image_id] for image_id in ids], dtype=np.float64
    )


def _high(scores: NDArray[np.float64], high: float) -> Interval:
    """Rate of scores (n, k) of `high` or more; a picture counts once, with the share of its k that are."""
    known = np.isfinite(scores)
    of = known.any(axis=1)
    shares = ((scores >= high) & known)[of].sum(axis=1) / known[of].sum(axis=1)
    return wilson(float(shares.sum()), int(of.sum()))


def _per_picture(rows: Sequence[Row], ids: Sequence[str], value: Callable[[Row], float | None]) -> list[float]:
    """Mean of a value over each picture's rows that have one: its questions are no pictures of their own."""
    found: dict[str, list[float]] = {image_id: [] for image_id in ids}
    for row in rows:
        if (number := value(row)) is not None:
            found[row["image_id"]].append(float(number))
    return [sum(values) / len(values) for values in found.values() if values]


def _steadiness(
    rows: Sequence[Row], ids: Sequence[str], retest: NDArray[np.float64], seconds: Sequence[float]
) -> list[CardMeasure]:
    """Does the score depend on the rubric's order, or on chance; does an answer come, and at what cost?"""
    shift = mean_interval(_per_picture(rows, ids, lambda row: row["rubric_shift"]))
    change = mean_interval(np.abs(retest))
    answers = _per_picture(rows, ids, lambda row: row["state"] == "ok")
    answered = wilson(sum(answers), len(answers))
    cost = mean_interval(seconds or _per_picture(rows, ids, lambda row: row["seconds"]))
    return [
        CardMeasure("rubric_shift", "points a score moves when the rubric is read from 5 to 0", shift, "within ± 0.25",
                    abs(shift.value) <= 0.25),
        CardMeasure("retest", "points a score moves when the same picture is judged again", change, f"≤ {STEADY}",
                    change.value <= STEADY),
        CardMeasure("answered", "of the questions got a score; the others abstained or failed", answered, "≥ 90%",
                    answered.value >= 0.9, share=True),
        CardMeasure("seconds", "seconds a picture takes", cost, "", True),
    ]  # fmt: skip


def _verdict(measures: Sequence[CardMeasure], n: int) -> tuple[Verdict, tuple[str, ...]]:
    """What the measures add up to, and why."""
    by_name = {measure.name: measure for measure in measures}
    maps, names = by_name["auroc"].value, by_name["auroc_name"].value
    fatal = []
    if not maps.known:
        fatal.append("It gave too few scores to compare.")
    elif maps.low <= CHANCE:
        fatal.append(f"It {_cannot(maps)} tell real maps from controls: AUROC {format_mean(maps)}.")
    if names.known and names.low <= CHANCE:
        fatal.append(f"It {_cannot(names)} tell the predicted class from another: AUROC {format_mean(names)}.")
    seen = by_name["true_high"].value
    if seen.known and seen.value < MISSES_MOST:
        fatal.append(f"It misses most true maps: {by_name['true_high'].text} {by_name['true_high'].meaning}.")
    if n < LEAST_PICTURES:
        return "care", (f"It was tried on {n} pictures only.", *fatal)
    if fatal:
        return "fail", tuple(fatal)
    short = [measure for measure in measures if measure.value.known and not measure.passes]
    missed = [f"{measure.text}: {measure.meaning}, bar {measure.bar}." for measure in short]
    return ("care" if missed else "good"), tuple(missed or [f"AUROC {format_mean(maps)}."])


def _cannot(found: Interval) -> str:
    return "cannot" if found.value <= CHANCE else "may not be able to"


def _threshold(scores: dict[str, NDArray[np.float64]]) -> Threshold | None:
    """The score halfway between two given ones that keeps most true maps and lets fewest controls pass.

    None where no score does better than chance.
    """
    true = scores["true"][np.isfinite(scores["true"])]
    control = np.concatenate([scores[name] for name in (*WRONG_MAPS, "wrong name")])
    control = control[np.isfinite(control)]
    given = np.unique(np.concatenate([true, control]))
    if not true.size or not control.size or given.size < 2:
        return None
    between = (given[1:] + given[:-1]) / 2
    gain = (true[:, None] >= between).mean(axis=0) - (control[:, None] >= between).mean(axis=0)
    if gain.max() <= 0:
        return None
    # of equally good ones the middle: nothing is said for either end
    best = between[np.flatnonzero(gain == gain.max())]
    score = float(format_number(float(best[best.size // 2])))
    kept, passed = (wilson(int((part >= score).sum()), int(part.size)) for part in (true, control))
    return Threshold(score, kept, passed)
