"""What a judge often says of a group names it where the words are sure, and nothing names it where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core import report
from core.findings.significance import RATE
from core.findings.words import described, log_odds, named
from core.store import Store
from tests.support.described import PLANTED, Texts, described_world
from tests.support.discovered import make_discovered_store
from tests.support.page_runs import opened


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


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    folder = tmp_path_factory.mktemp("told") / "store"
    return make_discovered_store(folder, classes=("cow", "horse"), rows=400, says="<b>grey</b> ball")


def test_reports_say_the_words_of_a_used_group_beside_its_own_sentence(told: tuple[Store, str]) -> None:
    store, run = told
    con = store.reader()
    said = described(con, run)
    assert len(said) == 1 and "grey" in next(iter(said.values()))
    for text in (report.markdown(con, run, []), report.html(con, run, [])):
        assert "Often described as: " in text
        assert "pulls other pictures towards" in text
        assert "<b>grey" not in text


def test_a_group_of_which_the_judge_says_nothing_of_its_own_has_no_words(tmp_path: Path) -> None:
    store, run = make_discovered_store(tmp_path / "store", classes=("cow", "horse"), rows=400)
    assert described(store.reader(), run) == {}
    assert "Often described as" not in report.markdown(store.reader(), run, [])


@pytest.mark.slow
def test_summary_shows_the_words_of_a_used_group(monkeypatch: pytest.MonkeyPatch, told: tuple[Store, str]) -> None:
    store, run = told
    app = opened(monkeypatch, "summary", store.folder, run=run)
    given = [item.proto.json for item in app.get("bidi_component")]
    assert not app.exception and any("Often described as: " in json for json in given)
