"""No picture's reply depends on another's: 500 pictures in other company, and neighbours that are poison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.judge.asking import Line, judgement
from core.judge.judge import LlamaJudge
from core.judge.loading import load_judge
from core.judge.placing import Placer
from core.judge.prompts import load_prompts
from core.records import Judgement, JudgeRequest
from data.demo import judge_pictures as pictures

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
FILES = {"vlm": DEMO / "judge.gguf", "mmproj": DEMO / "judge-mmproj.gguf"}
TIE = 0.05
"""Logits nearer than this are a tie that rounding decides: replies are computed in F16."""
Choice = tuple[int, float]


def masked(count: int, seed: int) -> list[JudgeRequest]:
    pool = pictures.draw_pool(count, seed)
    rng = np.random.default_rng(seed)
    seen = [pictures.sample(pool, index, rng) for index in range(count)]
    return [JudgeRequest(f"image-{index}", sample.masked.numpy(), sample.animal) for index, sample in enumerate(seen)]


def one_judge(batch_size: int) -> LlamaJudge:
    judge = load_judge(**FILES, batch_size=batch_size, workers=1, threads=1)
    assert isinstance(judge, LlamaJudge)
    return judge


@contextmanager
def watched(judge: LlamaJudge) -> Iterator[dict[int, list[Choice]]]:
    """Every token chosen, by line: which, and by how much its logit was above the next one's."""
    chosen: dict[int, list[Choice]] = defaultdict(list)
    step = judge.advance

    def noted(line: Line, logits: NDArray[np.float32], likeliest: int) -> list[int]:
        first, second = np.partition(logits, -2)[-2:][::-1]
        chosen[id(line)].append((likeliest, float(first - second)))
        return step(line, logits, likeliest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judge, "advance", noted)
        yield chosen


def told(judge: LlamaJudge, requests: list[JudgeRequest]) -> list[tuple[Judgement, list[list[Choice]]]]:
    """Judgements in the order of the requests, each with the choices of its lines."""
    with watched(judge) as chosen:
        asked = judge.ask(requests)
    return [
        (
            judgement(picture.request, picture.lines, load_prompts("calibrated"), seconds=0.0),
            [chosen[id(line)] for line in picture.lines],
        )
        for picture in asked
    ]


def parted_by_a_tie(first: list[list[Choice]], other: list[list[Choice]]) -> bool:
    """Whether each line's first different token was as good as the other in both companies."""
    for mine, yours in zip(first, other, strict=True):
        parting = next((pair for pair in zip(mine, yours, strict=False) if pair[0][0] != pair[1][0]), None)
        if parting is not None and max(parting[0][1], parting[1][1]) > TIE:
            return False
    return True


def test_five_hundred_pictures_get_the_same_words_and_scores_in_any_company() -> None:
    requests = masked(500, seed=61)
    order = np.random.default_rng(0).permutation(len(requests))
    with one_judge(16) as judge:
        first = told(judge, requests)
    with one_judge(7) as judge:
        turned = told(judge, [requests[place] for place in order])
    second = [turned[place] for place in np.argsort(order)]
    different = []
    for (reply, mine), (other, yours) in zip(first, second, strict=True):
        assert reply.image_id == other.image_id
        assert (reply.score is None) == (other.score is None)
        assert abs((reply.score or 0.0) - (other.score or 0.0)) < 0.01
        if (reply.description, reply.justification) != (other.description, other.justification):
            different.append(reply.image_id)
            assert parted_by_a_tie(mine, yours), (reply, other)
    assert len(different) <= 0.005 * len(requests), different


def distributions(judgements: list[Judgement]) -> NDArray[np.float64]:
    return np.array([judgement.distribution for judgement in judgements])


def poisoned(monkeypatch: pytest.MonkeyPatch, victims: set[int]) -> None:
    """From now on the embeddings of the pictures at these places of a batch are huge noise."""
    encode = Placer.encode

    def spoilt(placer: Placer, images: list[Any]) -> dict[int, NDArray[np.float32]]:
        found = encode(placer, images)
        rng = np.random.default_rng(9)
        for place, image in enumerate(images):
            if place in victims:
                found[image] = (1000 * rng.normal(size=found[image].shape)).astype(np.float32)
        return found

    monkeypatch.setattr(Placer, "encode", spoilt)


def test_a_poisoned_neighbour_reaches_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = masked(8, seed=62)
    with one_judge(8) as judge:
        clean = judge.judge(requests)
        with monkeypatch.context() as patched:
            poisoned(patched, {1, 4, 6})
            spoilt = judge.judge(requests)
    healthy = [place for place in range(8) if place not in (1, 4, 6)]
    for place in healthy:
        assert (clean[place].description, clean[place].justification) == (
            spoilt[place].description, spoilt[place].justification
        )  # fmt: skip
    assert distributions(clean)[healthy] == pytest.approx(distributions(spoilt)[healthy], abs=1e-4)
    changed = [place for place in (1, 4, 6) if clean[place].description != spoilt[place].description]
    assert changed, "the poison reached nobody at all, so this test could not fail"


def test_a_place_remembers_nothing_of_the_picture_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place of a judge holds a poisoned picture first, then a healthy one."""
    first, second = masked(2, seed=63)
    with one_judge(1) as fresh:
        alone = fresh.judge([second])[0]
    with one_judge(1) as judge:
        with monkeypatch.context() as patched:
            poisoned(patched, {0})
            judge.judge([first])
        after = judge.judge([second])[0]
    assert (after.description, after.justification) == (alone.description, alone.justification)
    assert after.distribution == pytest.approx(alone.distribution, abs=1e-6)


def test_a_picture_s_embedding_is_decoded_into_its_own_sequence_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that swap embeddings swap replies: what a sequence says comes from what was decoded into it."""
    first, second = masked(2, seed=64)
    same = [JudgeRequest("a", first.masked, "cow"), JudgeRequest("b", second.masked, "cow")]
    with one_judge(2) as judge:
        straight = judge.judge(same)
        encode = Placer.encode

        def swapped(placer: Placer, images: list[Any]) -> dict[int, NDArray[np.float32]]:
            found = encode(placer, images)
            return dict(zip(images, [found[image] for image in reversed(images)], strict=True))

        with monkeypatch.context() as patched:
            patched.setattr(Placer, "encode", swapped)
            crossed = judge.judge(same)
    assert [reply.description for reply in crossed] == [reply.description for reply in reversed(straight)]
    assert distributions(crossed) == pytest.approx(distributions(straight)[::-1], abs=1e-4)
