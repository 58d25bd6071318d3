"""Findings on worlds whose faults are known: what is planted is found, and what is not there is not accused."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from core import queries
from core.findings import KINDS, Finding, summarise
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.null_world import make_null_world
from tests.support.store_factory import make_store

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "data" / "demo"
CLEAN = ("--shortcut", "0.2", "--photo-credit", "none", "--night", "0", "--tiny", "0", "--wrong-labels", "0")
USUAL = {"desert": {"camel", "lizard"}, "meadow": {"cow", "horse"}, "snow": {"deer", "penguin"}}
USUAL |= {"street": {"cat", "dog"}, "water": {"duck", "turtle"}}
SHORTCUT = re.compile(r"With habitat = “(\w+)”, other classes are called “(\w+)”")
ALONE = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # one thread, so that training gives the same weights
CLEAN_MODEL = """
from safetensors.torch import load_file
from data.demo.classifier import network, transform
from data.demo.world import ANIMALS


def classifier():
    model = network()
    model.load_state_dict(load_file({weights!r}))
    return model, transform(), ANIMALS
"""


def made(folder: Path, *words: str) -> Path:
    """A world of data/demo/make_world.py."""
    script = [sys.executable, str(DEMO / "make_world.py"), "--out", str(folder), *words]
    subprocess.run(script, check=True, capture_output=True, cwd=ROOT, env=ALONE)
    return folder


def explained(pictures: Path, classifier: str, store: Path) -> tuple[queries.Connection, list[Finding]]:
    request = RunRequest(pictures, classifier, no_vlm=True, store=store, device="cpu")
    outcome = run(request, progress=lambda news: None, stop=lambda: False)
    con = Store(store).reader()
    return con, summarise(con, outcome.run)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, queries.Connection, list[Finding]]:
    """The committed classifier on a world of another seed, with the faults it was trained with."""
    folder = tmp_path_factory.mktemp("planted")
    made(folder / "world", "--seed", "4711", "--train", "0", "--evaluation", "500")
    spec = f"{DEMO / 'classifier.py'}:demo_classifier"
    return folder / "world", *explained(folder / "world" / "evaluation", spec, folder / "store")


def test_the_planted_habitat_shortcut_is_found_and_stands_near_the_top(planted) -> None:
    _, _, found = planted
    shortcuts = [(finding, SHORTCUT.search(finding.sentence)) for finding in found if finding.kind == "shortcut"]
    assert len(shortcuts) >= 3 and all(match for _, match in shortcuts)
    for finding, match in shortcuts:
        assert match is not None and match[2] in USUAL[match[1]], finding.sentence  # each is one that was planted
        assert finding.rest is not None and finding.value.low > finding.rest.value
    assert shortcuts[0][0].rank <= 4


def test_the_planted_tiny_animals_are_a_weak_slice(planted) -> None:
    _, _, found = planted
    weak = [finding.sentence for finding in found if finding.kind == "weak_slice"]
    assert any("size = “tiny”" in sentence for sentence in weak), weak


def test_suspected_wrong_labels_hold_many_times_more_wrong_labels_than_chance(planted) -> None:
    world, con, found = planted
    truth = list(csv.DictReader((world / "truth" / "evaluation.csv").open()))
    wrong = {row["path"] for row in truth if row["wrong_label"] == "True"}
    suspects = next(finding for finding in found if finding.kind == "wrong_label")
    picked = {row[0] for row in con.execute(f"SELECT path FROM ({suspects.sql})").fetchall()}
    assert len(picked) == suspects.n
    assert len(picked & wrong) / len(picked) > 4 * len(wrong) / len(truth)
    assert len(picked & wrong) >= 0.4 * len(wrong)


def test_every_finding_carries_its_number_interval_n_and_a_query_for_exactly_its_pictures(planted) -> None:
    _, con, found = planted
    assert [finding.rank for finding in found] == list(range(1, len(found) + 1))
    assert {finding.kind for finding in found} <= KINDS.keys()
    assert len({finding.sql for finding in found}) == len(found)
    for finding in found:
        assert finding.value.low <= finding.value.value <= finding.value.high
        assert f"n {finding.value.n:,}" in finding.evidence and "[" in finding.evidence
        assert len(re.findall(r"[\d.]+%", finding.sentence)) <= 2 and "[" not in finding.sentence
        rows = con.execute(finding.sql).fetchall()
        assert len(rows) == finding.n > 0
        assert finding.sql.count("SELECT") == 1 and "run = 'r-" in finding.sql


def test_the_same_run_gives_the_same_findings(planted) -> None:
    _, con, found = planted
    assert summarise(con, con.execute("SELECT run FROM runs").fetchall()[0][0]) == found


def test_a_classifier_of_a_world_without_faults_is_accused_of_no_shortcut(tmp_path: Path) -> None:
    world = made(tmp_path / "world", "--seed", "91", "--train", "1000", "--evaluation", "300", *CLEAN)
    weights = tmp_path / "clean.safetensors"
    train = [sys.executable, str(DEMO / "train_classifier.py"), "--world", str(world), "--out", str(weights)]
    subprocess.run([*train, "--epochs", "3", "--threads", "1"], check=True, capture_output=True, cwd=ROOT, env=ALONE)
    (tmp_path / "clean.py").write_text(CLEAN_MODEL.format(weights=str(weights)))
    con, found = explained(world / "evaluation", f"{tmp_path / 'clean.py'}:classifier", tmp_path / "store")
    correct, n = con.execute("SELECT count(*) FILTER (correct), count(*) FROM samples").fetchall()[0]
    assert n == 300 and 100 < correct < 300  # it makes mistakes that one could read too much into
    kinds = Counter(finding.kind for finding in found)
    accused = [finding.sentence for finding in found if finding.kind == "shortcut"]
    # So small a classifier does confuse animals by how large they are shown: that is its own fault and no accusation
    # of the world's. The world's habitats say nothing of the animal, and nothing may be said of them.
    assert not [sentence for sentence in accused if "habitat" in sentence or "time_of_day" in sentence]
    assert kinds["failures"] >= 1


def test_where_mistakes_depend_on_nothing_hardly_anything_is_accused(tmp_path: Path) -> None:
    """12 worlds: at a false discovery rate of 5% per kind, one accusation of a kind is no surprise, three would be."""
    accused: Counter[str] = Counter()
    for seed in range(12):
        store, name = make_null_world(tmp_path / str(seed), seed=seed)
        accused.update({finding.kind for finding in summarise(store.reader(), name)})
    assert accused["failures"] == 12
    assert max(accused[kind] for kind in ("shortcut", "confusion", "weak_class", "weak_slice")) <= 2, accused


def test_a_low_score_accuses_no_class(tmp_path: Path) -> None:
    def mislead(tables: dict[str, list]) -> None:
        answers = {row.image_id: row.prediction for row in tables["predictions"]}
        for place, row in enumerate(tables["judgements"]):
            if row.state == "ok":
                score = 1.0 if answers[row.image_id] == "cow" else 4.5
                tables["judgements"][place] = type(row)(**{**vars(row), "score": score})

    store, name = make_store(tmp_path, rows=240, change=mislead, pictures=False)
    con = store.reader()
    low = con.execute("SELECT count(*) FILTER (cell = 'correct_low') FROM samples WHERE prediction = 'cow'").fetchall()
    assert low[0][0] > 10
    assert not [finding.sentence for finding in summarise(con, name) if finding.kind == "shortcut"]


def test_a_run_that_is_always_right_or_has_no_pictures_gives_no_accusation(tmp_path: Path) -> None:
    store, name = make_null_world(tmp_path / "right", seed=1, rows=60, accuracy=1.1)
    assert {finding.kind for finding in summarise(store.reader(), name)} <= {"attention"}
    with pytest.raises(Exception, match="no run r-none"):
        summarise(store.reader(), "r-none")
