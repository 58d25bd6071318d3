"""What makes the judge fast changes nothing it says: against asking plainly, and against a loop over the handler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.judge.judge import LEAST_SHARED, LlamaJudge
from core.judge.llama_context import LlamaContext
from core.judge.loading import load_judge
from core.records import JudgeRequest
from data.demo import judge_pictures as pictures
from tests.support.judge_loop import JudgeLoop

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
FILES = {"vlm": DEMO / "judge.gguf", "mmproj": DEMO / "judge-mmproj.gguf"}
COUNT = 50


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    pool = pictures.draw_pool(COUNT, seed=51)
    rng = np.random.default_rng(51)
    seen = [pictures.sample(pool, index, rng) for index in range(COUNT)]
    return [JudgeRequest(f"image-{index}", sample.masked.numpy(), sample.animal) for index, sample in enumerate(seen)]


def test_shared_beginnings_and_refilled_places_change_no_reply(
    requests: list[JudgeRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    with load_judge(**FILES, workers=1, threads=1) as judge:
        quick = judge.judge(requests)
        assert judge.batch_size < COUNT, "no place was refilled"
    monkeypatch.setattr("core.judge.judge.LEAST_SHARED", 10**6)
    with load_judge(**FILES, batch_size=1, workers=1, threads=1) as judge:
        plain = judge.judge(requests)
    words = [[(reply.state, reply.description, reply.justification) for reply in replies] for replies in (quick, plain)]
    assert sum(mine == other for mine, other in zip(*words, strict=True)) >= 0.98 * COUNT  # a tie may fall either way
    for mine, other in zip(quick, plain, strict=True):
        assert (mine.score or 0.0) == pytest.approx(other.score or 0.0, abs=0.01)


def test_questions_that_begin_alike_are_decoded_once(
    requests: list[JudgeRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two rubric orders: what both questions begin with is prefilled once, and goes into one sequence."""
    decoded: list[int] = []
    decode = LlamaContext.decode

    def counted(context: LlamaContext, parts: list[tuple[int, list[int], int]]) -> object:
        decoded.extend(len(tokens) for _, tokens, _ in parts)
        return decode(context, parts)

    monkeypatch.setattr(LlamaContext, "decode", counted)
    with load_judge(**FILES, batch_size=1, workers=1, threads=1) as judge:
        taken = []
        for least in (LEAST_SHARED, 10**6):
            monkeypatch.setattr("core.judge.judge.LEAST_SHARED", least)
            judge.judge(requests[:1], words=False)  # the constant text is prefilled once per context
            decoded.clear()
            judge.judge(requests[:1], words=False)
            taken.append(sum(decoded))
    assert taken[0] <= taken[1] - LEAST_SHARED


def test_the_judge_writes_what_a_loop_over_the_handler_writes(requests: list[JudgeRequest]) -> None:
    """The handler evaluates the prompt in other pieces, so a near tie between two tokens may fall the other way."""
    asked = requests[:20]
    with load_judge(**FILES, workers=1, threads=1) as judge:
        assert isinstance(judge, LlamaJudge)
        batch = judge.ask(asked)
    with JudgeLoop(*FILES.values(), threads=1) as loop:
        replies = loop.judge(asked)
    described = [
        asked.lines[0].texts["description"] == reply.description for asked, reply in zip(batch, replies, strict=True)
    ]
    assert np.mean(described) >= 0.8
    for index in (1, 2):
        digits = [int(np.argmax(asked.lines[index].distribution)) for asked in batch]  # type: ignore[arg-type]
        given = [int(reply.score if index == 1 else reply.reversed_score) for reply in replies]
        assert np.mean(np.equal(digits, given)) >= 0.9 and np.abs(np.subtract(digits, given)).max() <= 1
