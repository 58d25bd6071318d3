"""Ten workers, nodes and drivers killed with SIGKILL while a run works on a cluster: nothing lost, nothing doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
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


def pass_with(request: RunRequest, kill: threading.Thread) -> None:
    kill.start()
    outcome = run(request, progress=lambda news: None, stop=lambda: False)
    kill.join()
    assert (outcome.state, outcome.failures) == ("done", ())


@pytest.mark.timeout(900)
def test_ten_workers_are_killed(request_: RunRequest) -> None:
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 300
        while len(killed) < KILLS and time.monotonic() < deadline:
            time.sleep(1.5)
            fresh = [process for process in workers() if process.pid not in killed]
            if fresh:
                fresh[0].send_signal(signal.SIGKILL)
                killed.append(fresh[0].pid)

    with two_nodes() as nodes:
        pass_with(replace(request_, address=nodes.address), threading.Thread(target=kill))
    assert len(killed) == KILLS
    assert_whole(request_)


@pytest.mark.timeout(900)
def test_ten_nodes_are_killed(request_: RunRequest) -> None:
    lost: list[object] = []
    with two_nodes() as nodes:

        def kill() -> None:
            while len(lost) < KILLS:
                time.sleep(2)
                node = next(iter(nodes.worker_nodes))
                nodes.remove_node(node, allow_graceful=False)
                lost.append(node)
                nodes.add_node(num_cpus=1, num_gpus=0, object_store_memory=100 * 2**20)

        pass_with(replace(request_, address=nodes.address), threading.Thread(target=kill))
    assert_whole(request_)


@pytest.mark.timeout(1200)
def test_ten_drivers_are_killed(request_: RunRequest) -> None:
    with two_nodes() as nodes:
        request = replace(request_, address=nodes.address)
        words = [sys.executable, "-m", "core", "run", *request.arguments()]
        for _ in range(KILLS):
            before = len(list((request.store / "shards").glob("*/part-*")))
            child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 90
            while (
                len(list((request.store / "shards").glob("*/part-*"))) == before
                and child.poll() is None
                and time.monotonic() < deadline
            ):
                time.sleep(0.05)
            child.kill()
            child.wait()
        assert run(request, progress=lambda news: None, stop=lambda: False).state == "done"
    assert_whole(request)
