"""Runs that are asked for again: what an earlier attempt did and could not do is neither lost nor counted twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from core import queries
from core.errors import ModelError
from core.pipeline.in_flight import NAME
from core.pipeline.request import Progress, RunOutcome, RunRequest
from core.pipeline.run import run
from core.records import Failure
from core.report.facts import facts
from core.store import Store, StoreWriter, open_for_writing
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def quiet(news: Progress) -> None:
    """No one watches."""


def go(request: RunRequest, *, stopped: bool = False) -> RunOutcome:
    return run(request, progress=quiet, stop=lambda: stopped)


@pytest.fixture
def grumpy(tmp_path: Path) -> RunRequest:
    """Eight pictures a class, and one that the classifier raises on."""
    pictures = make_folder(tmp_path / "pictures")
    Image.new("RGB", (48, 48), (255, 255, 255)).save(pictures / "green" / "bright.png")
    return RunRequest(pictures, f"{make_model(tmp_path)}:grumpy", no_vlm=True, store=tmp_path / "s", batch_size=8)


def test_a_finished_run_with_one_failure_is_done_again_when_it_is_run_again(grumpy: RunRequest) -> None:
    first, second = go(grumpy), go(grumpy)
    assert [outcome.state for outcome in (first, second)] == ["done", "done"]
    assert [failure.path for failure in second.failures] == ["green/bright.png"]
    assert second.counts == first.counts


def test_a_suspect_that_the_classifier_refuses_does_not_speak_for_the_others(grumpy: RunRequest) -> None:
    suspect = hashlib.sha256((grumpy.images / "green" / "bright.png").read_bytes()).hexdigest()[:32]
    grumpy.store.mkdir()
    (grumpy.store / NAME).write_text(json.dumps({"working": [suspect], "died": {}}))
    outcome = go(grumpy)
    assert (outcome.state, outcome.counts["predicted"], outcome.counts["failures"]) == ("done", 24, 1)


def test_a_suspect_does_not_excuse_a_classifier_that_never_works(
    grumpy: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*inputs: Any, **options: Any) -> None:
        raise ModelError("always")

    monkeypatch.setattr("core.pipeline.explain.attribute", broken)
    suspect = hashlib.sha256((grumpy.images / "green" / "0000.png").read_bytes()).hexdigest()[:32]
    grumpy.store.mkdir()
    (grumpy.store / NAME).write_text(json.dumps({"working": [suspect], "died": {}}))
    with pytest.raises(ModelError, match="first batch: .*always"):
        go(grumpy)


def test_a_second_round_does_not_add_the_first_ones_seconds_again(
    grumpy: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that is spoilt while the run works makes it go over its pictures again."""
    write, spoilt = StoreWriter.write, []

    def spoil(self: StoreWriter, table: str, *rows: Any, **options: Any) -> Path | None:
        path = write(self, table, *rows, **options)
        if table == "attributions" and path and not spoilt:
            spoilt.append(path)
            path.write_bytes(path.read_bytes()[:-20])
        return path

    monkeypatch.setattr(StoreWriter, "write", spoil)
    outcome = go(grumpy)
    noted = Store(grumpy.store).run_records()[0]["seconds"]
    assert outcome.damaged and outcome.state == "done"
    assert noted["loading models"] == pytest.approx(outcome.seconds["loading models"])
    assert all(spent <= outcome.seconds[stage] + 1e-6 for stage, spent in noted.items())


def failure_shards(request: RunRequest) -> list[str]:
    return sorted(path.name for path in (request.store / "shards" / "failures").glob("part-*"))


def noted(request: RunRequest) -> list[dict[str, Any]]:
    con = Store(request.store).reader()
    return sorted(queries.failures(con, queries.run(con).name), key=lambda row: row["path"])


