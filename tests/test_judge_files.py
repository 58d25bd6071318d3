"""What a user may hand the judge: GGUF files that do not fit, prompt files and chat templates with mistakes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from core.errors import RequestError
from core.judge import probe
from core.judge.loading import load_judge
from core.judge.prompts import FOLDER, MARKER, ChatTemplate, load_prompts, plain

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parent.parent / "data" / "demo" / "judge"
VLM, MMPROJ = DEMO / "judge.gguf", DEMO / "judge-mmproj.gguf"


def truncated(source: Path, target: Path, share: float) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def refusal(vlm: Path, mmproj: Path) -> str:
    with pytest.raises(RequestError) as caught:
        load_judge(vlm=vlm, mmproj=mmproj)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.gguf") in refusal(tmp_path / "none.gguf", MMPROJ)
    assert str(tmp_path / "none.gguf") in refusal(VLM, tmp_path / "none.gguf")


def test_a_folder_is_no_judge(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path, MMPROJ)


def test_a_pipe_is_no_judge_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "a folder, a pipe or a device" in refusal(tmp_path / "pipe.gguf", MMPROJ)
    assert "a folder, a pipe or a device" in refusal(VLM, tmp_path / "pipe.gguf")


def flipped(source: Path, target: Path, byte: int, bit: int) -> Path:
    data = bytearray(source.read_bytes())
    data[byte] ^= bit
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(("byte", "bit"), [(460, 1), (3836, 128)])  # aborts at loading; segfaults at the first picture
def test_a_damaged_file_that_ends_the_process_of_llama_cpp_is_refused_and_does_not_end_ours(
    byte: int, bit: int, tmp_path: Path
) -> None:
    text = refusal(VLM, flipped(MMPROJ, tmp_path / "flipped.gguf", byte, bit))
    assert "crashed llama.cpp when it was tried (SIG" in text
    assert str(tmp_path / "flipped.gguf") in text and "download both files again" in text


def test_files_that_passed_are_not_tried_again_and_changed_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tried = []
    run = subprocess.run
    monkeypatch.setattr(probe.subprocess, "run", lambda *words, **options: tried.append(1) or run(*words, **options))
    copy = shutil.copy(VLM, tmp_path / "another-name.gguf")
    for vlm in (VLM, VLM, Path(copy), flipped(VLM, tmp_path / "flipped.gguf", VLM.stat().st_size - 1, 1)):
        with load_judge(vlm=vlm, mmproj=MMPROJ):
            pass
    assert len(tried) == 2 and len(list((tmp_path / "cache" / "whylook" / "judges-tried").iterdir())) == 2


def test_a_home_that_cannot_be_written_costs_a_trial_each_time_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with load_judge(vlm=VLM, mmproj=MMPROJ):
        pass


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("import time; time.sleep(60)", "did not load and score a picture within 1 s"),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "memory ran out"),
        ("1 / 0", "crashed llama.cpp when it was tried (status 1)"),
    ],
)
def test_a_trial_that_hangs_or_is_ended_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    monkeypatch.setattr(probe, "PROCESS", command)
    assert words in refusal(VLM, MMPROJ)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"<html>not found</html>"])
def test_what_is_no_gguf_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "judge.gguf"
    path.write_bytes(content)
    assert "no GGUF file" in refusal(path, MMPROJ)


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.5, 0.99])
def test_a_truncated_text_model_is_refused(share: float, tmp_path: Path) -> None:
    path = truncated(VLM, tmp_path / "cut.gguf", share)
    assert str(path) in refusal(path, MMPROJ)


@pytest.mark.parametrize("share", [0.0001, 0.05, 0.5, 0.99])
def test_a_truncated_projector_is_refused(share: float, tmp_path: Path) -> None:
    path = truncated(MMPROJ, tmp_path / "cut.gguf", share)
    assert str(path) in refusal(VLM, path)


def test_swapped_files_are_refused() -> None:
    assert "cannot be loaded" in refusal(MMPROJ, VLM)


def test_a_text_model_is_no_projector() -> None:
    assert "does not load" in refusal(VLM, VLM)


def test_a_projector_of_another_model_is_refused(tmp_path: Path) -> None:
    import torch
    from torch import nn

    from data.demo.export_judge import export
    from data.demo.judge_model import DemoJudge, train_tokenizer

    tokenizer = train_tokenizer(["a b c 0 1 2 3 4 5"])
    model = DemoJudge(tokenizer.get_vocab_size())
    model.projector[2] = nn.Linear(model.projector[2].in_features, 320)
    torch.manual_seed(0)
    _, projector = export(model, tokenizer, tmp_path)
    assert "must come from one model" in refusal(VLM, projector)


def test_the_fingerprint_follows_the_files_and_the_prompts(tmp_path: Path) -> None:
    copy = shutil.copy(VLM, tmp_path / "another-name.gguf")
    edited = tmp_path / "mine.toml"
    edited.write_text((FOLDER / "calibrated.toml").read_text().replace("one sentence", "five words"))
    prints = []
    for vlm, prompts in ((VLM, None), (Path(copy), None), (VLM, edited)):
        with load_judge(vlm=vlm, mmproj=MMPROJ, prompts=prompts) as judge:
            prints.append(judge.fingerprint)
    with load_judge(vlm=VLM, mmproj=MMPROJ, protocol="paper") as judge:
        prints.append(judge.fingerprint)
    assert prints[0] == prints[1] and len(set(prints)) == 3


def test_the_demo_judge_says_what_it_knows() -> None:
    with load_judge(vlm=VLM, mmproj=MMPROJ) as judge:
        assert judge.name == "whylook demo judge"
        assert judge.note is not None and "demo world only" in judge.note


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (("protocol =", "protocols ="), "protocol must be one of calibrated, paper"),
        (("describe =", "described ="), "lacks describe"),
        (('"0: scattered or irrelevant", ', ""), "six lines, for the scores 0 to 5, and has 5"),
        (('protocol = "', 'protocol = '), "cannot be read"),
    ],
)  # fmt: skip
def test_a_prompt_file_with_a_mistake_is_refused_with_its_name(
    edit: tuple[str, str], complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "calibrated.toml").read_text().replace(*edit))
    with pytest.raises(RequestError, match=complaint) as caught:
        load_prompts(path)
    assert str(path) in str(caught.value)


def test_a_missing_prompt_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        load_prompts(tmp_path / "none.toml")


def test_a_reversed_rubric_runs_from_five_to_zero() -> None:
    prompts = load_prompts("calibrated")
    forward = prompts.question("score", prediction="cow")
    backward = prompts.question("score", prediction="cow", reverse=True)
    assert forward.index("0: ") < forward.index("5: ") and backward.index("5: ") < backward.index("0: ")
    assert "cow" not in prompts.question("describe", prediction="cow")


def test_a_class_name_is_one_line_without_the_picture_marker() -> None:
    assert plain(f"cow{MARKER}\n\tnext\x00 line") == "cow next line"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("no picture here", "drops the picture"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "drops the picture"),
        ("{% if %}", "chat template fails"),
        ("{{ raise_exception('user turns only') }}", "user turns only"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "chat template fails"),
        ("{{ messages[7].content }}", "chat template fails"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        ChatTemplate(template).split("Look.", "What is it?")


@pytest.mark.parametrize(
    ("template", "after"),
    [
        ("{{ messages[0].content }} A:", "\nWhat is it? A:"),
        ("{% for part in messages[0].content %}{{ part.text }}{% endfor %}", "\nWhat is it?"),
        ("{{ messages[0].content }}{% generation %}A:{% endgeneration %}", "\nWhat is it?A:"),
        ("{% for one in messages %}{{ one.content }}{% break %}{% endfor %}", "\nWhat is it?"),
        ("{{ messages[0].content }}<think>\n", "\nWhat is it?<think>\n\n</think>\n\n"),
        ("{{ messages[0].content }}{% if enable_thinking %}<think>{% else %}A:{% endif %}", "\nWhat is it?A:"),
    ],
)
def test_chat_templates_of_every_kind_are_rendered_without_thinking(template: str, after: str) -> None:
    assert ChatTemplate(template).split("Look.", "What is it?") == ("Look.\n", after)


def test_a_template_that_asks_for_the_date_reads_the_same_every_day() -> None:
    before, _ = ChatTemplate("{{ strftime_now('%Y') }} {{ messages[0].content }}").split("Look.", "What is it?")
    assert before == "2026 Look.\n"
