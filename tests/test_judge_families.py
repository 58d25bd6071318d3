"""Any GGUF pair: tiny random pairs of every family through the one code path, in any order and batch size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import llama_cpp as llama
import numpy as np
import pytest

from core.errors import RequestError
from core.judge.catalogue import JUDGES
from core.judge.judge import LlamaJudge
from core.judge.loading import load_judge
from core.records import JudgeRequest
from tests.support.random_pairs import FAMILIES, write_pair

pytestmark = pytest.mark.slow
SIZES = ((64, 64), (64, 64), (48, 96), (96, 32), (112, 112))
Pair = Callable[[str], dict[str, Path]]


@pytest.fixture(autouse=True)
def short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights babble on; a few tokens tell as much, with fewer ties between two tokens that rounding decides."""
    monkeypatch.setattr("core.judge.judge.MAX_TEXT_TOKENS", 8)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pairs")

    def written(family: str) -> dict[str, Path]:
        if not (folder / f"{family}.gguf").exists():
            write_pair(folder, family)
        return {"vlm": folder / f"{family}.gguf", "mmproj": folder / f"mmproj-{family}.gguf"}

    return written


@pytest.fixture(scope="module")
def requests() -> list[JudgeRequest]:
    rng = np.random.default_rng(3)
    return [
        JudgeRequest(str(index), rng.integers(0, 256, (*size, 3), dtype=np.uint8), "cow")
        for index, size in enumerate(SIZES)
    ]


