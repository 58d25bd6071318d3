"""Workers, nodes and drivers of a cluster killed with SIGKILL while a run works: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.clusters import add_slow, workers
from tests.support.tiny_world import make_folder, make_model

KILLS = 10
PICTURES = 960
MOST_SECONDS = 120
"""That a cluster may take until something new is on the disk after a kill."""

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def request_(tmp_path: Path, nodes: Any) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures", per_class=PICTURES // 3)
    model = add_slow(make_model(tmp_path), seconds=0.3)
    return RunRequest(
        pictures, f"{model}:slow", no_vlm=True, store=tmp_path / "store", device="cpu", batch_size=16, engine="ray",
        address=nodes.address,
    )  # fmt: skip


def shards(request: RunRequest) -> set[str]:
    """The parts on the disk, those that were merged since apart."""
    return {file.name for file in (request.store / "shards").glob("attributions/part-*")}


def wait_for_news(request: RunRequest, before: set[str], over: Callable[[], bool]) -> bool:
    """Whether a part came to those in `before`; False when the run ended or nothing came in time."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline and not over():
        if shards(request) - before:
            return True
        time.sleep(0.05)
    return False


def assert_whole(request: RunRequest) -> None:
    con = Store(request.store).reader()
    for table in ("images", "predictions", "attributions", "features"):
        rows, pictures = con.execute(f"SELECT count(*), count(DISTINCT image_id) FROM {table}").fetchall()[0]
        assert rows == pictures == PICTURES, table
    assert con.execute("SELECT count(*) FROM failures").fetchall() == [(0,)]


def run_beside(request: RunRequest, kill: Callable[[], None]) -> int:
    """A run in a thread, and `kill` called here at random after each of ten pieces of news: how often it was."""
    chance, killed = random.Random(15), 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, request, progress=lambda news: None, stop=lambda: False)
        while killed < KILLS and wait_for_news(request, shards(request), running.done):
            time.sleep(chance.uniform(0, 1.5))
            if running.done():
                break
            kill()
            killed += 1
            print(f"{killed} killed, {len(shards(request))} parts", flush=True)
        outcome = running.result()
    assert (outcome.state, outcome.failures) == ("done", ())
    return killed


def test_ten_workers_are_killed(request_: RunRequest) -> None:
    chance = random.Random(16)

    def kill() -> None:
        while not (found := workers()):  # a kill counts when somebody was there to be killed
            time.sleep(0.1)
        chance.choice(found).send_signal(signal.SIGKILL)

    assert run_beside(request_, kill) == KILLS
    assert_whole(request_)


def test_ten_nodes_are_killed(request_: RunRequest, nodes: Any) -> None:
    def kill() -> None:
        nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
        nodes.add_node(num_cpus=1, num_gpus=0, object_store_memory=100 * 2**20)

    assert run_beside(request_, kill) == KILLS
    assert_whole(request_)


def test_a_run_ends_on_the_machines_that_are_left(request_: RunRequest, nodes: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, request_, progress=lambda news: None, stop=lambda: False)
        assert wait_for_news(request_, set(), running.done)
        nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
        outcome = running.result()
    nodes.add_node(num_cpus=1, num_gpus=0, object_store_memory=100 * 2**20)
    assert (outcome.state, outcome.failures) == ("done", ())
    assert_whole(request_)


def test_ten_drivers_are_killed(request_: RunRequest) -> None:
    words = [sys.executable, "-m", "core", "run", *request_.arguments()]
    for number in range(1, KILLS + 1):
        before = shards(request_)
        child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        came = wait_for_news(request_, before, lambda child=child: child.poll() is not None)
        assert came and child.poll() is None, f"driver {number} stored nothing new or ended"
        child.kill()
        child.wait()
        print(f"{number} killed, {len(shards(request_))} parts", flush=True)
    assert run(request_, progress=lambda news: None, stop=lambda: False).state == "done"
    assert_whole(request_)