def test_a_run_repeated_with_the_very_same_failures_writes_no_other_shard_of_them(grumpy: RunRequest) -> None:
    (grumpy.images / "red" / "broken.png").write_bytes(b"\x89PNG broken")
    (grumpy.images / "red" / "empty.png").touch()
    first = go(grumpy)
    shards, rows = failure_shards(grumpy), noted(grumpy)
    assert len(rows) == 3 and {row["image_id"] is None for row in rows} == {True, False}
    for _ in range(2):
        again = go(grumpy)
        assert failure_shards(grumpy) == shards and noted(grumpy) == rows
        assert again.counts == first.counts and set(again.failures) == set(first.failures)
    for generation in grumpy.store.glob("store-*.duckdb"):
        generation.unlink()  # from the shards alone
    go(replace(grumpy, method="layercam"))
    assert {row["path"] for row in queries.failures(Store(grumpy.store).reader(), first.run)} == {
        row["path"] for row in rows
    }


def test_what_fails_otherwise_when_a_run_is_repeated_is_written_and_what_was_mended_goes(grumpy: RunRequest) -> None:
    broken, empty = grumpy.images / "red" / "broken.png", grumpy.images / "red" / "empty.png"
    broken.write_bytes(b"\x89PNG broken")
    empty.touch()
    go(grumpy)
    shards = failure_shards(grumpy)
    empty.unlink()
    go(grumpy)
    assert [row["path"] for row in noted(grumpy)] == ["green/bright.png", "red/broken.png"]
    empty.touch()
    go(grumpy)
    assert [row["path"] for row in noted(grumpy)] == ["green/bright.png", "red/broken.png", "red/empty.png"]
    assert len(failure_shards(grumpy)) > len(shards)


def test_failures_whose_shard_was_lost_are_written_again(grumpy: RunRequest) -> None:
    go(grumpy)
    rows = noted(grumpy)
    for path in [*grumpy.store.glob("store-*.duckdb"), grumpy.store / "CURRENT"]:
        path.unlink()
    for path in (grumpy.store / "shards" / "failures").glob("part-*"):
        path.write_bytes(path.read_bytes()[:-20])
    assert go(grumpy).damaged
    assert noted(grumpy) == rows and failure_shards(grumpy)


