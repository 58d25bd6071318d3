"""Judges that cannot be loaded, time out, reply rubbish or have no score to give, through the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import core.judge.loading
from core.store import Store
from tests.support.command_line import refusal, whylook
from tests.support.random_judge import write_random_judge
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]
DEMO = Path(__file__).resolve().parents[1] / "data" / "demo" / "judge"
VLM, MMPROJ = DEMO / "judge.gguf", DEMO / "judge-mmproj.gguf"


@pytest.fixture
def words(tmp_path: Path) -> list[Any]:
    """`whylook run` on twelve pictures, still without a judge."""
    pictures = make_folder(tmp_path / "pictures", per_class=4)
    return ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--store", tmp_path / "store"]


def states(store: Path) -> list[Any]:
    """Of every picture: its state, whether it has a reason, and its score."""
    con = Store(store).reader()
    return con.execute(
        "SELECT judge_state, reason IS NOT NULL, samples.score FROM samples LEFT JOIN judgements USING (image_id)"
    ).fetchall()


@pytest.mark.parametrize("part", ["vlm", "mmproj"])
@pytest.mark.parametrize("damage", ["gone", "half", "page"])
def test_a_gguf_that_is_missing_truncated_or_none_is_named(
    words: list[Any], tmp_path: Path, capsys: Capture, part: str, damage: str
) -> None:
    files = {"vlm": VLM, "mmproj": MMPROJ}
    broken = tmp_path / "broken.gguf"
    if damage != "gone":
        whole = files[part].read_bytes()
        broken.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"<html>404</html>")
    files[part] = broken
    said = refusal(capsys, *words, "--vlm", files["vlm"], "--mmproj", files["mmproj"])
    assert str(broken) in said
    assert not (tmp_path / "store").exists()


def test_files_that_do_not_belong_together(words: list[Any], capsys: Capture) -> None:
    assert "both files must come from one model" in refusal(capsys, *words, "--vlm", VLM, "--mmproj", VLM)
    assert "cannot be loaded" in refusal(capsys, *words, "--vlm", MMPROJ, "--mmproj", VLM)


def test_half_a_pair_says_which_option_is_missing(words: list[Any], capsys: Capture) -> None:
    assert "--mmproj is missing" in refusal(capsys, *words, "--vlm", VLM)
    assert "--vlm is missing" in refusal(capsys, *words, "--mmproj", MMPROJ)


def test_a_judge_that_times_out_is_a_recorded_failure_and_is_asked_again(
    words: list[Any], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words += ["--vlm", VLM, "--mmproj", MMPROJ]
    with monkeypatch.context() as hurried:
        hurried.setattr(core.judge.loading, "load_judge", partial(core.judge.loading.load_judge, timeout=0.0))
        answer = whylook(capsys, *words)
    assert answer.code == 1
    assert "failures 12" in answer.out and "failed: " in answer.err
    assert states(tmp_path / "store") == [("failed", True, None)] * 12
    assert whylook(capsys, *words).code in (0, 1)
    later = states(tmp_path / "store")
    assert len(later) == 12 and any(state == "ok" for state, _, _ in later)


def test_a_judge_that_replies_rubbish_gives_reasons_and_no_numbers(
    words: list[Any], tmp_path: Path, capsys: Capture
) -> None:
    vlm, mmproj = write_random_judge(tmp_path / "random")
    answer = whylook(capsys, *words, "--vlm", vlm, "--mmproj", mmproj)
    found = states(tmp_path / "store")
    assert len(found) == 12
    assert all(state in ("abstained", "failed") and reason and score is None for state, reason, score in found)
    assert answer.code == (1 if any(state == "failed" for state, _, _ in found) else 0)
    report = whylook(capsys, "summary", "--store", tmp_path / "store").out
    assert "0 judged" in report and "right reason" not in report


def test_a_judge_without_probability_on_the_digits_abstains(
    words: list[Any], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.judge.asking.MIN_MASS", 1.1)  # no judge has that much on 0-5
    answer = whylook(capsys, *words, "--vlm", VLM, "--mmproj", MMPROJ)
    found = states(tmp_path / "store")
    assert [score for _, _, score in found] == [None] * 12
    assert {state for state, _, _ in found} <= {"abstained", "failed"}
    assert answer.code in (0, 1)
    reasons = Store(tmp_path / "store").reader().execute("SELECT DISTINCT reason FROM judgements").fetchall()
    assert any("of the probability" in reason for (reason,) in reasons)


def test_the_command_line_says_what_a_judge_of_one_world_is_worth(words: list[Any], capsys: Capture) -> None:
    answer = whylook(capsys, *words, "--vlm", VLM, "--mmproj", MMPROJ)
    assert "note: " in answer.err and "demo world only" in answer.err
