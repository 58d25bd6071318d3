"""A user's own prompt file: refused in words where it does not fit, a run of its own where it does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.commands.main import main
from core.judge.prompts import FOLDER
from core.pipeline.request import RunRequest, request_from_settings
from core.pipeline.run import run
from core.store import Store
from tests.support.tiny_world import make_folder, make_model

JUDGE = Path(__file__).parent.parent / "data" / "demo" / "judge"


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    return RunRequest(pictures, f"{make_model(tmp_path)}:tiny", no_vlm=True, store=tmp_path / "store", device="cpu")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--no-vlm", "--prompts", "FILE"], "contradict"),
        (["--vlm", "V", "--mmproj", "M", "--prompts", "nowhere.toml"], "--prompts: no such file: nowhere.toml"),
        (["--vlm", "V", "--mmproj", "M", "--prompts", "FILE"], "add --protocol paper"),
    ],
)
def test_a_prompt_file_that_does_not_fit_is_refused(
    request_: RunRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    mine = tmp_path / "mine.toml"
    shutil.copy(FOLDER / "paper.toml", mine)
    files = {"FILE": str(mine), "V": str(JUDGE / "judge.gguf"), "M": str(JUDGE / "judge-mmproj.gguf")}
    words = [str(request_.images), "--classifier", request_.classifier, "--store", str(tmp_path / "store")]
    assert main(["run", *words, *(files.get(word, word) for word in options)]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "store").exists()


@pytest.mark.slow
def test_an_edited_prompt_is_another_run_and_is_resumed_with_its_file(request_: RunRequest, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text((FOLDER / "calibrated.toml").read_text().replace("picture", "photograph"))
    files = {"vlm": JUDGE / "judge.gguf", "mmproj": JUDGE / "judge-mmproj.gguf"}
    judged = replace(request_, no_vlm=False, **files)
    outcomes = [
        run(replace(judged, prompts=prompts), progress=lambda news: None, stop=lambda: False)
        for prompts in (None, mine)
    ]
    assert outcomes[0].run != outcomes[1].run
    record = next(record for record in Store(request_.store).run_records() if record["run"] == outcomes[1].run)
    assert request_from_settings(record["settings"], store=request_.store).prompts == mine.resolve()
