"""A judge behind a server: llama-cpp-python's own one with the demo judge."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import RequestError
from core.judge.client import KEY_VARIABLE
from core.judge.loading import load_judge
from core.judge.url import UrlJudge, load_url_judge
from core.records import Judgement, JudgeRequest
from data.demo import judge_pictures as pictures
from tests.support.judge_server import judge_server, with_typed_template
from tests.support.llama_server import llama_server

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
MMPROJ = DEMO / "judge-mmproj.gguf"
LLAMA_SERVER = Path(__file__).parent.parent / "build" / "llama-server"
COUNT = 8


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    pool = pictures.draw_pool(COUNT, seed=41)
    rng = np.random.default_rng(41)
    seen = [pictures.sample(pool, index, rng) for index in range(COUNT)]
    return [JudgeRequest(f"image-{index}", sample.masked.numpy(), sample.animal) for index, sample in enumerate(seen)]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_typed_template(DEMO / "judge.gguf", tmp_path_factory.mktemp("typed") / "judge.gguf")


@pytest.fixture(scope="module")
def address(typed: Path) -> Iterator[str]:
    with judge_server(typed, MMPROJ) as url:
        yield url


@pytest.fixture(scope="module")
def served(address: str) -> Iterator[UrlJudge]:
    with load_url_judge(address, concurrency=3, timeout=120) as judge:
        yield judge


@pytest.fixture(scope="module")
def judgements(served: UrlJudge, requests: list[JudgeRequest]) -> list[Judgement]:
    return served.judge(requests)


def test_a_real_server_gives_words_and_distributions(
    judgements: list[Judgement], requests: list[JudgeRequest], served: UrlJudge
) -> None:
    assert (served.name, served.protocol, served.note, served.limits) == ("demo", "calibrated", None, None)
    assert [judgement.image_id for judgement in judgements] == [request.image_id for request in requests]
    good = [judgement for judgement in judgements if judgement.state == "ok"]
    assert len(good) > COUNT // 2
    for judgement in good:
        assert judgement.description and judgement.justification and judgement.distribution and judgement.score_entropy
        assert sum(judgement.distribution) == pytest.approx(1.0) and 0 < judgement.score_entropy <= np.log(6)
        assert judgement.score == pytest.approx(np.dot(judgement.distribution, range(6)))


def test_a_served_judge_scores_like_the_same_judge_in_process(
    judgements: list[Judgement], requests: list[JudgeRequest]
) -> None:
    with load_judge(vlm=DEMO / "judge.gguf", mmproj=MMPROJ) as judge:
        here = judge.judge(requests)
    pairs = [
        (served.score, other.score)
        for served, other in zip(judgements, here, strict=True)
        if served.score is not None and other.score is not None
    ]
    assert len(pairs) > COUNT // 2
    assert np.mean([abs(mine - other) for mine, other in pairs]) < 0.5


@pytest.mark.skipif(not LLAMA_SERVER.exists(), reason="make bench-judge builds llama-server")
def test_llama_server_answers_as_the_same_judge_in_process(typed: Path, requests: list[JudgeRequest]) -> None:
    with (
        load_judge(vlm=DEMO / "judge.gguf", mmproj=MMPROJ) as judge,
        llama_server(LLAMA_SERVER, typed, MMPROJ, slots=4, longest=1024, threads=1) as url,
        load_url_judge(url, concurrency=4) as served,
    ):
        for here, there in zip(judge.judge(requests), served.judge(requests), strict=True):
            assert (there.state, there.description) == (here.state, here.description)
            assert there.score == pytest.approx(here.score, abs=0.02)


def test_a_served_judge_scores_another_label_as_if_it_had_been_predicted(
    served: UrlJudge, requests: list[JudgeRequest]
) -> None:
    asked = [replace(request, prediction="cow" if request.prediction != "cow" else "dog") for request in requests[:4]]
    replies = served.judge(
        [replace(wrong, label=right.prediction) for wrong, right in zip(asked, requests, strict=False)]
    )
    compared = 0
    for reply, plain, told in zip(replies, served.judge(asked), served.judge(requests[:4]), strict=True):
        assert (reply.description, reply.distribution) == (plain.description, plain.distribution)
        if "ok" == reply.state == told.state and reply.label_asked:
            assert reply.label_score == pytest.approx(told.score, abs=1.0)  # it writes no reason behind the score
            compared += 1
    assert compared


def test_replies_do_not_depend_on_what_else_is_under_way(
    judgements: list[Judgement], requests: list[JudgeRequest], address: str
) -> None:
    with load_url_judge(address, concurrency=1, timeout=120) as judge:
        alone = judge.judge(requests[::-1])[::-1]
    assert [(judgement.description, judgement.distribution) for judgement in alone] == [
        (judgement.description, judgement.distribution) for judgement in judgements
    ]


def test_protocol_paper_through_a_server(address: str, requests: list[JudgeRequest]) -> None:
    with load_url_judge(address, protocol="paper", timeout=120) as judge:
        replies = judge.judge(requests[:3])
    for reply in replies:
        assert (reply.state == "ok") == (reply.distribution is not None)
        assert reply.distribution is None or sorted(reply.distribution) == [0, 0, 0, 0, 0, 1]


def test_a_server_without_log_probabilities_gives_the_digit_and_says_so(
    typed: Path, requests: list[JudgeRequest], served: UrlJudge
) -> None:
    with judge_server(typed, MMPROJ, logprobs=False) as url, load_url_judge(url, timeout=120) as judge:
        assert judge.note is None and judge.limits is not None and "no log-probabilities" in judge.limits
        assert judge.fingerprint != served.fingerprint
        replies = [reply for reply in judge.judge(requests[:3]) if reply.state == "ok"]
    assert replies
    for reply in replies:  # two rubric orders: one digit, or half on each of two
        assert reply.distribution is not None and set(reply.distribution) <= {0.0, 0.5, 1.0}


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    typed: Path,
    requests: list[JudgeRequest],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with judge_server(typed, MMPROJ, key="secret-4711") as url:
        monkeypatch.setenv(KEY_VARIABLE, "wrong-0815")
        with pytest.raises(RequestError, match=f"401.*{KEY_VARIABLE}") as caught:
            load_url_judge(url, timeout=60)
        monkeypatch.setenv(KEY_VARIABLE, "secret-4711")
        with load_url_judge(url, timeout=60) as judge:
            reply = judge.judge(requests[:1])[0]
            held = [vars(part) for part in vars(judge).values() if hasattr(part, "__dict__")]
            shown = f"{vars(judge)} {held} {reply} {caught.value} {caplog.text} {capfd.readouterr()}"
    assert reply.state in ("ok", "abstained")
    assert "4711" not in shown and "0815" not in shown
