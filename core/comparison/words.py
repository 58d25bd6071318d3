"""A comparison in sentences, as one would say them to a colleague."""

from __future__ import annotations

import math
from pathlib import Path

from core.comparison.result import Accuracy, Change, Churn, Comparison, Judges, Meant, Moved
from core.findings.significance import RATE
from core.records import MACHINE
from core.statistics import Interval, format_count, format_number, format_percent, format_pictures, format_rate


def sentences(found: Comparison) -> list[str]:
    """What is said of two runs, the most important first."""
    if found.one_classifier:
        said = [classifier_words(found.accuracy)]
    else:
        said = [accuracy_words(found.accuracy, found.churn)] if found.accuracy else [churn_words(found.churn)]
        if found.accuracy and (words := chance_words(found.accuracy, found.churn)):
            said.append(words)
        if found.accuracy:
            said.append(changes_words(found))
    if found.attention:
        said.append(attention_words(found.attention))
    if found.calibration and not found.one_classifier:
        said.append(f"{calibration_words(*found.calibration)} {surer_words(found.surer)}")
    if found.judges:
        said.append(judges_words(found.judges))
    return [*said, matched_words(found), *settings_words(found), *found.notes]


UNTOLD = (MACHINE, "images", "no_vlm", "mmproj")
"""Settings that say nothing more: where the work was done, what both have, what goes without saying of the judge."""
SAID_AS = {"vlm": "judge", "vlm_url": "judge's server", "beta": "threshold"}


def settings_words(found: Comparison) -> list[str]:
    """What the two runs were told differently, in a sentence; files by their names."""
    a, b = found.a.settings.kept, found.b.settings.kept
    names = [name for name in (*a, *(name for name in b if name not in a)) if name not in UNTOLD]
    told = [
        f"{SAID_AS.get(name, name.replace('_', ' '))} {_setting(a.get(name))} and {_setting(b.get(name))}"
        for name in names
        if a.get(name) != b.get(name)
    ]
    return [f"Settings that differ (A and B): {'; '.join(told)}."] if told else []


