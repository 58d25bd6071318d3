"""A Ray cluster of two nodes with one core each on this machine, and its processes to kill: for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SLOW = '''

class Slow(Tiny):
    def forward(self, batch):
        import time

        time.sleep({seconds})
        return super().forward(batch)


def slow():
    return Slow(3), to_tensor, ("blue", "green", "red")


class Deadly(Tiny):
    """Kills its process over a very bright picture, unless a file beside it says otherwise."""

    def forward(self, batch):
        import os, pathlib, signal

        harmless = pathlib.Path(__file__).with_name("harmless").exists()
        if not harmless and bool((batch.mean(dim=(1, 2, 3)) > 0.45).any()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch)


def deadly():
    return Deadly(3), to_tensor, ("blue", "green", "red")
'''


@contextmanager
def two_nodes() -> Iterator[object]:
    """The cluster; its `address` is what --address takes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20}
    )
    try:
        found.add_node(num_cpus=1, num_gpus=0, object_store_memory=100 * 2**20)
        found.wait_for_nodes()
        yield found
    finally:
        found.shutdown()


def workers() -> list[psutil.Process]:
    """The processes that hold a whylook worker now."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::Worker"):
            found.append(process)
    return found


def add_slow(model: Path, *, seconds: float = 0.3) -> Path:
    """Functions `slow` and `deadly` beside those of tests.support.tiny_world.make_model."""
    model.write_text(model.read_text(encoding="utf-8") + SLOW.format(seconds=seconds), encoding="utf-8")
    return model
