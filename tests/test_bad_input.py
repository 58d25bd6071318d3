"""Wrong requests through the command line: one clear line, exit code 2, and nothing in the store."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from core.store import STORE_VERSION, Store, open_for_writing
from tests.support.command_line import refusal, whylook
from tests.support.tiny_world import make_folder, make_model

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with pictures/ and tiny_model.py."""
    make_folder(tmp_path / "pictures", per_class=3)
    make_model(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_words(images: str = "pictures", function: str = "tiny", *more: object) -> list[object]:
    return ["run", images, "--classifier", f"tiny_model.py:{function}", "--no-vlm", "--device", "cpu", *more]


# --- the folder -----------------------------------------------------------------------------------------------------


def test_no_folder_an_empty_one_and_one_without_classes(place: Path, capsys: Capture) -> None:
    assert "no such folder or list of pictures: nowhere" in refusal(capsys, *run_words("nowhere"))
    (place / "empty").mkdir()
    assert "no pictures in empty: put them into one folder per class" in refusal(capsys, *run_words("empty"))
    (place / "flat").mkdir()
    (place / "pictures" / "red" / "0000.png").rename(place / "flat" / "0000.png")
    assert "which class a picture belongs to: use one folder per class" in refusal(capsys, *run_words("flat"))
    assert "neither a folder of class folders nor" in refusal(capsys, *run_words("tiny_model.py"))
    assert not (place / "whylook-store").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no column `path` (it has: none)"),
        ("file,label\nred/0000.png,red\n", "has no column `path` (it has: file, label)"),
        ("path,label\nred/0000.png\n", "line 2: 1 fields, but the header names 2"),
        ("path,label\n,red\n", "row 1 has no path"),
        ("path,tone,TONE\nred/0000.png,1,2\n", "names a column twice"),
        ("path\npictures/red/0000.png\n", "which class a picture belongs to"),
        ("path,label\n", "no pictures in list.csv"),
    ],
)
def test_a_list_that_cannot_be_used(place: Path, capsys: Capture, content: str, words: str) -> None:
    (place / "list.csv").write_text(content)
    assert words in refusal(capsys, *run_words("list.csv"))


def test_a_listed_picture_that_is_not_there_is_a_failure_of_that_picture(place: Path, capsys: Capture) -> None:
    (place / "list.csv").write_text("path,label\npictures/red/0000.png,red\npictures/red/gone.png,red\n")
    answer = whylook(capsys, *run_words("list.csv"))
    assert answer.code == 1
    assert "failed: pictures/red/gone.png: images: cannot be read: No such file" in answer.err
    assert "predicted 1" in answer.out and "failures 1" in answer.out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("picture,tone\na,b\n", "has no column `path`"),
        ("path,tone\nred/0000.png,a\nred/0000.png,b\n", "two rows for red/0000.png"),
        ('path,tone\n"red/0000.png,a\n', "not a CSV file that can be read"),
    ],
)
def test_metadata_that_cannot_be_used(place: Path, capsys: Capture, content: str, words: str) -> None:
    (place / "mine.csv").write_text(content)
    assert words in refusal(capsys, *run_words("pictures", "tiny", "--metadata", "mine.csv"))


# --- classes and weights --------------------------------------------------------------------------------------------


def test_an_unknown_class_offers_the_nearest_names(place: Path, capsys: Capture) -> None:
    (place / "pictures" / "red").rename(place / "pictures" / "reed")
    said = refusal(capsys, *run_words())
    assert "does not know" in said and "'reed'" in said and "red" in said


@pytest.mark.parametrize("function", ["four", "nameless"])
def test_fewer_names_than_logits(place: Path, capsys: Capture, function: str) -> None:
    (place / "two.txt").write_text("blue\ngreen\n")
    more = [] if function == "four" else ["--classes", "two.txt"]
    assert "class names, but the model has" in refusal(capsys, *run_words("pictures", function, *more))


def test_files_that_are_not_there_are_named_by_their_option(place: Path, capsys: Capture) -> None:
    for option in ("--weights", "--classes", "--metadata"):
        said = refusal(capsys, *run_words("pictures", "tiny", option, "gone.file"))
        assert f"{option}: no such file: gone.file" in said
        assert f"{option}: a folder, not a file: pictures" in refusal(
            capsys, *run_words("pictures", "tiny", option, "pictures")
        )


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("it-ran",)


@pytest.mark.parametrize("name", ["misfit.pt", "classes.pt", "text.pt", "empty.pt", "half.pt", "text.safetensors"])
def test_weights_that_do_not_fit_or_are_none(place: Path, capsys: Capture, name: str) -> None:
    sys.path.insert(0, str(place))
    try:
        from tiny_model import Tiny

        torch.save(Tiny(5).state_dict(), "classes.pt")
        torch.save(Tiny(3).state_dict(), "half.pt")
    finally:
        sys.path.remove(str(place))
        del sys.modules["tiny_model"]
    torch.save({"other.weight": torch.zeros(3)}, "misfit.pt")
    Path("half.pt").write_bytes(Path("half.pt").read_bytes()[:2000])
    for text in ("text.pt", "text.safetensors"):
        Path(text).write_text("these are no weights")
    Path("empty.pt").touch()
    assert name in refusal(capsys, *run_words("pictures", "tiny", "--weights", name))