def _setting(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else Path(str(value)).name


def matched_words(found: Comparison) -> str:
    """How many pictures both runs have."""
    alone = [f"{format_count(n)} only in {letter}" for letter, n in (("A", found.only_a), ("B", found.only_b)) if n]
    rest = f" ({', '.join(alone)})" if alone else ""
    return f"Both runs have {format_pictures(found.matched)} in common{rest}."


def classifier_words(told: Accuracy | None) -> str:
    """Where only maps or judges can differ."""
    right = f", right on {format_count(round(told.a.value * told.n))} of {format_count(told.n)}" if told else ""
    return f"Both runs are of one classifier{right}: only their maps and judges can differ."


def accuracy_words(told: Accuracy, churn: Churn) -> str:
    """Who is right more often, whether that is chance, and how often they disagree."""
    a, b = (round(rate.value * told.n) for rate in (told.a, told.b))
    counts = f"of {format_count(told.n)} ({format_count(a)} and {format_count(b)})"
    apart = f"their answers differ on {format_pictures(_differing(churn))}"
    if a == b:
        return f"Both are right on {format_pictures(a)} of {format_count(told.n)}; {apart}."
    better = "B" if b > a else "A"
    chance = f"no more than chance ({p_words(told.p)})" if told.p > RATE else f"more than chance ({p_words(told.p)})"
    return f"{better} is right on {format_pictures(abs(b - a))} more {counts}: {chance}; {apart}."


def churn_words(churn: Churn) -> str:
    """How often answers differ, where it is not known which are right."""
    return f"Their answers differ on {format_pictures(_differing(churn))}: {format_rate(churn.differ)}."


def chance_words(told: Accuracy, churn: Churn) -> str:
    """How the pictures that just one has right are split, and what two equally good classifiers would do."""
    only_a, only_b = len(told.regressions), len(told.wins)
    if not only_a + only_b or churn.expected is None:
        return ""
    low, high = churn.expected
    return (
        f"Only A is right on {format_count(only_a)}, only B on {format_count(only_b)}: were both equally good, B would "
        f"have {format_count(low)} to {format_count(high)} of these {format_count(only_a + only_b)}. Two trainings of "
        "one recipe disagree, too; how often, two runs alone cannot say: a third run with another seed can."
    )


def changes_words(found: Comparison) -> str:
    """How many classes, slices and confusions were asked, and which differ."""
    told = found.changes
    if not told.asked:
        return "No class or slice has enough disagreements (6) to be asked whether it differs."
    asked = f"{told.asked:,} classes, slices and confusions" if told.asked > 1 else "the 1 class, slice or confusion"
    standing = told.standing
    if not standing:
        return f"Of {asked} with enough disagreements none differs more than chance."
    first = "; ".join(change_words(item) for item in standing[:3])
    return f"Of {asked} with enough disagreements {len(standing):,} differ{'s' if len(standing) == 1 else ''}: {first}."


def change_words(item: Change) -> str:
    """One difference: `labelled “cow”: right on 80 of 100 with A, 60 with B`."""
    verb = "given by" if item.kind == "confusion" else "right with"
    rest = "" if item.rest is None else f"; elsewhere A on {item.rest.a:,} of {item.rest.n:,}, B on {item.rest.b:,}"
    return f"{item.words}: {verb} A on {item.a:,} of {item.n:,}, B on {item.b:,}{rest} ({p_words(item.p)})"


def attention_words(told: Moved) -> str:
    """How far attention moved."""
    same = told.overlap.value >= 0.999
    if same:
        return f"Both look at the same part of every picture (n {format_count(told.overlap.n)})."
    other = f" (of two different pictures {format_percent(told.other.value)})" if told.other.known else ""
    rank = f" ({format_number(told.rank_other.value)})" if told.rank_other.known else ""
    return (
        f"The parts they attend to overlap by {format_rate(told.overlap)}{other}; rank correlation of the maps "
        f"{format_number(told.rank.value)}{rank}. {more(told.area, 'B attends to more', 'B attends to less')}."
    )


def more(value: Interval, up: str, down: str) -> str:
    """A difference of shares with its interval, as its direction and its size in points."""
    if value.value < 0:
        value = Interval(-value.value, -value.high, -value.low, value.n)
        up = down
    chance = ", no more than chance" if value.low <= 0 else ""
    return f"{up} by {points(value).removeprefix('+')}{chance}"


def calibration_words(a: Meant, b: Meant) -> str:
    """Does each mean its confidence."""
    parts = [
        f"{letter} is {format_percent(meant.confidence)} sure on average, calibration error {error_words(meant.error)}"
        for letter, meant in (("A", a), ("B", b))
    ]
    return "; ".join(parts) + "."


def surer_words(value: Interval) -> str:
    """How much surer B is than A on the same pictures."""
    return f"On the same pictures {more(value, 'B is surer', 'B is less sure')}."


def error_words(error: Interval) -> str:
    """A calibration error with its interval."""
    return format_rate(error, n=False)


def judges_words(told: Judges) -> str:
    """How far two judges agree."""
    maps = "" if told.same_maps else " They were shown different maps."
    shift = told.difference
    if not told.kappa.known:
        beyond = "kappa is not known, since both say one thing only"
    else:
        beyond = f"kappa {number_words(told.kappa)}"
    rank = f", rank correlation of the scores {format_number(told.rank)}" if math.isfinite(told.rank) else ""
    return (
        f"On {format_pictures(told.n)} that both judged for the same answer the judges agree on high or low in "
        f"{format_rate(told.agree, n=False)}; {beyond}{rank}. B scores {signed(shift)} points of 5.{maps}"
    )


def number_words(value: Interval) -> str:
    """A number with its interval: `0.61 [0.50, 0.72]`."""
    return f"{_number(value.value)} [{_number(value.low)}, {_number(value.high)}]"


def signed(value: Interval) -> str:
    """A difference with its interval: `+0.20 [-0.10, 0.50]`."""
    return f"{'+' if value.value >= 0 else ''}{number_words(value)}"


def points(value: Interval) -> str:
    """A difference of two rates in points: `+0.3 points [-2.9, 3.5]`."""
    numbers = [f"{100 * number:.1f}".replace("-0.0", "0.0") for number in (value.value, value.low, value.high)]
    sign = "" if numbers[0].startswith("-") else "+"
    return f"{sign}{numbers[0]} points [{numbers[1]}, {numbers[2]}]"


def p_words(p: float) -> str:
    """A p-value: `p = 0.032`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else "p = 1.0" if p >= 0.9995 else f"p = {p:.2g}"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00")


def _differing(churn: Churn) -> int:
    return round(churn.differ.value * churn.differ.n) if churn.differ.known else 0
