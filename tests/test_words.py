"""What a judge often says of a group names it where the words are sure, and nothing names it where they are not."""

from __future__ import annotations

import numpy as np

from core.findings.significance import RATE
from core.findings.words import log_odds, named
from tests.support.described import PLANTED, Texts, described_world


def test_words_that_go_with_the_class_alone_name_no_group() -> None:
    wrong = sum(bool(named(*described_world(seed, Texts(), n=1000), rate=RATE)) for seed in range(20))
    assert wrong <= 4  # of 20; one in twenty worlds is allowed, and 5 or more has a chance of 0.3%


def test_a_planted_word_names_its_group_and_no_other() -> None:
    said = named(*described_world(1, Texts(inside=0.7, outside=0.05)), rate=RATE / 10)
    assert set(said) == {"class0 1"}
    assert said["class0 1"].startswith("Often described as: “")
    assert PLANTED in said["class0 1"]
    assert "of the judge's texts on them" in said["class0 1"]


def test_a_word_that_few_texts_of_a_group_have_does_not_name_it() -> None:
    assert not named(*described_world(1, Texts(inside=0.2, outside=0.0)), rate=1.0).get("class0 1", "").count(PLANTED)


def test_without_texts_of_a_judge_no_group_has_words() -> None:
    assert named(*described_world(1, Texts(inside=0.7, written=0.0)), rate=1.0) == {}


def test_log_odds_are_the_surer_the_more_texts_say_a_word() -> None:
    few, many = (
        log_odds(np.asarray([4.0, 40]) * times, np.asarray([1.0, 40]) * times, np.asarray([5.0, 80]) * times, prior=10)
        for times in (1, 10)
    )
    assert 0 < few[0] < many[0]
    assert few[1] < 0
