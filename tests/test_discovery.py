"""Discovery: ways of seeing, where they differ, what is used, and what is merely there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core import queries
from core.commands.main import main
from core.discovery.changes import CHANGEABLE, changed, moved
from core.discovery.cues import Cue, judged
from core.discovery.interventions import Trial, beyond, measure, sign_flip_p
from core.discovery.regions import Box, around, differing
from core.discovery.strategies import components
from core.errors import ModelError, StoreError
from core.findings import summarise
from core.images.properties import properties
from core.pipeline.discover import discover
from core.pipeline.request import RunRequest
from core.pipeline.run import run as run_pipeline
from core.store import Store, open_for_writing
from tests.support.marked_world import make_marked_world


def explained(folder: Path, *, pull: float) -> tuple[Store, str, set[str]]:
    """A marked world after `whylook run`."""
    pictures, model, marked = make_marked_world(folder, pull=pull)
    store = Store(folder / "store")
    request = RunRequest(pictures, f"{model}:load", no_vlm=True, store=store.folder, device="cpu")
    return store, run_pipeline(request, progress=lambda news: None, stop=lambda: False).run, marked


def share_marked(store: Store, run: str, cue: Cue, marked: set[str]) -> float:
    """How many of a cue's pictures carry the mark."""
    con = store.reader()
    paths = con.execute(f"SELECT path FROM samples WHERE run = ? AND ({cue.sql})", [run]).fetchall()
    return float(np.mean([path in marked for (path,) in paths]))


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, set[str], list[Cue]]:
    store, run, marked = explained(tmp_path_factory.mktemp("used"), pull=12.0)
    return store, run, marked, list(discover(store, run).cues)


def test_a_mark_that_the_classifier_uses_is_found_shown_and_called_used(used):
    store, run, marked, cues = used
    found = [cue for cue in cues if cue.verdict == "used" and cue.kind in ("strategy", "detail")]
    assert found and share_marked(store, run, found[0], marked) >= 0.9
    assert found[0].answer == "blue"
    path = dict(store.reader().execute("SELECT image_id, path FROM samples").fetchall())
    assert all(path[image_id] in marked for image_id in found[0].prototypes)
    row = next(row for row in queries.cues(store.reader(), run) if row.cue == found[0].name)
    assert (
        row.effect is not None and row.effect > 0.1 and row.examples and row.examples[0].before != row.examples[0].after
    )


def test_a_mark_that_is_merely_there_is_never_called_used(tmp_path):
    store, run, marked = explained(tmp_path, pull=0.0)
    cues = discover(store, run).cues
    accused = [cue for cue in cues if cue.verdict == "used" and cue.kind in ("strategy", "detail")]
    assert not [cue for cue in accused if share_marked(store, run, cue, marked) >= 0.7]


def test_the_report_leads_to_the_used_cue_and_its_query_gives_its_pictures(used):
    store, run, _, _ = used
    findings = [finding for finding in summarise(store.reader(), run) if finding.kind == "cue"]
    assert findings and "“blue”" in findings[0].sentence and "(placebo: " in findings[0].sentence
    assert len(store.reader().execute(findings[0].sql).fetchall()) == findings[0].n


def test_samples_says_which_way_a_picture_was_seen_and_which_used_cue_it_holds(used):
    store, run, marked, _ = used
    rows = store.reader().execute("SELECT path, prediction, strategy, detail, cue FROM samples").fetchall()
    assert all(
        strategy.startswith(prediction) and detail.startswith(prediction) for _, prediction, strategy, detail, _ in rows
    )
    assert any(cue is not None and path in marked for path, *_, cue in rows)


def test_discovering_again_gives_the_same_cues(used):
    store, run, _, cues = used
    again = discover(store, run).cues
    assert [(cue.name, cue.verdict) for cue in again] == [(cue.name, cue.verdict) for cue in cues]
    n = store.reader().execute("SELECT count(*), count(DISTINCT image_id) FROM samples").fetchall()[0]
    assert n[0] == n[1]


def test_the_command_prints_cues_and_says_how_many_are_used(used, capsys):
    store, *_ = used
    assert main(["discover", "--store", str(store.folder), "--device", "cpu", "--quiet"]) == 0
    said = capsys.readouterr()
    assert "used" in said.out and "cues are used" in said.err


def test_a_run_that_keeps_no_features_is_told_what_to_do(tmp_path, capsys):
    pictures, model, _ = make_marked_world(tmp_path, pull=0.0, pictures=12)
    store = tmp_path / "store"
    words = ["run", str(pictures), "--classifier", f"{model}:load", "--no-vlm", "--store", str(store), "--quiet"]
    assert main([*words, "--method", "occlusion", "--device", "cpu"]) == 0
    assert main(["discover", "--store", str(store), "--device", "cpu"]) == 2
    assert "run it again into a new --store" in capsys.readouterr().err


def test_a_store_that_is_written_to_is_refused_before_any_work(used, monkeypatch):
    store, run, _, _ = used
    monkeypatch.setattr("core.pipeline.discover.load", lambda *args, **kwargs: pytest.fail("it began to work"))
    with open_for_writing(store.folder), pytest.raises(StoreError, match="writes to"):
        discover(store, run)


