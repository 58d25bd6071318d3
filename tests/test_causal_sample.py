"""Which pictures get the causal check: a uniform sample; old stores; failures; one picture on demand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import queries
from core.commands.main import main
from core.errors import ModelError
from core.images import scan
from core.pipeline import explain as explaining
from core.pipeline.request import RunRequest
from core.pipeline.run import in_random_order, run
from core.store import Store, open_for_writing
from core.store.json_files import read_json, write_json
from core.store.shards import shard_paths, write_shard
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow


def go(request: RunRequest) -> str:
    return run(request, progress=lambda news: None, stop=lambda: False).run


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures")
    return RunRequest(pictures, f"{make_model(tmp_path)}:tiny", no_vlm=True, store=tmp_path / "store", device="cpu")


def checked(request: RunRequest, name: str) -> set[str]:
    rows = Store(request.store).reader().execute(
        "SELECT image_id FROM samples WHERE run = ? AND causal_drop IS NOT NULL AND causal_drop_random IS NOT NULL",
        [name],
    )  # fmt: skip
    return {row[0] for row in rows.fetchall()}


def check_rows(request: RunRequest) -> int:
    return sum(pq.read_metadata(path).num_rows for path in shard_paths(request.store / "shards" / "checks"))


def test_the_sample_is_the_first_pictures_of_the_runs_order_and_grows_without_computing_again(
    request_: RunRequest,
) -> None:
    order = [entry.image_id for entry in in_random_order(scan(request_.images).entries)]
    few = go(dataclasses.replace(request_, causal_sample=7))
    assert checked(request_, few) == set(order[:7]) and check_rows(request_) == 7
    more = go(dataclasses.replace(request_, causal_sample=12))
    assert checked(request_, more) == set(order[:12]) and check_rows(request_) == 12
    assert checked(request_, few) == set(order[:7])  # its own sample, whatever else is known
    none = go(dataclasses.replace(request_, causal_sample=0))
    assert checked(request_, none) == set()
    assert checked(request_, go(request_)) == set(order) and check_rows(request_) == 24
    shards = {path.name for table in ("predictions", "attributions") for path in shard_paths(
        request_.store / "shards" / table)}  # fmt: skip
    assert len(shards) == 2, "predictions and maps were computed once"


def test_pictures_beyond_the_first_serve_the_mean_with_one_draw_and_nothing_is_said_of_them_singly(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.pipeline.run.CAUSAL_SAMPLE", 5)
    order = [entry.image_id for entry in in_random_order(scan(request_.images).entries)]
    name = go(dataclasses.replace(request_, causal_sample=9))
    rows = Store(request_.store).reader().execute(
        f"SELECT image_id, causal_draws, {queries.MEASURED_SQL}, {queries.RESTS_SQL} FROM samples WHERE run = ?", [name]
    )  # fmt: skip
    draws = {row[0]: row[1:] for row in rows.fetchall() if row[1] is not None}
    assert {key: value[0] for key, value in draws.items()} == {
        **dict.fromkeys(order[:5], 6), **dict.fromkeys(order[5:9], 1)
    }  # fmt: skip
    assert all(not (measured or rests) for count, measured, rests in draws.values() if count == 1)


def as_older(store: Path) -> None:
    """The store as version 0.0 left it: the check beside the maps, no stage of its own."""
    (path,) = shard_paths(store / "shards" / "attributions")
    checks = {row["image_id"]: row for each in shard_paths(store / "shards" / "checks")
              for row in pq.read_table(each).to_pylist()}  # fmt: skip
    table = pq.read_table(path)
    for name in ("causal_drop", "causal_drop_random"):
        values = pa.array([checks[key][name] for key in table["image_id"].to_pylist()], pa.float32())
        table = table.set_column(table.column_names.index(name), name, values)
    path.unlink()
    write_shard(path.parent, table, number=1)
    for each in shard_paths(store / "shards" / "checks"):
        each.unlink()
    for generation in (*store.glob("store-*.duckdb"), store / "CURRENT"):
        generation.unlink()
    for record in (store / "runs").glob("*.json"):
        told = read_json(record)
        told["fingerprints"].pop("causal")
        write_json(record, told, twin=True)


def test_a_store_of_the_version_before_keeps_its_checks_and_computes_none_again(
    request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = go(request_)
    as_older(request_.store)
    with open_for_writing(request_.store) as writer:
        writer.publish()
    assert len(checked(request_, name)) == 24  # read as it is
    monkeypatch.setattr(explaining, "causal_check", lambda *inputs, **options: pytest.fail("checked again"))
    monkeypatch.setattr(explaining, "attribute", lambda *inputs, **options: pytest.fail("explained again"))
    assert go(request_) == name, "the same run, with the same name"
    assert len(checked(request_, name)) == 24 and check_rows(request_) == 0


def test_a_check_that_fails_is_noted_and_tried_again(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    order = [entry.image_id for entry in in_random_order(scan(request_.images).entries)]
    real = explaining.causal_check

    def failing(classifier: Any, batch: Any, *inputs: Any, **options: Any) -> Any:
        if len(batch) > 1 or failing.calls == 0:
            failing.calls += len(batch) == 1
            raise ModelError("no room for blur")
        return real(classifier, batch, *inputs, **options)

    failing.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(explaining, "causal_check", failing)
    outcome = run(request_, progress=lambda news: None, stop=lambda: False)
    assert [(failure.stage, failure.reason) for failure in outcome.failures] == [("causal", "no room for blur")]
    assert len(checked(request_, outcome.run)) == 23 and outcome.counts["attributed"] == 24
    monkeypatch.setattr(explaining, "causal_check", real)
    again = run(request_, progress=lambda news: None, stop=lambda: False)
    assert again.run == outcome.run and checked(request_, again.run) == set(order)
    assert queries.failures(Store(request_.store).reader(), again.run) == []


def test_one_picture_is_checked_on_demand_and_kept(request_: RunRequest, capsys: pytest.CaptureFixture[str]) -> None:
    name = go(dataclasses.replace(request_, causal_sample=0))
    store = Store(request_.store)
    row = next(row for row in queries.pictures(store.reader(), name, limit=24) if row["attention_area"] is not None)
    words = ["check", row["path"], "--run", name, "--store", str(request_.store), "--draws", "5", "--format", "json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    mark = queries.run(store.reader(), name).fingerprints["attribution"]
    kept = store.closer_look(mark, row["image_id"])
    assert kept is not None and len(kept["random_drops"]) == 5
    assert told[0]["lost"] == pytest.approx(kept["causal_drop"], abs=1e-4)
    assert told[1]["lost"] == pytest.approx(np.mean(kept["random_drops"]), abs=1e-4)
    assert store.undo() is None, "looking takes no undo step"
    assert checked(request_, name) == set(), "what somebody picked is no part of a uniform sample"
    assert main(["check", "nowhere.png", "--run", name, "--store", str(request_.store)]) == 2
    assert "has no image nowhere.png" in capsys.readouterr().err
    for path in request_.images.glob("*/*.png"):
        path.unlink()
    assert main(words) == 2 and "is not in" in capsys.readouterr().err
