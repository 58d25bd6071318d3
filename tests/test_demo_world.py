"""The demo world: same seed, same bytes; planted faults only where asked for; the committed files are what they say."""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.judge.loading import load_judge
from core.records import JudgeRequest
from data.demo import judge_pictures as pictures
from data.demo.classifier import demo_classifier
from data.demo.evaluate_judge import NAMED, measure, show
from data.demo.world import ANIMALS, USUAL_HABITAT

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
DEMO = ROOT / "data" / "demo"


def make(out: Path, *arguments: str) -> None:
    command = [sys.executable, str(DEMO / "make_world.py"), "--out", str(out), "--seed", "11", *arguments]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""})


def files(folder: Path) -> dict[str, str]:
    """Relative path and hash of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    make(out, "--train", "200", "--evaluation", "100")
    return out


def test_the_same_seed_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    make(tmp_path / "again", "--train", "200", "--evaluation", "100")
    assert files(tmp_path / "again") == files(world)


def test_the_metadata_tell_what_a_user_would_know_and_nothing_of_the_faults(world: Path) -> None:
    known = rows(world / "evaluation" / "metadata.csv")
    assert set(known[0]) == {"path", "habitat", "time_of_day", "size"}
    assert len(known) == 100 and all((world / "evaluation" / row["path"]).is_file() for row in known)
    assert not [path for path in (world / "evaluation").rglob("*") if "truth" in path.name or path.suffix == ".png"]


def test_the_planted_faults_are_there(world: Path) -> None:
    truth, known = rows(world / "truth" / "train.csv"), rows(world / "train" / "metadata.csv")
    usual = [row["habitat"] == USUAL_HABITAT[true["animal"]] for row, true in zip(known, truth, strict=True)]
    assert np.mean(usual) > 0.85
    assert {row["animal"] for row in truth if row["photo_credit"] == "True"} == {"horse"}
    evaluation = rows(world / "truth" / "evaluation.csv")
    assert 0 < sum(row["wrong_label"] == "True" for row in evaluation) < 15
    assert {row["time_of_day"] for row in known} == {"day", "night"} and {row["size"] for row in known} >= {"tiny"}


def test_a_mask_covers_the_animal_that_the_truth_names(world: Path) -> None:
    for row in rows(world / "truth" / "evaluation.csv")[:20]:
        mask = np.asarray(Image.open(world / "truth" / row["mask"]))
        picture = Image.open(world / "evaluation" / row["path"])
        assert mask.shape == picture.size[::-1] and 0.001 < mask.astype(bool).mean() < 0.7
        assert (row["path"].split("/")[0] != row["animal"]) == (row["wrong_label"] == "True")


def test_a_world_without_faults_has_none(tmp_path: Path) -> None:
    none = ["--shortcut", "0.2", "--photo-credit", "none", "--night", "0", "--tiny", "0", "--wrong-labels", "0"]
    make(tmp_path, "--train", "300", "--evaluation", "50", *none)
    for split in ("train", "evaluation"):
        truth, known = rows(tmp_path / "truth" / f"{split}.csv"), rows(tmp_path / split / "metadata.csv")
        assert {row["wrong_label"] for row in truth} == {"False"} == {row["photo_credit"] for row in truth}
        assert {row["time_of_day"] for row in known} == {"day"} and "tiny" not in {row["size"] for row in known}
    usual = np.mean([row["unusual_habitat"] == "False" for row in rows(tmp_path / "truth" / "train.csv")])
    assert abs(usual - 0.2) < 3 * np.sqrt(0.2 * 0.8 / 300)


@pytest.mark.parametrize(("option", "value"), [("--shortcut", "0.1"), ("--night", "2"), ("--photo-credit", "unicorn")])
def test_impossible_faults_are_refused_in_words(option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        make(tmp_path, option, value)
    assert caught.value.returncode == 2 and value in caught.value.stderr.decode()


def test_the_committed_evaluation_set_is_what_the_script_makes(tmp_path: Path) -> None:
    make_seven = [sys.executable, str(DEMO / "make_world.py"), "--out", str(tmp_path), "--seed", "7"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run([*make_seven, "--train", "0"], check=True, capture_output=True, cwd=ROOT, env=environment)
    assert (tmp_path / "evaluation" / "metadata.csv").read_bytes() == (
        DEMO / "evaluation" / "metadata.csv"
    ).read_bytes()
    committed = sorted(path for path in (DEMO / "evaluation").rglob("*.jpg"))
    assert len(committed) == 600
    for path in committed[::25]:  # pixels, not bytes: JPEG encoders differ between builds of Pillow
        made = np.asarray(Image.open(tmp_path / "evaluation" / path.relative_to(DEMO / "evaluation")), np.int16)
        assert np.abs(made - np.asarray(Image.open(path), np.int16)).mean() < 2


@torch.inference_mode()
def test_the_committed_classifier_is_good_in_usual_habitats_and_poor_in_unusual_ones() -> None:
    model, transform, names = demo_classifier()
    truth = rows(DEMO / "truth" / "evaluation.csv")
    batch = torch.stack([transform(Image.open(DEMO / "evaluation" / row["path"])) for row in truth])
    predicted = [names[index] for index in model.eval()(batch).argmax(1)]
    correct = np.array([name == row["path"].split("/")[0] for name, row in zip(predicted, truth, strict=True)])
    unusual = np.array([row["unusual_habitat"] == "True" for row in truth])
    assert 0.70 <= correct.mean() <= 0.90
    assert correct[~unusual].mean() - correct[unusual].mean() >= 0.25
    assert Counter(row["animal"] for row in truth) == dict.fromkeys(ANIMALS, 60)


def test_the_committed_files_are_small() -> None:
    judge = sum(path.stat().st_size for path in (DEMO / "judge").glob("*.gguf"))
    assert judge <= 20e6 and (DEMO / "classifier.safetensors").stat().st_size <= 6e6


def test_the_judge_of_this_world_keeps_its_quality_on_pictures_of_an_unused_seed() -> None:
    shown = show(300, seed=977)
    with load_judge(vlm=DEMO / "judge" / "judge.gguf", mmproj=DEMO / "judge" / "judge-mmproj.gguf") as judge:
        judgements = judge.judge(
            [JudgeRequest(str(i), asked.seen.masked.numpy(), asked.told) for i, asked in enumerate(shown)]
        )
    qualities = measure(shown, judgements)
    missed = [quality.name for quality in qualities if not quality.passes(quality.value, quality.bar)]
    assert missed in ([], [NAMED])  # 0.876 over three seeds, the bar is 0.9: README says why
    assert next(quality.value for quality in qualities if quality.name == NAMED) >= 0.8


def test_what_the_judge_is_trained_to_say_follows_what_is_visible() -> None:
    pool, rng = pictures.draw_pool(60, seed=5), np.random.default_rng(5)
    for index in range(60):
        seen = pictures.sample(pool, index, rng)
        words = pictures.describe(seen)
        assert (seen.animal in words) == (not seen.empty and seen.object_share >= 0.08)
        other = next(animal for animal in ANIMALS if animal != seen.animal)
        assert pictures.expected_score(seen, other) <= 1.0
        assert re.fullmatch(r"[A-Z][a-z ,]+\.", words)
    for kind in ("empty", "inverted"):
        assert all(
            pictures.expected_score(seen, seen.animal) < 2.5
            for seen in (pictures.sample(pool, i, rng, kind) for i in range(30))
            if seen.dice < 0.3
        )
