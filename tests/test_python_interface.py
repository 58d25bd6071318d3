"""`import whylook`: a run, and everything that a store is asked for, from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import whylook
from core import queries
from core.store import Store
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> whylook.Store:
    """A store with an older run of 6 pictures and a newer one of 24."""
    folder = tmp_path_factory.mktemp("filled") / "store"
    make_store(folder, rows=6, seed=1)
    make_store(folder, rows=24)
    return whylook.open(folder)


def test_importing_and_opening_loads_no_model_library(filled: whylook.Store) -> None:
    code = f"""import sys, whylook
whylook.open({str(filled.folder)!r}).samples().df()
assert not {{"torch", "transformers", "llama_cpp", "streamlit"}} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_from_python_shows_its_stages_and_is_resumed_by_the_same_call(tmp_path: Path, capsys: Capture) -> None:
    pictures, model = make_folder(tmp_path / "pictures", per_class=4), f"{make_model(tmp_path)}:tiny"
    first = whylook.run(pictures, model, store=tmp_path / "store", no_vlm=True, device="cpu", batch_size=5)
    said = capsys.readouterr().err
    assert (first.state, first.counts["predicted"], first.failures) == ("done", 12, ())
    assert "loading models …" in said and "pictures: 100%" in said and "12/12" in said
    again = whylook.run(str(pictures), model, store=str(tmp_path / "store"), no_vlm=True, device="cpu", progress=False)
    assert again.run == first.run and capsys.readouterr().err == ""
    rows = whylook.open(tmp_path / "store").runs().df()
    assert rows.run.tolist() == [first.run] and rows.attempt.tolist() == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metod": "cam"}, "no option metod; the nearest is method"),
        ({"method": "magic"}, "--method must be one of gradcam"),
        ({"batch_size": "2"}, "batch_size must be a number, got '2'"),
        ({"no_vlm": 1}, "no_vlm must be a switch, got 1"),
        ({"weights": 3}, "weights must be a path, got 3"),
        ({"weights": "gone.pt"}, "no such file: gone.pt"),
        ({"no_vlm": None}, "--vlm and --mmproj are missing"),
    ],
)
def test_options_that_cannot_be_meant_are_a_whylook_error(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(whylook.WhylookError, match=words):
        whylook.run(tmp_path, "timm:x", store=tmp_path / "store", **{"no_vlm": True, **options})
    assert not (tmp_path / "store").exists()


# --- reading --------------------------------------------------------------------------------------------------------


def test_samples_are_those_of_the_newest_run_or_of_the_one_that_is_named(filled: whylook.Store) -> None:
    newest, older = filled.runs().df().run
    assert len(filled.samples().df()) == len(filled.samples(newest)) == 24
    frame = filled.samples(older).df()
    assert len(frame) == 6 and set(frame.run) == {older}
    assert filled.samples().filter("label = 'cow'").count("*").fetchall() == [(8,)]


def test_sql_is_that_of_the_command_line_and_a_relation(filled: whylook.Store) -> None:
    found = filled.sql("SELECT label, count(*) AS n FROM samples GROUP BY label ORDER BY label").df()
    assert found.label.tolist() == ["camel", "cow", "horse"] and found.n.tolist() == [10, 10, 10]
    for query, words in (("DROP TABLE images", "SELECT"), ("SELECT nothing FROM samples", "nothing"),
                         ("SELECT * FROM read_csv('/etc/passwd')", "read_csv")):  # fmt: skip
        with pytest.raises(whylook.WhylookError, match=words):
            filled.sql(query)
    with pytest.raises(whylook.WhylookError, match="more than 5 rows"):
        filled.sql("SELECT * FROM samples", max_rows=5)


def test_findings_and_hits_are_those_of_the_app(filled: whylook.Store) -> None:
    newest = filled.runs().df().run[0]
    findings = filled.findings()
    assert findings and [finding.rank for finding in findings] == list(range(1, len(findings) + 1))
    hits = filled.search("meadow ground", limit=3)
    assert 1 <= len(hits) <= 3 and all("ground" in str(hit.description) for hit in hits)
    ids = {row["image_id"] for row in queries.pictures(Store(filled.folder).reader(), newest, limit=100)}
    assert {hit.image_id for hit in hits} <= ids


def test_a_picture_comes_with_its_overlay_and_what_the_judge_saw(filled: whylook.Store) -> None:
    row = filled.samples().df().iloc[0]
    shown = filled.picture(row.image_id)
    assert (shown.label, shown.prediction, shown.path) == (row.label, row.prediction, row.path)
    assert shown.overlay and shown.masked and shown.map is not None
    assert shown.picture.size == shown.overlay.size == shown.masked.size == (224, 224)
    assert shown.map.shape == (7, 7) and shown.details["confidence"] == pytest.approx(row.confidence)
    assert np.asarray(shown.masked).mean() < np.asarray(shown.picture).mean()


def test_a_picture_is_its_file_while_that_is_unchanged_and_the_thumbnail_afterwards(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    model, folder = f"{make_model(tmp_path)}:tiny", tmp_path / "store"
    whylook.run(pictures, model, store=folder, no_vlm=True, device="cpu", progress=False)
    store = whylook.open(folder)
    row = store.samples().df().iloc[0]
    file = pictures / row.path
    exact = np.asarray(store.picture(row.image_id).picture)
    assert np.array_equal(exact, np.asarray(Image.open(file)))
    file.write_bytes((pictures / store.samples().df().iloc[1].path).read_bytes())
    other, kept = np.asarray(Image.open(file)), np.asarray(store.picture(row.image_id).picture).astype(int)
    assert 0 < np.abs(kept - exact).mean() < np.abs(kept - other).mean()  # a lossy thumbnail of what was there


def test_what_is_not_there_is_said(filled: whylook.Store, tmp_path: Path) -> None:
    for call, words in (
        (lambda: whylook.open(tmp_path / "gone"), "nothing to read"),
        (lambda: filled.samples("r-none"), "no run r-none in this store; there are r-"),
        (lambda: filled.picture("nobody"), "has no picture nobody"),
        (lambda: filled.search(" "), "nothing to look for"),
    ):
        with pytest.raises(whylook.WhylookError, match=words):
            call()
    assert not (tmp_path / "gone").exists()
