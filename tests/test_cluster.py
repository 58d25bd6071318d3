"""A run on a Ray cluster of two nodes: the rows of one machine, whatever is killed while it works."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core import queries
from core.errors import RequestError, WhylookError
from core.pipeline.cluster import cluster
from core.pipeline.request import RunOutcome, RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.clusters import add_slow, workers
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
PICTURES = 96
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def request_(tmp_path: Path, nodes: Any) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures", per_class=PICTURES // 3)
    model = add_slow(make_model(tmp_path))
    return RunRequest(
        pictures, f"{model}:tiny", no_vlm=True, store=tmp_path / "store", device="cpu", batch_size=16, causal_sample=40,
        engine="ray", address=nodes.address,
    )  # fmt: skip


def go(request: RunRequest) -> RunOutcome:
    return run(request, progress=lambda news: None, stop=lambda: False)


def every_row(store: Path) -> list[dict[str, Any]]:
    con = Store(store).reader()
    rows = queries.fetch_rows(
        con,
        """SELECT s.* EXCLUDE run, p.probabilities, a.map, f.pooled, f.places, f.detail FROM samples s
        JOIN runs r USING (run)
        JOIN predictions p ON p.image_id = s.image_id AND p.fingerprint = r.classifier_fingerprint
        JOIN attributions a ON a.image_id = s.image_id AND a.fingerprint = r.attribution_fingerprint
        JOIN features f ON f.image_id = s.image_id AND f.fingerprint = r.attribution_fingerprint
        ORDER BY s.path""",
    )
    counts = {table: con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
              for table in ("images", "predictions", "attributions", "features", "checks")}  # fmt: skip
    assert counts == {**dict.fromkeys(("images", "predictions", "attributions", "features"), PICTURES), "checks": 40}
    return rows


def assert_same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second) == PICTURES
    for one_row, other in zip(first, second, strict=True):
        for name, value in one_row.items():
            if isinstance(value, float) or (isinstance(value, list) and value and isinstance(value[0], float)):
                assert other[name] == pytest.approx(value, abs=1e-5), name
            elif not isinstance(value, bytes):
                assert other[name] == value, name


def test_a_cluster_stores_what_one_machine_stores_and_nothing_is_done_twice(request_: RunRequest) -> None:
    outcome = go(request_)
    assert (outcome.state, outcome.failures, outcome.counts["attributed"]) == ("done", (), PICTURES)
    alone = dataclasses.replace(request_, engine="local", address=None, store=request_.store.with_name("alone"))
    assert go(alone).run == outcome.run, "the engine is no part of what is computed"
    assert_same(every_row(alone.store), every_row(request_.store))
    shards = sorted((request_.store / "shards").glob("*/part-*"))
    assert go(request_).run == outcome.run
    assert sorted((request_.store / "shards").glob("*/part-*")) == shards
    assert not (request_.store / "workers").exists()


def test_a_worker_that_is_killed_costs_its_block_alone(request_: RunRequest) -> None:
    slow = dataclasses.replace(request_, classifier=request_.classifier.replace(":tiny", ":slow"))
    killed = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while len(killed) < 2 and time.monotonic() < deadline:
            time.sleep(0.7)
            for process in workers()[:1]:
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = go(slow)
    killer.join()
    assert len(killed) == 2 and (outcome.state, outcome.failures) == ("done", ())
    every_row(request_.store)


def test_a_run_goes_on_after_its_driver_was_killed(request_: RunRequest) -> None:
    slow = dataclasses.replace(request_, classifier=request_.classifier.replace(":tiny", ":slow"))
    words = [sys.executable, "-m", "core", "run", *slow.arguments()]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not list((request_.store / "shards").glob("attributions/part-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    child.kill()
    child.wait()
    done = len(list((request_.store / "shards").glob("attributions/part-*")))
    assert done > 0
    assert go(slow).state == "done"
    every_row(request_.store)


def test_pictures_that_kill_workers_are_found_and_recorded(request_: RunRequest) -> None:
    Image.new("RGB", (48, 48), (250, 250, 250)).save(request_.images / "red" / "0000.png")
    deadly = dataclasses.replace(request_, classifier=request_.classifier.replace(":tiny", ":deadly"))
    Image.new("RGB", (48, 48), (251, 250, 250)).save(request_.images / "red" / "0001.png")
    outcome = go(deadly)
    assert sorted(failure.path for failure in outcome.failures) == ["red/0000.png", "red/0001.png"], "in one block"
    assert all("the process died 4 times" in failure.reason for failure in outcome.failures)
    assert outcome.counts["attributed"] == PICTURES - 2
    request_.images.with_name("harmless").touch()
    again = go(deadly)
    assert (again.failures, again.counts["attributed"]) == ((), PICTURES), "the next run tries them again"


def test_what_is_no_fault_of_a_picture_ends_the_run_in_words(request_: RunRequest) -> None:
    broken = dataclasses.replace(request_, classifier=request_.classifier.replace(":tiny", ":broken"))
    with pytest.raises(WhylookError):
        go(broken)
    for address, words in (("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"), ("head", "must look like")):
        with pytest.raises(RequestError, match=words), cluster(address):
            pass
    with pytest.raises(RequestError, match="say --engine ray"):
        dataclasses.replace(request_, engine="local").check()


def test_the_judge_works_on_the_cluster_too(tmp_path: Path, nodes: Any) -> None:
    demo = ROOT / "data" / "demo"
    pictures = tmp_path / "pictures"
    for file in sorted((demo / "evaluation").glob("*/*"))[::30]:
        (pictures / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, pictures / file.parent.name / file.name)
    request = RunRequest(
        pictures, f"{demo / 'classifier.py'}:demo_classifier", vlm=demo / "judge" / "judge.gguf",
        mmproj=demo / "judge" / "judge-mmproj.gguf", store=tmp_path / "ray", device="cpu", card_sample=0, threads=1,
        engine="ray", address=nodes.address,
    )  # fmt: skip
    outcome = go(request)
    alone = go(dataclasses.replace(request, engine="local", address=None, store=tmp_path / "alone"))
    assert (
        outcome.state == "done" and outcome.run == alone.run and outcome.counts["judged"] == alone.counts["judged"] > 15
    )
    question = "SELECT image_id, judge_state, round(score, 3) AS score, description FROM samples ORDER BY image_id"
    first, second = (
        queries.fetch_rows(Store(folder).reader(), question) for folder in (tmp_path / "ray", tmp_path / "alone")
    )
    assert [row["description"] for row in first] == [row["description"] for row in second]
    assert [row["score"] for row in first] == pytest.approx([row["score"] for row in second], abs=2e-3)
