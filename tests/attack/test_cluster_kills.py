"""Ten workers, nodes and drivers killed with SIGKILL while a run works on a cluster: nothing lost, nothing doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.clusters import add_slow, two_nodes, workers
from tests.support.tiny_world import make_folder, make_model

KILLS = 10
PICTURES = 480
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures", per_class=PICTURES // 3)
    model = add_slow(make_model(tmp_path), seconds=0.6)
    return RunRequest(
        pictures, f"{model}:slow", no_vlm=True, store=tmp_path / "store", device="cpu", batch_size=16, engine="ray"
    )


def assert_whole(request: RunRequest) -> None:
    con = Store(request.store).reader()
    for table in ("images", "predictions", "attributions", "features", "checks"):
        rows, pictures = con.execute(f"SELECT count(*), count(DISTINCT image_id) FROM {table}").fetchall()[0]
        assert rows == pictures == PICTURES, table
    assert con.execute("SELECT count(*) FROM failures").fetchall()[0][0] == 0


def shards(request: RunRequest) -> int:
    """Rows on disk so far, as shards."""
    return len(list((request.store / "shards").glob("*/*.parquet")))


def killing(request: RunRequest, kill: Callable[[], bool], ended: threading.Event) -> int:
    """Calls `kill` ten times, each time after something new is on disk, or until the run ends; how often it killed."""
    killed, before = 0, 0
    while killed < KILLS and not ended.is_set():
        time.sleep(0.2)
        if shards(request) > before:
            before = shards(request)
            killed += kill()
    return killed


def pass_while(request: RunRequest, kill: Callable[[], bool]) -> int:
    """A whole run beside the kills; how many there were."""
    ended, count = threading.Event(), [0]
    killer = threading.Thread(target=lambda: count.append(killing(request, kill, ended)))
    killer.start()
    try:
        outcome = run(request, progress=lambda news: None, stop=lambda: False)
    finally:
        ended.set()
        killer.join()
    assert (outcome.state, outcome.failures) == ("done", ())
    return count[-1]


@pytest.mark.timeout(600)
def test_ten_workers_are_killed(request_: RunRequest) -> None:
    killed: set[int] = set()

    def kill() -> bool:
        fresh = [process for process in workers() if process.pid not in killed]
        for process in fresh[:1]:
            process.send_signal(signal.SIGKILL)
            killed.add(process.pid)
        return bool(fresh)

    with two_nodes() as nodes:
        assert pass_while(replace(request_, address=nodes.address), kill) == KILLS
    assert_whole(request_)


@pytest.mark.timeout(900)
def test_ten_nodes_are_killed(request_: RunRequest) -> None:
    with two_nodes() as nodes:

        def kill() -> bool:
            nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
            nodes.add_node(num_cpus=1, num_gpus=0, object_store_memory=100 * 2**20)
            return True

        assert pass_while(replace(request_, address=nodes.address), kill) == KILLS
    assert_whole(request_)


@pytest.mark.timeout(1200)
def test_ten_drivers_are_killed(request_: RunRequest) -> None:
    with two_nodes() as nodes:
        request = replace(request_, address=nodes.address)
        words = [sys.executable, "-m", "core", "run", *request.arguments()]
        for _ in range(KILLS):
            before = shards(request)
            child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 90
            while shards(request) == before and child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            child.kill()
            child.wait()
        assert run(request, progress=lambda news: None, stop=lambda: False).state == "done"
    assert_whole(request)