def replies(judge: LlamaJudge, requests: list[JudgeRequest]) -> list[tuple[list[object], list[float]]]:
    """Everything the judge wrote on each picture, whether it ended or not, and every score distribution."""
    return [
        (
            [(line.texts, line.written, line.count, line.failure) for line in asked.lines],
            [p for line in asked.lines if line.distribution is not None for p in (*line.distribution, line.mass)],
        )
        for asked in judge.ask(requests)
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_judges_whatever_the_order_and_the_batch_size(
    family: str, pair: Pair, requests: list[JudgeRequest]
) -> None:
    with load_judge(**pair(family), workers=1, threads=1, batch_size=len(requests)) as judge:
        assert [reply.image_id for reply in judge.judge(requests)] == [request.image_id for request in requests]
        expected = replies(judge, requests)
        turned = replies(judge, requests[::-1])[::-1]
    with load_judge(**pair(family), workers=1, threads=1, batch_size=2) as judge:
        others = [turned, replies(judge, requests)]
    for other in others:
        for (words, scores), (other_words, other_scores) in zip(expected, other, strict=True):
            assert words == other_words
            assert scores == pytest.approx(other_scores, abs=0.01) and len(scores) == 14
    first, second = (np.array(scores) for _, scores in expected[:2])
    assert np.abs(first - second).max() > 1e-4, "the picture does not reach the score"
    assert len({str(words) for words, _ in expected}) > 1, "the picture does not reach the words"


@pytest.mark.parametrize("family", FAMILIES)
def test_no_picture_reaches_the_reply_to_another(family: str, pair: Pair, requests: list[JudgeRequest]) -> None:
    """The first picture beside bright, dark and noisy neighbours, in places that others have used before."""
    blank = [JudgeRequest("x", np.full((64, 64, 3), value, np.uint8), "dog") for value in (0, 255)]
    with load_judge(**pair(family), workers=1, threads=1, batch_size=3) as judge:
        alone = replies(judge, requests[:1])[0]
        beside = [replies(judge, [*others, requests[0]])[-1] for others in (blank, blank[::-1], requests[1:4])]
    for words, scores in beside:
        assert words == alone[0]
        assert scores == pytest.approx(alone[1], abs=0.01)


def test_an_image_under_m_rope_takes_fewer_positions_than_tokens(pair: Pair) -> None:
    with load_judge(**pair("qwen3-vl"), workers=1, threads=1, batch_size=1) as judge:
        extent = judge.placer.extent
    assert extent.image == (448 // 16) ** 2 and extent.tokens - extent.positions == extent.image - 448 // 16


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_is_as_large_as_llama_cpp_makes_it(family: str, pair: Pair) -> None:
    """Its own size of a sequence of 20 tokens, less one of 10, and what is left of that with no tokens."""
    with load_judge(**pair(family), workers=1, threads=1, batch_size=1) as judge:
        context = judge._context
        sizes = []
        for count in (10, 20):
            context.decode([(1, context.tokenize("a" * 40)[:1] * count, 0)])
            sizes.append(llama.llama_state_seq_get_size(context.pointer, 1))
            context.free(1)
        token = (sizes[1] - sizes[0]) / 10
        assert 0 <= token - context.cache.token <= 64, "positions and sequence numbers are kept beside keys and values"
        assert 0 <= sizes[0] - 10 * token - context.cache.sequence < 1000


def test_the_tiles_of_a_picture_are_all_counted(pair: Pair) -> None:
    with load_judge(**pair("smolvlm"), workers=1, threads=1, batch_size=1) as judge:
        tiled = judge.placer.measure(64).tokens
        assert judge.placer.extent.image == 4 and tiled > 5 * 4


def test_a_projector_of_another_family_is_refused(pair: Pair) -> None:
    """The same width everywhere, so that only the marks around a picture tell the families apart."""
    for text, projector in (("llava", "qwen3-vl"), ("gemma3", "internvl"), ("internvl", "smolvlm")):
        with pytest.raises(RequestError) as caught:
            load_judge(vlm=pair(text)["vlm"], mmproj=pair(projector)["mmproj"])
        message = str(caught.value)
        assert str(pair(text)["vlm"]) in message and str(pair(projector)["mmproj"]) in message
        assert "must come from one" in message


def test_a_text_model_without_m_rope_is_refused_for_a_projector_that_needs_it(tmp_path: Path, pair: Pair) -> None:
    """Qwen's text-only models know the marks and have the width of its vision-language models."""
    text, _ = write_pair(tmp_path, "internvl", special=FAMILIES["qwen2.5-vl"].special)
    with pytest.raises(RequestError, match="text-only"):
        load_judge(vlm=text, mmproj=pair("qwen2.5-vl")["mmproj"])


def test_a_context_too_small_for_a_picture_is_refused_with_the_numbers(tmp_path: Path, pair: Pair) -> None:
    text, projector = write_pair(tmp_path, "internvl", context=128)
    with pytest.raises(
        RequestError, match=r"has a context of 128 tokens; .* use a judge with a larger context"
    ) as caught:
        load_judge(vlm=text, mmproj=projector)
    assert str(text) in str(caught.value)


@pytest.mark.parametrize(
    ("family", "template", "end"),
    [
        ("qwen3-vl", "{{ messages[0].content }}<|im_start|>assistant\n<think>\n", "<think>\n\n</think>\n\n"),
        ("qwen3-vl", None, "<think>\n\n</think>\n\n"),
        ("qwen3.5", None, "<think>\n\n</think>\n\n"),
        ("gemma4", None, "<|channel>thought\n<channel|>"),
    ],
)
def test_thinking_is_switched_off(family: str, template: str | None, end: str, tmp_path: Path) -> None:
    text, projector = write_pair(tmp_path, family, **({"template": template} if template else {}))
    with load_judge(vlm=text, mmproj=projector, workers=1, threads=1, batch_size=1) as judge:
        assert judge.template.split("Look.", "What?")[1].endswith(end)


@pytest.mark.parametrize("share", [0.02, 0.6, 0.98])
def test_truncated_files_of_any_family_are_refused_by_name(share: float, tmp_path: Path, pair: Pair) -> None:
    for role, other in (("vlm", "mmproj"), ("mmproj", "vlm")):
        for family in ("gemma3", "qwen3-vl"):
            files = pair(family)
            cut = tmp_path / f"{family}-{role}.gguf"
            data = files[role].read_bytes()
            cut.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(RequestError, match="download") as caught:
                load_judge(**{role: cut, other: files[other]})  # type: ignore[arg-type]
            assert str(cut) in str(caught.value)


def test_only_families_that_are_run_here_are_listed_as_tested() -> None:
    assert {judge.family for judge in JUDGES} <= set(FAMILIES)
    assert len({judge.name for judge in JUDGES}) == len(JUDGES) == len({judge.repository for judge in JUDGES})
