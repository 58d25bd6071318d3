"""`make bench-ray`: one process with two threads, beside one and two workers of one core each on a Ray cluster.

The network is that of tests.bench.price. Times are of the pass over the pictures, without the start of Ray and of the
workers' models, which a long run pays once; the whole command is beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from core.pipeline.request import Progress, RunRequest
from core.pipeline.run import run
from tests.bench.price import MODEL, SIZE, make_pictures, told

DRAW = "import torch; from drawn import network; torch.save(network().state_dict(), 'weights.pt')"
SAVED = """
import sys
sys.path.insert(0, {0!r})
import torch, torchvision
from drawn import prepare

def classifier():
    model = torchvision.models.resnet50(weights=None)
    model.load_state_dict(torch.load({0!r} + "/weights.pt"))
    return model.eval(), prepare(), [f"class {{number}}" for number in range(1000)]
"""
"""Drawn once: what its batch norms saw differs in the last digits with the number of threads, so would the network."""


def seconds(request: RunRequest) -> tuple[float, float]:
    """Seconds from the first pictures done to the last, per picture of those, and of the whole command."""
    shutil.rmtree(request.store, ignore_errors=True)
    seen: list[tuple[float, int]] = []

    def watch(news: Progress) -> None:
        if news.stage == "pictures" and not news.message and news.done and (not seen or news.done > seen[-1][1]):
            seen.append((time.perf_counter(), news.done))

    began = time.perf_counter()
    run(request, progress=watch, stop=lambda: False)
    whole = time.perf_counter() - began
    (first, done), (last, all_) = seen[0], seen[-1]
    return (last - first) / max(1, all_ - done), whole


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_pictures(place / "pictures", asked.pictures, SIZE)
        (place / "drawn.py").write_text(MODEL)
        (place / "model.py").write_text(SAVED.format(str(place)))
        subprocess.run([sys.executable, "-c", DRAW], cwd=place, check=True)
        local = RunRequest(
            place / "pictures", f"{place / 'model.py'}:classifier", no_vlm=True, store=place / "store", device="cpu",
            causal_sample=0,
        )  # fmt: skip
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(asked.repeats):
            found.setdefault("one process, two threads", []).append(seconds(local))
            for count in (1, 2):
                nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
                for _ in range(count - 1):
                    nodes.add_node(num_cpus=1, num_gpus=0)
                nodes.wait_for_nodes()
                request = RunRequest(**{**vars(local), "engine": "ray", "address": nodes.address})
                found.setdefault(f"{count} worker{'s' * (count > 1)} of one core", []).append(seconds(request))
                nodes.shutdown()
    base = found["one process, two threads"]
    print(f"ResNet-50, {asked.pictures} pictures, n {asked.repeats}: throughput of the pass, and of the whole command")
    for name, taken in found.items():
        inner = [first[0] / own[0] for first, own in zip(base, taken, strict=True)]
        whole = [first[1] / own[1] for first, own in zip(base, taken, strict=True)]
        print(f"  {name:28}{1 / taken[0][0]:6.1f} pictures/s  {told(inner):26}{told(whole):26}")


if __name__ == "__main__":
    main()