def test_failures_whose_shard_was_spoilt_while_the_run_works_are_written_again(
    grumpy: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (grumpy.images / "red" / "empty.png").touch()
    write, spoilt = StoreWriter.write, []

    def spoil(self: StoreWriter, table: str, *rows: Any, **options: Any) -> Path | None:
        path = write(self, table, *rows, **options)
        if table == "failures" and path and len(spoilt) < 2:
            spoilt.append(path)
            path.write_bytes(path.read_bytes()[:-20])
        return path

    monkeypatch.setattr(StoreWriter, "write", spoil)
    outcome = go(grumpy)
    assert len(outcome.damaged) == 2 and outcome.state == "done"
    assert [row["path"] for row in noted(grumpy)] == ["green/bright.png", "red/empty.png"]


def test_failures_stay_when_a_resumed_run_is_stopped_before_their_pictures_are_tried_again(grumpy: RunRequest) -> None:
    (grumpy.images / "red" / "broken.png").write_bytes(b"\x89PNG broken")
    first = go(grumpy)
    stopped = go(grumpy, stopped=True)
    kept = queries.failures(Store(grumpy.store).reader(), first.run)
    assert {row["path"] for row in kept} == {"green/bright.png", "red/broken.png"} and stopped.state == "interrupted"
    assert stopped.counts["failures"] == 2
    assert len(go(grumpy).failures) == 2
    assert len(queries.failures(Store(grumpy.store).reader(), first.run)) == 2


@pytest.mark.parametrize("stage", ["images", "classifier", "attribution", "judge"])
def test_an_earlier_attempts_failure_goes_once_its_picture_has_the_row_that_was_wanting(
    tmp_path: Path, stage: Literal["images", "classifier", "attribution", "judge"]
) -> None:
    table = {"images": "images", "classifier": "predictions", "attribution": "attributions", "judge": "judgements"}
    rows: dict[str, Any] = {}

    def keep_back(tables: dict[str, list[Any]]) -> None:
        rows["last"] = tables[table[stage]].pop()
        rows["image_id"] = f"{0:04x}{59:028x}"

    store, run_ = make_store(tmp_path / "store", rows=60, change=keep_back, pictures=False)
    record = store.run_records()[0]
    failed = [Failure(stage, rows["image_id"], "cow/59.png", "it was late")]

    def kept(writer: StoreWriter) -> int:
        writer.publish()
        return sum(row["reason"] == "it was late" for row in queries.failures(store.reader(), run_))

    with open_for_writing(store.folder) as writer:
        writer.write("failures", failed, run=run_)
        writer.begin_run(record["settings"], record["fingerprints"], class_names=record["class_names"])
        assert kept(writer) == 1
        writer.write("failures", failed, run=run_)
        assert kept(writer) == 1
        writer.begin_run(record["settings"], record["fingerprints"], class_names=record["class_names"])
        last = rows["last"]
        row = replace(last, state="ok") if stage == "judge" else last
        writer.write(table[stage], [row], fingerprint=record["fingerprints"][stage])
        assert kept(writer) == 0


def test_a_run_that_lost_rows_to_damage_says_so_until_it_is_run_again(
    grumpy: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go(grumpy)
    assert not facts(Store(grumpy.store).reader(), first.run).notes
    for generation in grumpy.store.glob("store-*.duckdb"):
        generation.unlink()
    spoilt = sorted((grumpy.store / "shards" / "predictions").glob("part-*.parquet"))[0]
    spoilt.write_bytes(spoilt.read_bytes()[:-20])
    other = make_folder(tmp_path / "other", per_class=2, seed=5)
    go(replace(grumpy, images=other, method="layercam"))
    con = Store(grumpy.store).reader()
    left = queries.run_counts(con, first.run).predicted
    said = f"Rows of this run are missing (predicted {left} of 24 are left)"
    assert left < 24 and any(note.startswith(said) for note in facts(con, first.run).notes)
    monkeypatch.setenv("WHYLOOK_STORE", str(grumpy.store))
    page = AppTest.from_file(str(ROOT / "pages" / "summary.py"), default_timeout=60)
    page.query_params["run"] = first.run
    page.run()
    assert not page.exception and any(note.value.startswith("Rows of this run") for note in page.sidebar.warning)
    go(grumpy)
    con = Store(grumpy.store).reader()
    assert queries.run_counts(con, first.run).predicted == 24 and not facts(con, first.run).notes


def test_answers_that_were_lost_are_missing_although_their_older_failures_are_there(tmp_path: Path) -> None:
    store, run_ = make_store(tmp_path / "store", rows=48, pictures=False)
    found = queries.run_counts(store.reader(), run_)
    with open_for_writing(store.folder) as writer:
        counts = {"judged": found.judged + 2, "abstained": found.abstained, "judge failed": found.judge_failed - 2}
        writer.finish_run(run_, "done", counts)
        writer.publish()
    missing = queries.missing_rows(store.reader(), run_) or ""
    assert f"judged {found.judged} of {found.judged + 2}" in missing and "abstained" not in missing


def test_judged_means_a_score_in_the_record_as_on_the_pages(tmp_path: Path) -> None:
    """Of a flat map the judge abstains: half of these pictures have one."""
    model = make_model(tmp_path)
    model.write_text(
        model.read_text()
        + """

class Dull(Tiny):
    def forward(self, batch):
        bright = batch.mean(dim=(1, 2, 3)) > 0
        return super().forward(batch) * bright[:, None]


def dull():
    return Dull(3), to_tensor, ("blue", "green", "red")
"""
    )
    pictures = make_folder(tmp_path / "pictures", per_class=3)
    Image.new("RGB", (48, 48), (250, 250, 250)).save(pictures / "red" / "bright.png")
    judge = ROOT / "data" / "demo" / "judge"
    request = RunRequest(
        pictures, f"{model}:dull", vlm=judge / "judge.gguf", mmproj=judge / "judge-mmproj.gguf", card_sample=0,
        store=tmp_path / "s",
    )  # fmt: skip
    outcome = go(request)
    found = queries.run_counts(Store(request.store).reader(), outcome.run)
    told = [outcome.counts[name] for name in ("judged", "abstained", "judge failed")]
    assert told == [found.judged, found.abstained, found.judge_failed] and found.abstained >= 5
    assert sum(told) == found.predicted
    store = Store(request.store)
    for found in (*queries.runs_on_disk(store), queries.run(store.reader())):
        assert found.counts == outcome.counts
