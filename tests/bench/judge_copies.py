"""Pictures a minute of judges of several sizes, as one model of all threads and as a copy per thread.

`python -m tests.bench.judge_copies [--rounds 3] [--pictures 16]`. What core.judge.loading.SMALL rests on: random
weights in F16, the same pictures for either, in a new order each round.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from core.judge.loading import MOST_COPIES, load_judge
from tests.bench.judge import requests
from tests.support.random_pairs import CHATML, F16, Size, write_pair

SIZES = (
    Size(width=256, layers=6, heads=4, kv_heads=2, feed=704, vision=192, vision_layers=6, vision_heads=3,
         vision_feed=768, patch=14, tokens=32_000),
    Size(width=384, layers=8, heads=6, kv_heads=3, feed=1056, vision=256, vision_layers=8, vision_heads=4,
         vision_feed=1024, patch=14, tokens=32_000),
    Size(width=512, layers=10, heads=8, kv_heads=4, feed=1408, vision=384, vision_layers=10, vision_heads=6,
         vision_feed=1536, patch=14, tokens=32_000),
    Size(width=768, layers=12, heads=12, kv_heads=6, feed=2112, vision=512, vision_layers=12, vision_heads=8,
         vision_feed=2048, patch=14, tokens=32_000),
)  # fmt: skip


def measure(size: Size, folder: Path, *, rounds: int, count: int, threads: int) -> None:
    """Prints a line: bytes of the text model, pictures a minute either way, the ratio with its spread."""
    model, projector = write_pair(
        folder / str(size.width), "llava", size=size, kind=F16, side=112, sentencepiece=False, template=CHATML,
        special=("<|im_start|>", "<|im_end|>"),
    )  # fmt: skip
    asked = requests(count)
    taken: dict[int, list[float]] = {1: [], threads: []}
    with ExitStack() as stack:
        judges = {
            copies: stack.enter_context(load_judge(vlm=model, mmproj=projector, threads=threads, workers=copies))
            for copies in taken
        }
        for turn in range(rounds + 1):
            for copies in random.Random(turn).sample(sorted(judges), len(judges)):
                began = time.perf_counter()
                judges[copies].judge(asked)
                taken[copies] += [time.perf_counter() - began] if turn else []
    ratios = [single / several for single, several in zip(taken[1], taken[threads], strict=True)]
    rates = [60 * count / statistics.median(times) for times in taken.values()]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{model.stat().st_size / 2**20:6.0f} MB  one {rates[0]:7.1f}  copies {rates[1]:7.1f}  {spread}", flush=True)


def main() -> None:
    """Measures every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=16)
    given = parser.parse_args()
    threads = min(os.cpu_count() or 1, MOST_COPIES)
    assert threads > 1, "with one core there is nothing to compare"
    print(
        f"{threads} threads, {psutil.virtual_memory().total / 1e9:.0f} GB; pictures a minute; n {given.rounds}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            measure(size, Path(folder), rounds=given.rounds, count=given.pictures, threads=threads)


if __name__ == "__main__":
    main()
