"""Findings that need no search: confident mistakes, confusions, weak classes, suspected wrong labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.findings.finding import Finding
from core.findings.frame import Frame, quoted
from core.findings.significance import benjamini_hochberg, two_proportion
from core.queries import literal
from core.statistics import format_percent, format_pictures, format_rate, wilson

SURE = 0.9
LEAST_CONFUSED = 3
DOUBTED = 0.01
MOST_PER_KIND = 5


def failures(frame: Frame) -> list[Finding]:
    """How often the classifier is wrong, and how often it is wrong and sure."""
    known, wrong = frame.judgeable, frame.wrong
    if not wrong.any():
        return []
    n, mistakes = int(known.sum()), int(wrong.sum())
    value = wilson(mistakes, n)
    found = [
        Finding(
            "failures",
            0,
            f"The classifier is wrong on {format_pictures(mistakes)}: {format_rate(value)}.",
            value,
            None,
            frame.select("NOT correct"),
            mistakes,
            float(mistakes),
        )
    ]
    # DuckDB decides which pictures are sure, so that FLOAT against 0.9 cannot give two answers.
    sure = frame.masks([f"confidence >= {SURE}"])[0]
    count = int((wrong & sure).sum())
    if count:
        share = wilson(count, mistakes)
        sentence = (
            f"{format_rate(share)} of the mistakes are made with a confidence of 90% or more: {format_pictures(count)}."
        )
        sql = frame.select("NOT correct", f"confidence >= {SURE}")
        found.append(Finding("failures", 0, sentence, share, None, sql, count, float(count)))
    return found


def confusions(frame: Frame) -> list[Finding]:
    """Pairs of classes: one is called the other more often than the remaining classes are."""
    known = frame.judgeable
    labels, answers = frame.columns["label"][known], frame.columns["prediction"][known]
    pairs: dict[tuple[str, str], int] = {}
    for pair in zip(labels, answers, strict=True):
        if pair[0] != pair[1]:
            pairs[pair] = pairs.get(pair, 0) + 1
    of_label = {name: int((labels == name).sum()) for name in frame.names("label")}
    tested: list[tuple[str, str, int, int, int]] = []
    for (label, answer), count in pairs.items():
        if count >= LEAST_CONFUSED:
            others = [n for (other, given), n in pairs.items() if given == answer and other != label]
            rest_n = int(known.sum()) - of_label[label] - of_label.get(answer, 0)
            tested.append((label, answer, count, sum(others), rest_n))
    p_values = [two_proportion(count, of_label[label], rest, rest_n) for label, _, count, rest, rest_n in tested]
    # Pairs were picked for their counts, so all that could have been picked are hypotheses.
    family = len(of_label) * len(frame.names("prediction"))
    found: list[Finding] = []
    stand = benjamini_hochberg(p_values, tests=family)
    for (label, answer, count, rest_k, rest_n), stands in zip(tested, stand, strict=True):
        value, rest = wilson(count, of_label[label]), wilson(rest_k, rest_n)
        if not stands or (rest.known and value.value <= rest.value):
            continue
        sentence = (
            f"Pictures labelled {quoted(label)} are called {quoted(answer)} in {format_rate(value)}, against "
            f"{format_rate(rest)} of the remaining classes."
        )
        sql = frame.select(f"label = {literal(label)}", f"prediction = {literal(answer)}")
        found.append(Finding("confusion", 0, sentence, value, rest, sql, count, float(count)))
    return sorted(found, key=lambda item: -item.impact)[:MOST_PER_KIND]


def weak_classes(frame: Frame) -> list[Finding]:
    """Classes that are recognised less often than the rest."""
    known, correct = frame.judgeable, frame.correct
    total, right = int(known.sum()), int(correct.sum())
    tested = []
    for label in frame.names("label"):
        own = known & frame.is_value("label", label)
        tested.append((label, int((own & correct).sum()), int(own.sum())))
    p_values = [two_proportion(k, n, right - k, total - n) for _, k, n in tested]
    found: list[Finding] = []
    for (label, k, n), stands in zip(tested, benjamini_hochberg(p_values), strict=True):
        value, rest = wilson(k, n), wilson(right - k, total - n)
        if not stands or not value.known or not rest.known or value.value >= rest.value:
            continue
        sentence = (
            f"{quoted(label)} is recognised in only {format_rate(value)} of its pictures, against "
            f"{format_rate(rest)} of the other classes."
        )
        sql = frame.select(f"label = {literal(label)}", "correct IS NOT NULL")
        found.append(Finding("weak_class", 0, sentence, value, rest, sql, n, n * (rest.value - value.value)))
    return sorted(found, key=lambda item: -item.impact)[:MOST_PER_KIND]


def _doubt(thresholds: Mapping[str, float]) -> str:
    """SQL: surer of the predicted class than that class's threshold, and next to nothing for the label."""
    cases = " ".join(f"WHEN {literal(name)} THEN {value!r}" for name, value in sorted(thresholds.items()))
    return f"label_probability < {DOUBTED} AND confidence >= CASE prediction {cases} END"


def wrong_labels(frame: Frame) -> list[Finding]:
    """Suspected wrong labels by confident learning (Northcutt et al. 2021, JAIR 70:1373).

    A picture is suspect when its predicted class is not its label and is given at least the mean probability that
    pictures labelled with that class give it, while its label is given next to none. The
    floor, flagging every mistake, is said beside it.
    """
    wrong = frame.wrong
    own = frame.numbers("label_probability")
    thresholds: dict[str, float] = {}
    for label in frame.names("label"):
        of_label = own[frame.is_value("label", label)]
        of_label = of_label[np.isfinite(of_label)]
        if of_label.size:
            thresholds[str(label)] = float(f"{of_label.mean():.4g}")
    if not wrong.any() or not thresholds:
        return []
    suspects = frame.masks([f"NOT correct AND {_doubt(thresholds)}"])[0]
    # Only the classes that matter stay in the query: with a thousand of them it would be too long to run.
    condition = _doubt({name: thresholds[name] for name in frame.columns["prediction"][suspects]} or thresholds)
    count, mistakes = int(suspects.sum()), int(wrong.sum())
    if not count:
        return []
    value = wilson(count, int(frame.judgeable.sum()))
    sentence = (
        f"Worth checking for a wrong label: {format_pictures(count)}, {format_rate(value)}. The classifier is as sure "
        f"of another class as it usually is of that class, and gives the label less than {format_percent(DOUBTED)}. "
        f"Checking every mistake instead would mean {format_pictures(mistakes)}."
    )
    seen = frame.masks(["NOT correct AND cell = 'wrong_high' AND " + condition])[0]
    if seen.any():
        sentence += f" In {int(seen.sum()):,} of the {count:,} the judge says that it looked at the right thing."
    return [
        Finding("wrong_label", 0, sentence, value, None, frame.select("NOT correct", condition), count, 0.25 * count)
    ]