@pytest.mark.parametrize("pictures", [3, 12])
def test_few_pictures_give_no_cue_and_no_traceback(tmp_path, capsys, pictures):
    folder, model, _ = make_marked_world(tmp_path, pull=12.0, pictures=pictures)
    store = tmp_path / "store"
    words = ["run", str(folder), "--classifier", f"{model}:load", "--no-vlm", "--store", str(store), "--quiet"]
    assert main([*words, "--device", "cpu"]) == 0
    assert main(["discover", "--store", str(store), "--device", "cpu", "--quiet"]) == 0
    assert "0 of" in capsys.readouterr().err


def test_components_find_a_group_and_number_the_commonest_first():
    generator = np.random.default_rng(0)
    vectors = generator.normal(0, 1, (150, 30)).astype(np.float32)
    vectors[:40] += 6
    answers = np.zeros(150, dtype=np.int64)
    answers[-1] = -1
    codes = components(vectors, answers)
    assert codes[-1] == -1
    small = np.bincount(codes[:40]).argmax()
    assert (codes[:40] == small).mean() > 0.9 and (codes[40:-1] == small).mean() < 0.1
    assert list(np.bincount(codes[:-1])) == sorted(np.bincount(codes[:-1]), reverse=True)


def test_the_region_is_where_two_groups_differ():
    generator = np.random.default_rng(1)
    inside, others = (generator.normal(0, 1, (40, 5, 8, 8)).astype(np.float32) for _ in range(2))
    inside[:, :, 5:, :3] += 3
    box, peak = differing(inside, others)
    assert (box.top, box.left, box.bottom, box.right) == (0.625, 0.0, 1.0, 0.375) and peak > 4


def test_boxes_stay_inside_and_move_away():
    generator = np.random.default_rng(2)
    box = around((0.99, 0.02), (8, 8))
    assert (box.top, box.left) == (0.625, 0.0)
    for _ in range(50):
        other = box.moved(generator)
        assert other.top >= 0 and other.bottom <= 1 + 1e-9 and (other.top, other.left) != (box.top, box.left)
    rows, columns = Box(0.0, 0.0, 0.01, 0.01).pixels(10, 10)
    assert rows.stop > rows.start and columns.stop > columns.start


def test_sign_flips_hold_their_level_and_see_an_effect():
    generator = np.random.default_rng(3)
    null = [sign_flip_p(generator.normal(0, 1, 30)) for _ in range(200)]
    assert np.mean(np.asarray(null) <= 0.05) <= 0.1
    assert sign_flip_p(generator.normal(1, 1, 30)) < 0.01


def test_the_stronger_placebo_counts():
    change = np.full(20, 0.3) + np.linspace(-0.01, 0.01, 20)
    found = beyond(change, [np.zeros(20), np.full(20, 0.28)], kind="insert")
    assert found.value == pytest.approx(0.02) and found.placebo == pytest.approx(0.28)


def test_an_intervention_follows_the_class_it_is_asked_about():
    pictures = [torch.zeros(1, 4, 4) for _ in range(10)]
    trials = [Trial(picture, picture + 1, (picture,)) for picture in pictures]

    def predict(batch: torch.Tensor) -> np.ndarray:
        high = batch.mean(dim=(1, 2, 3)).numpy().astype(float) * 0.5
        return np.stack([high, 1 - high], axis=1)

    gained, lost = (measure(trials, answer, predict, kind="insert") for answer in (0, 1))
    assert gained is not None and lost is not None
    assert gained.effect.value == pytest.approx(0.5) and lost.effect.value == pytest.approx(-0.5)
    assert measure(trials[:7], 0, predict, kind="insert") is None


def test_an_answer_that_is_no_number_is_an_error_not_an_effect():
    trials = [Trial(torch.zeros(3, 8, 8), torch.ones(3, 8, 8), (torch.zeros(3, 8, 8),))] * 30

    def predict(pictures):
        return np.where(pictures.mean(dim=(1, 2, 3)).numpy()[:, None] > 0, np.nan, 0.5) * np.ones((1, 2))

    with pytest.raises(ModelError, match="not a number"):
        measure(trials, 1, predict, kind="insert")


@pytest.mark.parametrize("name", CHANGEABLE)
def test_a_property_is_brought_to_its_level(name):
    pixels = np.random.default_rng(4).integers(30, 220, (64, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    before = getattr(properties(picture), name)
    wanted = moved(before, name, start=1.0, end=1.1) if name == "warmth" else before * 0.7
    assert getattr(properties(changed(picture, name, wanted)), name) == pytest.approx(wanted, rel=0.1, abs=0.01)


def test_verdicts_share_one_error_rate():
    assert judged([]) == []


def test_a_used_group_within_a_larger_one_says_so_and_is_no_cause_of_its_own():
    generator = np.random.default_rng(5)
    change = generator.normal(0.5, 0.05, 40)
    effect = beyond(change, [np.zeros(40)], kind="remove")
    wide, narrow = np.arange(60) < 40, np.arange(60) < 12
    cues = [
        Cue(name, "detail", "blue", "", "true", int(members.sum()), 0.5, 0.1, members, (), effects=(effect,), p=0.001)
        for name, members in (("blue a", wide), ("blue b", narrow))
    ]
    told = {cue.name: cue for cue in judged(cues)}
    assert told["blue a"].verdict == told["blue b"].verdict == "used"
    assert not told["blue a"].reason and "the 40 of blue a" in told["blue b"].reason
