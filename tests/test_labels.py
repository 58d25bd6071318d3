"""Suspected wrong labels are found and ranked, said with their reasons; what cannot be told is said in a sentence."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from core.labels import Suspects, calibration, duplicates, outliers, suspects
from core.labels.agreement import temperature
from core.labels.calibration import calibration_error
from core.labels.suspects import suspicion
from core.queries import LabelRows
from tests.support.labelled import labelled, without_features


def hits(found: Suspects, wrong: NDArray[np.bool_]) -> int:
    """How many of the listed labels are wrong."""
    return sum(bool(wrong[int(item.image_id, 16)]) for item in found.listed)


def ranked(rows: LabelRows, wrong: NDArray[np.bool_]) -> float:
    """Average precision of the ranking."""
    return float(average_precision_score(wrong, suspicion(rows.probabilities, rows.labels, rows.features).doubt))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_most_flagged_labels_are_wrong_and_most_wrong_labels_are_flagged(share: float) -> None:
    rows, wrong = labelled(2000, wrong=share)
    found = suspects(rows, most=2000)
    assert found.flagged == len(found.listed)
    assert hits(found, wrong) >= 0.75 * found.flagged
    assert hits(found, wrong) >= 0.75 * wrong.sum()
    assert [item.rank for item in found.listed] == list(range(1, found.flagged + 1))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_the_ranking_is_better_than_the_margin(share: float) -> None:
    rows, wrong = labelled(2000, wrong=share, spread=2)
    own = rows.probabilities[np.arange(rows.n), rows.labels]
    other = rows.probabilities.copy()
    other[np.arange(rows.n), rows.labels] = 0
    floor = average_precision_score(wrong, other.max(axis=1) - own)
    assert ranked(rows, wrong) >= floor + 0.02
    assert ranked(rows, wrong) > ranked(without_features(rows), wrong)


def test_soft_probabilities_change_neither_ranking_nor_flags() -> None:
    (sharp, wrong), (soft, _) = labelled(1500), labelled(1500, temperature=2)
    assert soft.probabilities.max(axis=1).mean() < sharp.probabilities.max(axis=1).mean() - 0.02
    names = [{item.image_id for item in suspects(rows).listed} for rows in (sharp, soft)]
    assert len(names[0] & names[1]) >= 0.95 * len(names[0] | names[1])
    assert abs(ranked(sharp, wrong) - ranked(soft, wrong)) < 0.005


def test_the_temperature_is_that_by_which_probabilities_were_softened() -> None:
    (sharp, _), (soft, _) = labelled(3000, wrong=0), labelled(3000, wrong=0, temperature=3)
    ratio = temperature(sharp.probabilities, sharp.labels) / temperature(soft.probabilities, soft.labels)
    assert ratio == pytest.approx(3, rel=0.02)


def test_each_suspect_says_why_in_words() -> None:
    rows, _ = labelled(600, wrong=0)
    sure = rows.probabilities.max(axis=1)
    place = int(np.flatnonzero(rows.probabilities.argmax(axis=1) == rows.labels)[sure[rows.labels >= 0].argmax()])
    right, other = int(rows.labels[place]), (int(rows.labels[place]) + 1) % rows.classes
    twin = next(i for i in range(rows.n) if rows.labels[i] == right and i != place)
    labels, scores, hashes = rows.labels.copy(), rows.scores.copy(), list(rows.hashes)
    labels[place], scores[place], hashes[place] = other, 4.2, hashes[twin]
    found = suspects(replace(rows, labels=labels, scores=scores, hashes=tuple(hashes)), most=600)
    item = next(item for item in found.listed if item.image_id == rows.image_ids[place])
    assert (item.label, item.suggested) == (rows.names[other], rows.names[right])
    assert item.reasons[0] == f"a near-duplicate is labelled {rows.names[right]}"
    assert re.search(rf"\d of the 10 pictures most like it are labelled {rows.names[right]}", item.reason)
    assert f"% sure that it is {rows.names[right]}" in item.reason
    assert f"the judge finds support for {rows.names[right]} (4.2 of 5)" in item.reasons


def test_without_features_no_reason_speaks_of_neighbours() -> None:
    found = suspects(without_features(labelled(800)[0]))
    assert found.listed and not found.with_features
    assert all(item.reasons and "most like it" not in item.reason for item in found.listed)


def _changed(**fields: object) -> LabelRows:
    return replace(labelled(200)[0], **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (_changed(labels=np.full(200, -1)), "no labels"),
        (_changed(labels=np.full(200, 7), names=(*(f"class{i}" for i in range(5)), "a", "b", "zebra")), "no label is"),
        (_changed(labels=np.zeros(200, np.int64), probabilities=np.ones((200, 1), np.float32)), "one class"),
        (_changed(labels=labelled(200)[0].probabilities.argmax(axis=1)), "every label is what"),
        (_changed(labels=(labelled(200)[0].probabilities.argmax(axis=1) + 1) % 5), "answers otherwise on every"),
        (_changed(probabilities=np.full((200, 5), np.nan, np.float32)), "no label is"),
        (labelled(10, wrong=0.3)[0], "little can be said"),
    ],
)
def test_where_little_or_nothing_can_be_said_there_is_a_sentence(rows: LabelRows, words: str) -> None:
    found = suspects(rows)
    assert words in found.note.lower()
    if "little" not in words:
        assert not found.listed and not found.flagged


def test_rare_classes_and_missing_features_are_no_error() -> None:
    rows, _ = labelled(300, classes=100)
    features = np.array(rows.features)
    features[::3] = np.nan
    assert suspects(replace(rows, features=features)).looked_at == 300
    assert suspects(replace(rows, features=np.zeros_like(features))).looked_at == 300


def test_duplicates_disagree_across_labels_and_splits() -> None:
    rows, _ = labelled(40, classes=3, wrong=0)
    labels, paths, hashes = rows.labels.copy(), list(rows.paths), list(rows.hashes)
    labels[:4] = [0, 1, 2, 2]
    hashes[1], hashes[3] = hashes[0], hashes[2]  # 0 and 1 are nearly the same, 2 and 3, too
    paths[5] = ("class0/a.png", "class1/a.png")
    paths[6] = ("train/class0/b.png", "test/class0/b.png")
    splits = tuple("train" if place % 2 else "test" for place in range(40))
    changed = replace(rows, labels=labels, paths=tuple(paths), hashes=tuple(hashes), splits=splits)
    found = duplicates(changed)
    assert (found.exact, found.near) == (2, 2)
    assert [(item.exact, item.labels) for item in found.across_labels] == [
        (True, ("class0", "class1")),
        (False, ("class0", "class1")),
    ]
    assert [item.words for item in found.across_splits] == [
        "The same file in test and train",
        "Nearly the same picture under class0 and class1, in test and train",
        "Nearly the same picture in test and train",
    ]
    assert duplicates(labelled(40)[0]).near == 0


def test_a_picture_unlike_all_others_is_an_outlier_and_the_others_are_none() -> None:
    rows, _ = labelled(400)
    features = np.array(rows.features)
    features[7] += 40
    found = outliers(replace(rows, features=features))
    assert found is not None and [item.image_id for item in found] == [rows.image_ids[7]]
    assert found[0].times > 3
    assert outliers(without_features(rows)) is None


def test_the_calibration_error_holds_the_truth_and_is_not_made_by_chance() -> None:
    rng = np.random.default_rng(3)
    for gap in (0.0, 0.1):
        held = []
        for seed in range(100):
            sure = rng.uniform(0.3, 1, 800)
            found = calibration_error(sure, rng.random(800) < np.clip(sure - gap, 0, 1), seed=seed)
            held.append(found.low <= gap <= found.high)
        assert np.mean(held) >= 0.9
    assert calibration_error(sure[:600], np.ones(600, dtype=bool)).low > 0.2  # always right, never sure


def test_calibration_says_what_would_mend_it() -> None:
    rows, _ = labelled(4000, wrong=0)
    sharp = rows.probabilities.astype(np.float64) ** 3
    found = calibration(replace(rows, probabilities=(sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32)))
    assert found is not None
    assert found.confidence > found.right.value and found.error.low > 0
    assert found.mend.temperature > 1.5 and found.mend.loss_after < found.mend.loss_before
    assert found.mend.error_after.value < found.mend.error_before.value
    assert sum(item.right.n for item in found.bins) == 4000 == sum(item.right.n for item in found.classes)
    assert calibration(labelled(30)[0]) is None
