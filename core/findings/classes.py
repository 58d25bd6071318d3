"""Findings that need no search: confident mistakes, confusions, weak classes, suspected wrong labels.

Knows: labels, predictions, confidences. Does not know: metadata, judges.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from core.findings.asking import EVERY, MOST_FIXED, Comparison, Question, worth_asking
from core.findings.finding import Finding
from core.findings.frame import Frame, Places, quoted
from core.findings.significance import Table
from core.labels import Suspects
from core.queries import literal
from core.statistics import complement, format_pictures, format_rate, format_spoken, wilson

SURE = 0.9
LEAST_CONFUSED = 3
MOST_SUSPECTS = 200
"""Suspected wrong labels in a finding at most: its query names each picture. The page Labels has them all."""


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
            f"The classifier is wrong on {format_pictures(mistakes)}, {format_spoken(value.value)} of all.",
            value,
            None,
            frame.select("NOT correct"),
            mistakes,
            float(mistakes),
            format_rate(value),
        )
    ]
    # DuckDB decides which pictures are sure, so that FLOAT against 0.9 cannot give two answers.
    sure = frame.masks([f"confidence >= {SURE}"])[0]
    count = int((wrong & sure).sum())
    if count:
        share = wilson(count, mistakes)
        sentence = f"{format_spoken(share.value)} of the mistakes are made with a confidence of 90% or more."
        sql = frame.select("NOT correct", f"confidence >= {SURE}")
        found.append(Finding("failures", 0, sentence, share, None, sql, count, float(count), format_rate(share)))
    return found


def confusions(frame: Frame) -> list[Question]:
    """Pairs of classes: one is called the other more often than the remaining classes are, also among the mistakes.

    Else a class that is merely hard would be confused with every other.
    """
    names, labels, answers = frame.classes
    known, size = frame.judgeable, len(frame.classes[0])
    pairs = np.bincount(labels[known] * size + answers[known], minlength=size * size).reshape(size, size)
    np.fill_diagonal(pairs, 0)
    able = np.flatnonzero(pairs.sum(0) >= LEAST_CONFUSED)
    asked = [(int(label), int(answer)) for label in np.unique(labels[known]) for answer in able if label != answer]
    if len(asked) > MOST_FIXED:
        asked = _striking(frame)
    flat = np.zeros_like(labels)

    def called(label: int, answer: int, part: Places | slice) -> Comparison:
        there, given = known[part], labels[part]
        others = there & (given != label) & (given != answer)
        return Comparison(there & (given == label), others, answers[part] == answer, flat[part])

    recipes = [partial(called, label, answer) for label, answer in asked]
    questions: list[Question] = []
    chosen, part = worth_asking(frame, recipes)
    for place in chosen:
        label, answer = (names[index] for index in asked[place])
        item = recipes[place](EVERY)
        write = partial(_confusion, frame, label, answer, int(pairs[asked[place]]))
        mistaken = replace(item, inside=item.inside & frame.wrong, outside=item.outside & frame.wrong)
        questions.append(Question("confusion", (item, mistaken), item, part, write))
    return questions


def _striking(frame: Frame) -> list[tuple[int, int]]:
    """The pairs of label and answer that stand out most among the proposing pictures, more than are asked about."""
    part = frame.proposing[frame.judgeable[frame.proposing]]
    names, labels, answers = frame.classes
    size = len(names)
    pairs = np.bincount(labels[part] * size + answers[part], minlength=size * size).reshape(size, size).astype(float)
    right, given, of_label = pairs.diagonal().copy(), pairs.sum(0), np.maximum(pairs.sum(1), 1)
    np.fill_diagonal(pairs, 0)
    elsewhere = np.maximum(given - right - pairs, 0) / np.maximum(part.size - of_label[:, None] - of_label, 1)
    error = np.sqrt(np.maximum(elsewhere, 1 / max(1, part.size)) / of_label[:, None])
    strength = np.where(pairs >= LEAST_CONFUSED, (pairs / of_label[:, None] - elsewhere) / error, 0)
    best = np.argsort(-strength, axis=None, kind="stable")[: 2 * MOST_FIXED]
    return [divmod(int(place), size) for place in best if strength.flat[place] > 0]


def _confusion(frame: Frame, label: str, answer: str, count: int, table: Table, z: float) -> Finding:
    value, rest = table.intervals(z=z)
    sentence = (
        f"Pictures labelled {quoted(label)} are called {quoted(answer)} {format_spoken(value.value)} of the time, "
        f"other classes {format_spoken(rest.value)}."
    )
    sql = frame.select(f"label = {literal(label)}", f"prediction = {literal(answer)}")
    contrast = frame.select(f"label = {literal(label)}", "correct")
    return Finding("confusion", 0, sentence, value, rest, sql, count, float(count), contrast_sql=contrast)


def weak_classes(frame: Frame) -> list[Question]:
    """Classes that are recognised less often than the rest: asked of all pictures, of every class."""
    names, labels, _ = frame.classes
    known = frame.judgeable
    flat = np.zeros_like(labels)
    questions: list[Question] = []
    for place in np.unique(labels[known]):
        own = known & (labels == place)
        item = Comparison(own, known, frame.wrong, flat)  # what is inside does not count outside
        write = partial(_weak_class, frame, names[int(place)], int(own.sum()))
        questions.append(Question("weak_class", (item,), item, frame.everything, write))
    return questions


def _weak_class(frame: Frame, label: str, n: int, table: Table, z: float) -> Finding:
    wrong, rest = table.intervals(z=z)
    sentence = (
        f"{quoted(label)} is recognised {format_spoken(1 - wrong.value)} of the time, other classes "
        f"{format_spoken(1 - rest.value)}."
    )
    sql = frame.select(f"label = {literal(label)}", "correct IS NOT NULL")
    impact = n * (wrong.value - rest.value)
    return Finding("weak_class", 0, sentence, complement(wrong), complement(rest), sql, n, impact)


def wrong_labels(frame: Frame, found: Suspects) -> list[Finding]:
    """The most suspicious labels by core.labels; flagging every mistake instead is said beside it."""
    listed = found.listed[:MOST_SUSPECTS]
    if not listed:
        return []
    value = wilson(found.flagged, found.looked_at)
    sentence = f"{found.headline}: {found.speaks}."
    evidence = (
        f"Suspect are {format_rate(value)}. Checking every mistake instead would mean "
        f"{format_pictures(found.mistakes)}. The page Labels ranks them, each with its reasons."
        + (f" Its query gives the first {len(listed):,}." if found.flagged > len(listed) else "")
    )
    sql = frame.select(f"image_id IN ({', '.join(sorted(literal(item.image_id) for item in listed))})")
    return [Finding("wrong_label", 0, sentence, value, None, sql, len(listed), 0.25 * found.flagged, evidence)]