def test_a_pickle_that_carries_code_is_refused_and_not_run(place: Path, capsys: Capture) -> None:
    torch.save({"state_dict": Evil()}, "evil.pt")
    Path("bare.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "bare.pt"):
        assert "carries code or objects" in refusal(capsys, *run_words("pictures", "tiny", "--weights", name))
    assert not Path("it-ran").exists()


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("resnet50", "no form that is known"),
        ("torchvision:resnet51", "nearest: resnet50"),
        ("gone.py:tiny", "no such file: gone.py"),
        ("tiny_model.py:tiiny", "no function 'tiiny'; it has: "),
        ("tiny_model.py:broken", "ZeroDivisionError: always"),
        ("torchscript:gone.pt", "no such TorchScript file"),
        ("hf:gone/folder", "hf:gone/folder"),
    ],
)
def test_a_classifier_that_cannot_be_had(place: Path, capsys: Capture, spec: str, words: str) -> None:
    assert words in refusal(capsys, "run", "pictures", "--classifier", spec, "--no-vlm", "--device", "cpu")


def test_a_model_that_gives_nan_for_every_picture_ends_the_run_with_the_reason(place: Path, capsys: Capture) -> None:
    text = Path("tiny_model.py").read_text() + "\n\ndef lost():\n    model = Tiny(3)\n    model.head.bias.data[0] = "
    Path("tiny_model.py").write_text(text + "float('nan')\n    return model, to_tensor, ('blue', 'green', 'red')\n")
    said = refusal(capsys, *run_words("pictures", "lost"))
    assert "not finite" in said
    con = Store(Path("whylook-store")).reader()
    assert con.execute("SELECT count(*), count(prediction) FROM samples").fetchall() == [(9, 0)]
    assert con.execute("SELECT count(*) FROM failures WHERE stage = 'classifier'").fetchall() == [(9,)]


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "magic"], "invalid choice: 'magic'"),
        (["--batch-size", "0"], "--batch-size must be 1 or more"),
        (["--threads", "-3"], "--threads must be 1 or more, got -3"),
        (["--batch-size", "many"], "invalid int value: 'many'"),
        (["--layer", "feature.3"], "no layer 'feature.3' in this model; nearest: features.3"),
        (["--device", "gpu"], "device must be auto, cpu, cuda"),
        (["--vlm", "a.gguf", "--mmproj", "b.gguf"], "contradict each other"),
        (["--wrong"], "unrecognized arguments: --wrong"),
        (["--store", "tiny_model.py"], "tiny_model.py is a file"),
    ],
)
def test_options_that_cannot_be_meant(place: Path, capsys: Capture, more: list[str], words: str) -> None:
    assert words in refusal(capsys, *run_words("pictures", "tiny", *more))


def test_a_run_needs_a_judge_or_the_word_that_it_has_none(place: Path, capsys: Capture) -> None:
    said = refusal(capsys, "run", "pictures", "--classifier", "tiny_model.py:tiny")
    assert "--vlm" in said and "--no-vlm" in said


# --- the store ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["runs"], ["summary"], ["sql", "SELECT 1"], ["search", "cow"]])
def test_reading_where_nothing_is_says_how_to_start(place: Path, capsys: Capture, words: list[str]) -> None:
    assert "whylook run" in refusal(capsys, *words)
    assert not (place / "whylook-store").exists()


@pytest.mark.parametrize("words", [["runs"], ["summary"], ["sql", "SELECT 1"], ["search", "cow"], ["app"], run_words()])
def test_a_store_of_a_newer_version_is_refused_and_untouched(place: Path, capsys: Capture, words: list[object]) -> None:
    Path("whylook-store").mkdir()
    marker = Path("whylook-store/store.json")
    marker.write_text(json.dumps({"version": STORE_VERSION + 1}))
    assert "newer whylook" in refusal(capsys, *words)
    assert [path.name for path in Path("whylook-store").iterdir()] == ["store.json"]


def test_two_runs_on_one_store_at_once(place: Path, capsys: Capture) -> None:
    with open_for_writing(Path("whylook-store")):
        assert "another run" in refusal(capsys, *run_words())
    assert whylook(capsys, *run_words()).code == 0


def test_a_run_that_is_not_there_and_reports_that_cannot_be_written(place: Path, capsys: Capture) -> None:
    assert whylook(capsys, *run_words()).code == 0
    assert "no run r-none in this store; there are r-" in refusal(capsys, "summary", "--run", "r-none")
    assert "must end in .md or .html, got x.doc" in refusal(capsys, "summary", "--out", "x.doc")
    assert "cannot write gone/x.md" in refusal(capsys, "summary", "--out", "gone/x.md")
