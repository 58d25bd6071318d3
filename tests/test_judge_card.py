"""The judge's report card: a good judge passes, and every kind of bad judge is caught.

A bad judge answers through the judge's own interface, in a real run with a real store; the one that ignores the picture
is a real GGUF pair whose projector gives the same embedding whatever it sees.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core.judge.loading
from core import queries
from core.judge.controls import CONTROLS, control_map, generator_of, wrong_name
from core.judge.judge import LlamaJudge
from core.judge.protocol import Judge
from core.queries import JudgeCard, card_of
from core.records import WRONG_MAPS, Judgement, JudgeRequest
from core.store import Store, open_for_writing
from tests.support.command_line import refusal, whylook
from tests.support.page_runs import opened, words_on
from tests.support.tiny_world import make_folder, make_model

Capture = pytest.CaptureFixture[str]
DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
FILES = {"vlm": DEMO / "judge" / "judge.gguf", "mmproj": DEMO / "judge" / "judge-mmproj.gguf"}
HEAT = np.zeros((7, 7), np.float32)
HEAT[2:5, 2:5] = ((0.5, 0.7, 0.5), (0.7, 1.0, 0.7), (0.5, 0.7, 0.5))


# --- controls -------------------------------------------------------------------------------------------------------


def test_an_inverted_map_shows_what_the_true_one_hides_and_an_empty_one_nothing() -> None:
    inverted = control_map(HEAT, "inverted", generator_of("a", "inverted"))
    assert inverted is not None
    assert not ((inverted >= 0.4) & (HEAT > 0.6)).any() and (inverted >= 0.4).sum() >= 40
    empty = control_map(HEAT, "empty", generator_of("a", "empty"))
    assert empty is not None and not empty.any()


def test_a_shuffled_map_has_the_same_values_elsewhere() -> None:
    shuffled = control_map(HEAT, "shuffled", generator_of("a", "shuffled"))
    assert shuffled is not None and sorted(shuffled.ravel()) == sorted(HEAT.ravel()) and (shuffled != HEAT).any()


def test_a_patch_has_the_area_of_what_is_attended_and_lies_beside_it() -> None:
    places = set()
    for index in range(20):
        patch = control_map(HEAT, "patch", generator_of(str(index), "patch"))
        assert patch is not None and patch.sum() == (HEAT >= 0.4).sum() and not (patch * (HEAT >= 0.6)).sum() > 1
        places.add(patch.tobytes())
    assert len(places) > 1


def test_a_wrong_map_that_would_show_most_of_what_the_true_one_shows_is_left_out() -> None:
    everywhere = np.full((7, 7), 0.5, np.float32)
    everywhere[3, 3] = 1
    shown = {control: control_map(everywhere, control, generator_of("a", control)) for control in WRONG_MAPS}
    assert [control for control, map_ in shown.items() if map_ is not None] == ["empty"]


def test_controls_are_the_same_whenever_they_are_made() -> None:
    for control in CONTROLS:
        first, second = (control_map(HEAT, control, generator_of("a", control)) for _ in range(2))
        assert np.array_equal(first, second)


def test_a_wrong_name_is_another_class_and_none_where_there_is_no_other() -> None:
    names = {wrong_name("cow", ("cow", "camel", "duck"), generator_of(str(i), "wrong name")) for i in range(30)}
    assert names == {"camel", "duck"}
    assert wrong_name("cow", ("cow",), generator_of("a", "wrong name")) is None


# --- what the scores add up to --------------------------------------------------------------------------------------


def rows(score: Callable[[int, str], float | None], n: int = 30) -> list[dict[str, Any]]:
    """Rows of table judge_card, scored by a function of picture and control."""
    return [
        {"image_id": f"image-{i:03}", "control": control, "state": "ok" if score(i, control) is not None else "failed",
         "told": "cow" if i % 3 else "duck", "score": score(i, control), "rubric_shift": 0.0, "seconds": 0.02}
        for i in range(n) for control in CONTROLS
    ]  # fmt: skip


def noise(i: int, control: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{i} {control}".encode()).digest()[:4], "little") / 2**32


def good(i: int, control: str) -> float:
    return 3.2 + 1.5 * noise(i, "") if control in ("true", "again") else noise(i, control)


def test_a_judge_that_parts_true_from_wrong_is_good_and_its_threshold_lies_between() -> None:
    card = card_of(rows(good))
    assert card.verdict == "good" and "AUROC 1.00" in card.sentence
    assert card.threshold is not None and 1 < card.threshold.score < 3.2
    assert (card.threshold.kept.value, card.threshold.passed.value) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (lambda i, control: 3.0, "cannot tell real maps from controls"),
        (lambda i, control: 4 + 0.5 * noise(i, control), "cannot tell real maps from controls"),
        (lambda i, control: 5 * noise(i, control if control != "again" else "true"), "cannot tell real maps"),
        (
            lambda i, control: good(i, "true" if control == "wrong name" else control),
            "cannot tell the predicted class from another",
        ),
        (lambda i, control: None, "too few scores"),
    ],
    ids=["constant", "yes-sayer", "random", "deaf to the name", "silent"],
)
def test_bad_judges_fail(score: Callable[[int, str], float | None], word: str) -> None:
    card = card_of(rows(score))
    assert card.verdict == "fail" and word in card.sentence


def test_what_misses_a_bar_is_said_and_asks_for_care() -> None:
    told = rows(good)
    for row in told:
        row["rubric_shift"] = 0.6
        if row["control"] == "patch" and row["image_id"] < "image-010":
            row["score"] = 3.1
    card = card_of(told)
    assert card.verdict == "care"
    assert "empty and random masks" in card.sentence and "rubric" in card.sentence
    by_name = {measure.name: measure for measure in card.measures}
    assert by_name["empty_high"].value.n == 30
    assert by_name["empty_high"].value.value == pytest.approx(10 / 60) and not by_name["empty_high"].passes
    assert by_name["wrong_name_high"].passes


def test_the_share_of_true_maps_that_are_seen_is_told_by_class_where_there_are_ten_of_it() -> None:
    def blind_to_ducks(i: int, control: str) -> float:
        return 1.0 if i % 3 == 0 and control == "true" else good(i, control)

    found = card_of(rows(blind_to_ducks)).by_class
    assert [(name, rate.value, rate.n) for name, rate in found.items()] == [("duck", 0.0, 10), ("cow", 1.0, 20)]
    assert [(name, rate.value) for name, rate in card_of(rows(blind_to_ducks), high=0.5).by_class.items()] == [
        ("cow", 1.0), ("duck", 1.0)
    ]  # fmt: skip
    assert list(card_of(rows(good, n=27)).by_class) == ["cow"]


def test_three_pictures_are_no_proof() -> None:
    card = card_of(rows(good, n=3))
    assert card.verdict == "care" and "3 pictures only" in card.sentence


def test_what_cannot_be_known_is_neither_missed_nor_shown() -> None:
    card = card_of([row for row in rows(good) if row["control"] != "wrong name"])
    assert card.verdict == "good" and "auroc_name" not in {measure.name for measure in card.measures}


def test_a_judge_that_misses_most_true_maps_fails_and_at_its_own_threshold_it_does_not() -> None:
    shy = rows(lambda i, control: 1.5 + i / 50 if control in ("true", "again") else 0.2 + i / 100)
    card = card_of(shy)
    assert card.verdict == "fail" and "misses most true maps" in card.sentence and not card.carries
    assert card.supports_threshold and card.threshold is not None
    again = card_of(shy, high=card.threshold.score)
    assert again.verdict != "fail" and again.carries and again.sensitivity.value == 1.0


def test_no_threshold_is_offered_where_none_parts_anything() -> None:
    assert card_of(rows(lambda i, control: 1.0 if control in ("true", "again") else 4.0)).threshold is None


def test_a_judge_that_says_something_else_the_second_time_is_found_out() -> None:
    told = rows(lambda i, control: good(i, control) + (0.4 if control == "again" else 0))
    retest = next(measure for measure in card_of(told).measures if measure.name == "retest")
    assert retest.value.value == pytest.approx(0.4) and not retest.passes


# --- in a run -------------------------------------------------------------------------------------------------------


class BadJudge(Judge):
    """A judge whose score is a function of the request: the interface of `Judge`, and no picture looked at."""

    protocol, name, note, limits, batch_size = "calibrated", "bad", None, None, 8

    def __init__(self, score: Callable[[JudgeRequest], float]) -> None:
        self._score = score
        self.fingerprint = hashlib.sha256(repr(score).encode()).hexdigest()[:16]

    def judge(self, requests: Sequence[JudgeRequest], *, words: bool = True) -> list[Judgement]:
        """One digit each."""
        judged = []
        for request in requests:
            score = min(5, max(0, round(self._score(request))))
            distribution = tuple(float(value == score) for value in range(6))
            said = ("A thing is visible.", "It is seen.") if words else (None, None)
            judged.append(Judgement(request.image_id, "ok", None, *said, float(score), 0.0, distribution, 0.01, 0.0))
        return judged

    def __exit__(self, *ended: object) -> None:
        """Nothing to free."""


def by_chance(request: JudgeRequest) -> float:
    drawn = hashlib.sha256(request.masked.tobytes() + request.prediction.encode()).digest()[0]
    return drawn % 6


@pytest.fixture
def run_words(tmp_path: Path) -> list[Any]:
    pictures = make_folder(tmp_path / "pictures", per_class=10)
    return ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--store", tmp_path / "store",
            "--vlm", FILES["vlm"], "--mmproj", FILES["mmproj"]]  # fmt: skip


def card_in(store: Path) -> JudgeCard:
    con = Store(store).reader()
    card = queries.judge_card(con, queries.run(con).name)
    assert card is not None
    return card


@pytest.mark.parametrize(
    "score", [lambda request: 5.0, lambda request: 2.0, by_chance], ids=["yes-sayer", "constant", "random"]
)
def test_a_bad_judge_of_a_run_gets_a_failing_card_that_is_said_at_the_end(
    score: Callable[[JudgeRequest], float],
    run_words: list[Any],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core.judge.loading, "load_judge", lambda **options: BadJudge(score))
    answer = whylook(capsys, *run_words)
    assert answer.code == 0 and "note: Do not trust this judge's scores." in answer.err
    assert card_in(tmp_path / "store").verdict == "fail"
    shown = opened(monkeypatch, "summary", tmp_path / "store")
    assert not shown.exception
    assert any("cannot tell real maps from controls" in item.value for item in (*shown.warning, *shown.error))


def blind_pair(folder: Path) -> dict[str, Path]:
    """The demo judge with a projector that says the same of every picture."""
    from gguf import GGUFReader

    vlm, mmproj = (Path(shutil.copy(path, folder / path.name)) for path in FILES.values())
    for tensor in GGUFReader(mmproj, "r+").tensors:
        if tensor.name == "mm.2.weight":
            tensor.data[...] = 0
    return {"vlm": vlm, "mmproj": mmproj}


@pytest.mark.slow
def test_a_real_judge_that_ignores_the_picture_fails_where_the_same_judge_with_eyes_does_not(
    tmp_path: Path, capsys: Capture
) -> None:
    cards = {}
    for name, files in (("eyes", FILES), ("none", blind_pair(tmp_path))):
        store = tmp_path / name
        answer = whylook(
            capsys, "run", DEMO / "evaluation", "--classifier", f"{DEMO / 'classifier.py'}:demo_classifier", "--store",
            store, "--vlm", files["vlm"], "--mmproj", files["mmproj"], "--judge-budget", "10",
        )  # fmt: skip
        assert answer.code in (0, 1)
        card, high = card_in(store), queries.run(Store(store).reader()).high_score
        cards[name] = {measure.name: measure for measure in card.measures}, card.verdict
        assert high == (card.threshold.score if name == "eyes" and card.threshold else 2.5)
        assert card.carries == (name == "eyes")
    seeing, verdict = cards["eyes"]
    assert verdict != "fail" and seeing["auroc"].value.value >= 0.95
    assert seeing["wrong_name_high"].value.value <= 0.1 and abs(seeing["rubric_shift"].value.value) <= 0.25
    assert seeing["retest"].value.value == 0
    assert cards["none"][1] == "fail"
    assert cards["none"][0]["auroc"].value.low <= 0.6


def test_the_command_prints_the_card_and_moves_the_threshold(
    run_words: list[Any], tmp_path: Path, capsys: Capture
) -> None:
    store = tmp_path / "store"
    assert whylook(capsys, *run_words, "--card-sample", "0").code == 0
    con = Store(store).reader()
    assert queries.judge_card(con, queries.run(con).name) is None
    answer = whylook(capsys, "judge-card", "--store", store, "--sample", "12", "--high", "calibrated")
    assert answer.code == 0 and "auroc" in answer.out and "Attention is high from a score of" in answer.out
    con = Store(store).reader()
    card, run = card_in(store), queries.run(con)
    assert card.n == 12 and card.threshold is not None and run.high_score == card.threshold.score
    cells = queries.fetch_rows(con, "SELECT score, cell FROM samples WHERE cell IS NOT NULL")
    assert all(row["cell"].endswith("high") == (row["score"] >= run.high_score) for row in cells)
    assert whylook(capsys, "judge-card", "--store", store, "--sample", "12", "--high", "paper").code == 0
    assert queries.run(Store(store).reader()).high_score == 2.5


@pytest.mark.slow
def test_a_run_without_a_judge_has_no_card(tmp_path: Path, capsys: Capture) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--store", tmp_path / "store", "--no-vlm"]
    assert whylook(capsys, *words).code == 0
    assert "has no judge" in refusal(capsys, "judge-card", "--store", tmp_path / "store")
    assert "between 0 and 5" in whylook(capsys, "judge-card", "--store", tmp_path / "store", "--high", "9").err


@pytest.mark.slow
def test_asking_for_scores_alone_gives_the_scores_of_the_whole_judgement() -> None:
    rng = np.random.default_rng(5)
    asked = [JudgeRequest(str(i), rng.integers(0, 256, (96, 96, 3), dtype=np.uint8), "cow") for i in range(6)]
    with core.judge.loading.load_judge(**FILES, workers=1, threads=1) as judge:
        assert isinstance(judge, LlamaJudge)
        whole, scores = judge.judge(asked), judge.judge(asked, words=False)
    for told, other in zip(whole, scores, strict=True):
        assert other.description is None and other.justification is None
        assert other.score == pytest.approx(told.score, abs=0.01)
        assert replace(told, state="ok").state == other.state


@pytest.mark.slow
def test_the_card_is_a_section_of_summary_with_its_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.support.store_factory import make_store

    store, run = make_store(tmp_path / "store", rows=24)
    shown = opened(monkeypatch, "summary", store.folder, run=run)
    assert any("whylook judge-card" in item.value for item in shown.code)
    mark = next(record for record in store.run_records() if record["run"] == run)["fingerprints"]["judge"]
    with open_for_writing(store.folder) as writer:
        writer.write("judge_card", rows(good), fingerprint=mark)
        writer.publish()
    shown = opened(monkeypatch, "summary", store.folder, run=run)
    assert not shown.exception
    assert "This judge tells real maps from controls" in " ".join(item.value for item in shown.success).replace(
        "\\", ""
    )
    assert {"Real maps, AUROC", "Wrong name scored high"} <= {item.label for item in shown.metric}
    assert "one of 30 pictures of this run" in words_on(shown)
    assert re.search(r"duck: 100% .* n 10", words_on(shown).replace("\\", ""))
