"""A real classifier on real pictures, through the command line. They lie beside the project and not in it.

Where ../shared/data is not there, these tests skip and say so.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from core import queries, report
from core.store import Store
from tests.support.command_line import whylook

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CIFAR, PHOTOS, IMAGENET = DATA / "cifar10", DATA / "photos", DATA / "imagenet300"
JUDGE = ROOT / "data" / "demo" / "judge"
MODEL = CIFAR / "cifar_resnet.py"
needs_cifar = pytest.mark.skipif(not CIFAR.is_dir(), reason="needs ../shared/data/cifar10, which is not here")
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/data/photos, which is not here")
needs_imagenet = pytest.mark.skipif(not IMAGENET.is_dir(), reason="needs ../shared/data/imagenet300, which is not here")
REFERENCE = 1_627  # of 2,000: README.md of that folder


def counts(store: Path) -> queries.RunCounts:
    con = Store(store).reader()
    return queries.run_counts(con, queries.run(con).name)


@needs_cifar
@pytest.mark.parametrize("weights", [[], ["--weights", CIFAR / "resnet20-12fca82f.th"]], ids=["inside", "weights"])
def test_resnet20_is_right_on_exactly_1627_of_2000(tmp_path: Path, capsys: Capture, weights: list[Any]) -> None:
    spec = f"{MODEL}:resnet20_without_weights" if weights else f"{MODEL}:resnet20"
    words = ["run", CIFAR / "test", "--classifier", spec, *weights, "--no-vlm", "--device", "cpu", "--batch-size", 64]
    assert whylook(capsys, *words, "--store", tmp_path / "store").code == 0
    found = counts(tmp_path / "store")
    assert (found.pictures, found.labelled, found.correct, found.failures) == (2000, 2000, REFERENCE, 0)
    summary = whylook(capsys, "summary", "--store", tmp_path / "store")
    assert "81.3% [79.6, 83.0] · n 2,000" in summary.out


@needs_imagenet
@pytest.mark.parametrize(("model", "right"), [("lite0", 291), ("lite2", 292)])
def test_two_real_imagenet_classifiers_are_as_right_as_they_are(
    tmp_path: Path, capsys: Capture, model: str, right: int
) -> None:
    store, spec = tmp_path / "store", f"{IMAGENET / 'efficientnet_lite.py'}:{model}"
    words = ["run", IMAGENET / "pictures", "--classifier", spec, "--no-vlm", "--device", "cpu", "--store", store]
    assert whylook(capsys, *words, "--causal-sample", 64).code == 0
    found = counts(store)
    assert (found.pictures, found.labelled, found.correct, found.failures) == (334, 334, right, 0)
    row = Store(store).reader().execute(
        "SELECT count(causal_drop), avg(causal_drop), avg(causal_drop_random) FROM samples"
    ).fetchone()  # fmt: skip
    assert row is not None and row[0] == 64 and row[1] > row[2] + 0.1  # its maps show what it uses


@needs_cifar
def test_the_demo_judge_runs_and_says_that_it_does_not_know_these_pictures(tmp_path: Path, capsys: Capture) -> None:
    """A list of 16 of the pictures: what is to be seen does not need 2,000."""
    files = sorted((CIFAR / "test").glob("*/*"))[::125]
    with (tmp_path / "some.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label"], *[[file, file.parent.name] for file in files]])
    pair = ["--vlm", JUDGE / "judge.gguf", "--mmproj", JUDGE / "judge-mmproj.gguf", "--store", tmp_path / "store"]
    answer = whylook(capsys, "run", tmp_path / "some.csv", "--classifier", f"{MODEL}:resnet20", *pair)
    found = counts(tmp_path / "store")
    assert found.pictures == found.predicted == len(files) == 16
    assert found.judged + found.abstained + found.judge_failed == 16 and found.judged > 0
    assert answer.code == (1 if found.judge_failed else 0)
    con = Store(tmp_path / "store").reader()
    record = queries.run(con)
    assert "demo world only" in record.judge_note and record.judge_note in answer.err
    assert escape(record.judge_note) in report.html(con, record.name, [])


@needs_photos
def test_an_untrained_torchvision_network_explains_photographs(tmp_path: Path, capsys: Capture) -> None:
    words = ["run", PHOTOS, "--classifier", "torchvision:resnet50", "--no-vlm", "--device", "cpu"]
    answer = whylook(capsys, *words, "--store", tmp_path / "store")
    pictures = [path for path in PHOTOS.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    assert answer.code == 0
    assert "this model is untrained and its predictions are chance" in answer.err
    found = counts(tmp_path / "store")
    assert found.pictures == found.predicted == found.labelled == len(pictures) > 30
    con = Store(tmp_path / "store").reader()
    sizes = con.execute("SELECT count(DISTINCT (width, height)), min(octet_length(thumbnail)) FROM images").fetchall()
    assert sizes[0][0] > 5 and sizes[0][1] > 500  # real photographs of many sizes
    stated = con.execute("SELECT count(*) FROM attributions WHERE state = 'ok' OR reason IS NOT NULL").fetchall()
    assert stated == [(len(pictures),)]
