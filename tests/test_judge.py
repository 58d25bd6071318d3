"""The judge on real llama.cpp: the demo judge, a judge with random weights, and every way a reply can go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.judge.asking import Line, read, read_score
from core.judge.judge import LlamaJudge
from core.judge.loading import load_judge
from core.judge.prompts import load_prompts
from core.records import Judgement, JudgeRequest
from data.demo import judge_pictures as pictures
from tests.support.random_judge import write_random_judge

DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
FILES = {"vlm": DEMO / "judge.gguf", "mmproj": DEMO / "judge-mmproj.gguf"}
COUNT = 30


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    pool = pictures.draw_pool(COUNT, seed=31)
    rng = np.random.default_rng(31)
    seen = [pictures.sample(pool, index, rng) for index in range(COUNT)]
    return [JudgeRequest(f"image-{index}", sample.masked.numpy(), sample.animal) for index, sample in enumerate(seen)]


@pytest.fixture(scope="module")
def judge() -> Iterator[LlamaJudge]:
    with load_judge(**FILES) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def judgements(judge: LlamaJudge, requests: list[JudgeRequest]) -> list[Judgement]:
    return judge.judge(requests)


def same(first: Judgement, other: Judgement) -> bool:
    """Whether two judgements of one picture agree: texts equal, scores within 0.01."""
    texts = (first.state, first.description, first.justification) == (
        other.state,
        other.description,
        other.justification,
    )
    return texts and (first.score is None or abs(first.score - (other.score or -1.0)) < 0.01)


def test_every_picture_gets_words_and_a_distribution_over_six_scores(
    judgements: list[Judgement], requests: list[JudgeRequest]
) -> None:
    assert [judgement.image_id for judgement in judgements] == [request.image_id for request in requests]
    assert {judgement.state for judgement in judgements} == {"ok"}
    for judgement in judgements:
        assert (
            judgement.description
            and judgement.justification
            and judgement.distribution is not None
            and judgement.score is not None
        )
        assert len(judgement.distribution) == 6 and sum(judgement.distribution) == pytest.approx(1.0)
        assert judgement.score == pytest.approx(np.dot(judgement.distribution, range(6)))
        assert judgement.score_entropy is not None and 0 <= judgement.score_entropy <= np.log(6) + 1e-9


def test_different_pictures_get_different_words(judgements: list[Judgement]) -> None:
    assert len({judgement.description for judgement in judgements}) > COUNT // 3


def test_a_reply_does_not_depend_on_the_order_of_the_pictures(
    judge: LlamaJudge, requests: list[JudgeRequest], judgements: list[Judgement]
) -> None:
    turned = judge.judge(requests[::-1])[::-1]
    assert all(same(*pair) for pair in zip(judgements, turned, strict=True))


@pytest.mark.parametrize("size", [1, 7])
def test_a_reply_does_not_depend_on_the_batch_size(
    size: int, requests: list[JudgeRequest], judgements: list[Judgement]
) -> None:
    with load_judge(**FILES, batch_size=size, workers=1) as other:
        assert other.batch_size == size
        assert all(same(*pair) for pair in zip(judgements, other.judge(requests), strict=True))


def test_the_same_picture_beside_any_neighbour_gets_the_same_reply(
    judge: LlamaJudge, requests: list[JudgeRequest]
) -> None:
    first = requests[0]
    replies = [judge.judge([first, other])[0] for other in requests[1:6]]
    assert all(same(replies[0], reply) for reply in replies)


def test_asking_again_gives_exactly_the_same_numbers(
    judge: LlamaJudge, requests: list[JudgeRequest], judgements: list[Judgement]
) -> None:
    assert [judgement.distribution for judgement in judge.judge(requests)] == [
        judgement.distribution for judgement in judgements
    ]


def test_the_predicted_class_name_reaches_the_score_but_not_the_description(
    judge: LlamaJudge, requests: list[JudgeRequest], judgements: list[Judgement]
) -> None:
    wrong = [
        JudgeRequest(request.image_id, request.masked, "cat" if request.prediction != "cat" else "dog")
        for request in requests
    ]
    replies = judge.judge(wrong)
    assert [reply.description for reply in replies] == [judgement.description for judgement in judgements]
    assert np.mean([reply.score or 0 for reply in replies]) < np.mean(
        [judgement.score or 0 for judgement in judgements]
    )


def test_a_picture_without_a_map_is_abstained_and_keeps_its_place(
    judge: LlamaJudge, requests: list[JudgeRequest]
) -> None:
    flat = JudgeRequest("flat", requests[0].masked, "cow", abstain_reason="the map is flat")
    replies = judge.judge([requests[0], flat, requests[1]])
    assert [reply.image_id for reply in replies] == [requests[0].image_id, "flat", requests[1].image_id]
    assert replies[1] == Judgement("flat", "abstained", "the map is flat")
    assert judge.judge([]) == []


def test_pictures_of_any_size_are_judged(judge: LlamaJudge) -> None:
    rng = np.random.default_rng(1)
    sizes = [(1, 1), (3, 200), (448, 2), (448, 448), (7, 7)]
    asked = [JudgeRequest(str(size), rng.integers(0, 256, (*size, 3), dtype=np.uint8), "cow") for size in sizes]
    assert [reply.state for reply in judge.judge(asked)] == ["ok"] * len(sizes)


@pytest.mark.parametrize(
    "name", ["<__media__>", "cow<__media__>\n\n</s>", 'a "quoted" name', "{prediction} {rubric}", "🐄", "x" * 500, ""]
)
def test_a_class_name_cannot_break_the_prompt(name: str, judge: LlamaJudge, requests: list[JudgeRequest]) -> None:
    first = requests[0]
    odd, plain = judge.judge([JudgeRequest("odd", first.masked, name), first])
    assert odd.state in ("ok", "abstained", "failed") and (odd.state == "ok") == (odd.score is not None)
    assert same(plain, judge.judge([first])[0])


@pytest.mark.slow
def test_protocol_paper_gives_one_digit(requests: list[JudgeRequest]) -> None:
    with load_judge(**FILES, protocol="paper") as paper:
        replies = paper.judge(requests[:8])
    assert {reply.state for reply in replies} == {"ok"}
    assert all(reply.distribution is not None and sorted(reply.distribution) == [0, 0, 0, 0, 0, 1] for reply in replies)
    assert all(reply.score in range(6) and reply.score_entropy == 0 for reply in replies)


@pytest.mark.slow
def test_a_judge_that_has_learned_nothing_gives_no_number(tmp_path: Path, requests: list[JudgeRequest]) -> None:
    vlm, mmproj = write_random_judge(tmp_path)
    with load_judge(vlm=vlm, mmproj=mmproj) as rubbish:
        replies = rubbish.judge(requests[:4])
    assert all(reply.state != "ok" and reply.score is None and reply.distribution is None for reply in replies)
    assert all(reply.reason for reply in replies)


@pytest.mark.slow
def test_a_judge_that_is_too_slow_fails_picture_by_picture_and_works_afterwards(requests: list[JudgeRequest]) -> None:
    with load_judge(**FILES, timeout=1e-6, workers=1) as slow:
        replies = slow.judge(requests[:3])
        assert [(reply.state, reply.reason) for reply in replies] == [("failed", "the judge timed out")] * 3
        slow.timeout = 300.0
        assert slow.judge(requests[:3])[0].state == "ok"


def test_the_score_distribution_is_read_from_the_digits_alone() -> None:
    logits = np.full(20, -5.0, np.float32)
    logits[10:16] = np.log([0.1, 0.1, 0.2, 0.3, 0.2, 0.1])
    logits[3] = np.log(1.0)  # as likely as all six digits together
    distribution, mass = read_score(logits, range(10, 16))
    assert distribution == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.2, 0.1])
    assert mass == pytest.approx(1 / (2 + 13 * np.exp(-5.0)))


def asked(*means: float, mass: float = 0.9, failure: str | None = None) -> list[Line]:
    """Lines as they are when every reply has been read, one score line per mean."""
    described = Line([], texts={"description": "Part of a cow is visible."}, failure=failure)
    scored = [Line([], distribution=np.eye(6)[round(mean)], mass=mass) for mean in means]
    scored[0].texts["justification"] = "The cow is seen."
    return [described, *scored]


def test_contradicting_rubric_orders_abstain_with_both_scores_in_the_reason() -> None:
    reading = read(asked(0, 5), load_prompts("calibrated"))
    assert (reading.state, reading.distribution) == ("abstained", None)
    assert reading.reason == "the two rubric orders contradict each other: 0.0 and 5.0"
    assert reading.description == "Part of a cow is visible."


def test_rubric_orders_that_agree_are_averaged() -> None:
    reading = read(asked(3, 4), load_prompts("calibrated"))
    assert reading.distribution == (0, 0, 0, 0.5, 0.5, 0)


def test_numbers_that_are_not_finite_are_no_score() -> None:
    reading = read(asked(3, 3, mass=float("nan")), load_prompts("calibrated"))
    assert (reading.state, reading.distribution) == ("failed", None) and "not finite" in (reading.reason or "")


def test_no_probability_on_the_digits_abstains() -> None:
    reading = read(asked(3, 3, mass=0.01), load_prompts("calibrated"))
    assert (reading.state, reading.reason) == ("abstained", "the digits 0-5 have only 1.0% of the probability")


def test_an_empty_description_fails_the_picture() -> None:
    reading = read(asked(3, 3, failure="the description is empty or no plain text"), load_prompts("calibrated"))
    assert (reading.state, reading.distribution) == ("failed", None)
