"""Contexts that pull other classes towards one answer: the model may read the context, not the object.

An association, so a suspicion only, until an intervention tests it.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from core.findings.asking import EVERY, PROPOSE_P, Comparison, Question, Recipe, worth_asking
from core.findings.finding import Finding
from core.findings.frame import Condition, Frame, Places, metadata_conditions, quoted
from core.findings.significance import Table
from core.queries import literal
from core.statistics import format_spoken


def context_shortcuts(frame: Frame) -> list[Question]:
    """Values of metadata in which other classes are given one answer more often than the same classes elsewhere.

    Three things must hold: more of that answer within the same labels; more of it among the
    mistakes alone (else every answer is worse there); and still more of it without the label that gives most of it
    (else two classes merely look alike). There must be no sign that the class itself is recognised less
    often there.
    """
    names, labels, answers = frame.classes
    candidates: list[tuple[int, Condition]] = []
    recipes: list[Recipe] = []
    for item in metadata_conditions(frame):
        if item.ordered:
            continue
        for place in np.unique(answers[frame.judgeable]):
            candidates.append((int(place), item))
            recipes.append(partial(_called, frame, int(place), item))
    questions: list[Question] = []
    chosen, part = worth_asking(frame, recipes)
    for index in chosen:
        place, item = candidates[index]
        every = recipes[index](EVERY)
        if not _recognised_there(frame, place, item):
            continue
        questions.append(
            Question(
                "shortcut",
                (every,),
                every,
                part,
                partial(_shortcut, frame, names[place], item),
                _demands(frame, every, part),
                cause=item,
                answer=names[place],
            )  # fmt: skip
        )
    return questions


def _called(frame: Frame, place: int, item: Condition, part: Places | slice) -> Comparison:
    """Other classes' pictures that are given the answer `place`, in the context against elsewhere."""
    _, labels, answers = frame.classes
    others = frame.judgeable[part] & (labels[part] != place)
    mask = item.mask[part]
    return Comparison(others & mask, others & ~mask, answers[part] == place, labels[part])


def _demands(frame: Frame, every: Comparison, part: Places) -> tuple[Comparison, ...]:
    wrong, labels = frame.wrong, every.strata
    giving = labels[part][(every.inside & every.hits)[part]]
    commonest = np.bincount(giving).argmax() if giving.size else -1
    several = labels != commonest
    among_mistakes = Comparison(every.inside & wrong, every.outside & wrong, every.hits, labels)
    without = Comparison(every.inside & several, every.outside & several, every.hits, labels)
    return among_mistakes, without


def _recognised_there(frame: Frame, place: int, item: Condition) -> bool:
    """Whether there is no sign that the class itself is recognised less often inside the context."""
    own = frame.judgeable & (frame.classes[1] == place)
    if not (own & item.mask).any():
        return False
    less = Comparison(own & item.mask, own & ~item.mask, frame.wrong, np.zeros_like(frame.classes[1]))
    return less.p(frame, frame.everything) >= PROPOSE_P


def _shortcut(frame: Frame, name: str, item: Condition, table: Table, z: float) -> Finding:
    inside = frame.judgeable & ~frame.is_value("label", name) & item.mask
    value, rest = table.intervals(z=z)
    count = int((inside & frame.is_value("prediction", name)).sum())
    sentence = (
        f"With {item.words}, other classes are called {quoted(name)} {format_spoken(value.value)} of the time, "
        f"{format_spoken(rest.value)} elsewhere."
    )
    called = [f"label <> {literal(name)}", f"prediction = {literal(name)}", item.sql]
    gain = (value.value - rest.value) * int(inside.sum())
    contrast = frame.select(f"label <> {literal(name)}", f"({item.sql}) IS NOT TRUE", "correct")
    sql = frame.select(*called)
    return Finding("shortcut", 0, sentence, value, rest, sql, count, gain, contrast_sql=contrast)
