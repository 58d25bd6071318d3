"""Where the classifier looks: right for the wrong reason, habits of classes, maps that explain nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.columns import BY_NAME
from core.findings.finding import Finding
from core.findings.frame import Frame, Mask, quoted
from core.findings.significance import benjamini_hochberg, two_proportion, welch
from core.queries import literal
from core.statistics import format_mean, format_percent, format_pictures, format_rate, mean_interval, weighted_rate

LEAST_PICTURES = 10
LEAST_EFFECT = 0.8
"""Smallest difference of two means, in standard deviations, that is worth a sentence."""
MOST_HABITS = 4
MOST_REASONS = 3


def wrong_reasons(frame: Frame) -> list[Finding]:
    """Classes that are classified correctly while the judge finds the attention misplaced: a shortcut is suspected."""
    cells = frame.columns["cell"]
    right = np.isin(cells.astype(str), ["correct_high", "correct_low"])
    low = np.asarray(cells == "correct_low", dtype=bool)
    weights = np.nan_to_num(frame.numbers("weight"), nan=1.0)
    if not low.any():
        return []
    names = [name for name in frame.names("prediction") if int((right & frame.is_value("prediction", name)).sum())]
    groups = [right & frame.is_value("prediction", name) for name in names]
    p_values = [
        two_proportion(
            int((own & low).sum()), int(own.sum()), int((right & ~own & low).sum()), int((right & ~own).sum())
        )
        for own in groups
    ]
    found: list[Finding] = []
    for name, own, stands in zip(names, groups, benjamini_hochberg(p_values), strict=True):
        value = weighted_rate(low[own], weights[own])
        rest = weighted_rate(low[right & ~own], weights[right & ~own])
        if not stands or value.n < LEAST_PICTURES or value.value <= rest.value:
            continue
        sentence = (
            f"Of the pictures rightly called {quoted(name)}, the judge scores {format_rate(value)} below "
            f"{frame.high_score:g}, as right for the wrong reason, against {format_rate(rest)} of the other classes: "
            "a shortcut, or a judge that is harsh on this class."
        )
        sql = frame.select(f"prediction = {literal(name)}", "cell = 'correct_low'")
        n = int((own & low).sum())
        found.append(Finding("shortcut", 0, sentence, value, rest, sql, n, n - value.n * rest.value))
    return sorted(found, key=lambda item: -item.impact)[:MOST_REASONS]


@dataclass(frozen=True)
class Habit:
    """One attention statistic and how a sentence says that it is high or low."""

    column: str
    high: str
    low: str
    share: bool


HABITS = (
    Habit("attention_border", "at the edge of the picture", "away from the edge", True),
    Habit("attention_area", "at much of the picture", "at a small part of the picture", True),
    Habit("attention_x", "to the right", "to the left", False),
    Habit("attention_y", "towards the bottom", "towards the top", False),
)


def class_habits(frame: Frame) -> list[Finding]:
    """Classes whose answers are explained from another place than the rest's."""
    tested: list[tuple[float, float, Habit, str, Mask, Mask]] = []
    for habit in HABITS:
        numbers = frame.numbers(habit.column)
        known = np.isfinite(numbers)
        spread = float(numbers[known].std()) if known.any() else 0.0
        for name in frame.names("prediction"):
            own = known & frame.is_value("prediction", name)
            rest = known & ~own
            if int(own.sum()) < LEAST_PICTURES or int(rest.sum()) < LEAST_PICTURES or spread == 0:
                continue
            effect = float(numbers[own].mean() - numbers[rest].mean()) / spread
            tested.append((welch(numbers[own], numbers[rest]), effect, habit, name, own, rest))
    stands = benjamini_hochberg([item[0] for item in tested])
    strong = [item for item, stand in zip(tested, stands, strict=True) if stand and abs(item[1]) >= LEAST_EFFECT]
    strong.sort(key=lambda item: -abs(item[1]))
    found: dict[str, Finding] = {}
    for _, effect, habit, name, own, rest in strong:
        found.setdefault(name, _habit(frame, habit, name, own, rest, effect))  # one sentence per class, its strongest
    return list(found.values())[:MOST_HABITS]


def _habit(frame: Frame, habit: Habit, name: str, own: Mask, rest: Mask, effect: float) -> Finding:
    numbers = frame.numbers(habit.column)
    value, other = mean_interval(numbers[own]), mean_interval(numbers[rest])
    place = habit.high if effect > 0 else habit.low
    write = format_rate if habit.share else format_mean
    sentence = (
        f"For {quoted(name)} the classifier looks {place}: {BY_NAME[habit.column].phrase} {write(value)}, "
        f"against {write(other)} for other answers."
    )
    sql = frame.select(f"prediction = {literal(name)}", f"{habit.column} IS NOT NULL")
    return Finding("attention", 0, sentence, value, other, sql, value.n, abs(effect))


def idle_maps(frame: Frame) -> list[Finding]:
    """Pictures where removing the attended region matters no more than removing a random one."""
    drop, random = frame.numbers("causal_drop"), frame.numbers("causal_drop_random")
    known = np.isfinite(drop) & np.isfinite(random)
    if not known.any():
        return []
    idle = frame.masks(["causal_drop <= causal_drop_random"])[0]
    value = weighted_rate(idle[known])
    n = int(idle.sum())
    if not n:
        return []
    sentence = (
        f"In {format_rate(value)} removing what the map marks costs the answer no more than removing a random "
        f"region of the same size: there the map does not show the cause ({format_pictures(n)}). On average the "
        f"marked region costs {format_percent(float(drop[known].mean()))} of probability, a random one "
        f"{format_percent(float(random[known].mean()))}."
    )
    sql = frame.select("causal_drop <= causal_drop_random")
    return [Finding("attention", 0, sentence, value, None, sql, n, 0.5)]
