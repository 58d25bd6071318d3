"""The judge in process beside llama-server of the same llama.cpp: pictures a minute, and how far the answers agree.

python -m tests.bench.judge_server LLAMA_SERVER [--rounds 3] [--pictures 192] [--large-pictures 8]

What the pair of about 300 M random weights writes has no end: both cut it at as many tokens, as a failed reply.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from core.judge.loading import load_judge
from core.judge.url import load_url_judge
from core.records import Judgement
from tests.bench.judge import pair, requests
from tests.support.judge_server import with_typed_template
from tests.support.llama_server import llama_server

SLOTS, LONGEST = 16, 1024
IN_PROCESS, SERVED = "whylook, in process", f"llama-server, {SLOTS} slots"


def measure(name: str, binary: Path, *, rounds: int, count: int, folder: Path, threads: int) -> None:
    """Print one pair's table."""
    files = pair(name, folder)
    typed = with_typed_template(files[0], folder / "typed.gguf") if name == "demo" else files[0]
    asked = requests(2 + rounds * count)
    with ExitStack() as stack:
        address = stack.enter_context(
            llama_server(binary, typed, files[1], slots=SLOTS, longest=LONGEST, threads=threads)
        )
        judges = {
            IN_PROCESS: stack.enter_context(load_judge(vlm=files[0], mmproj=files[1], threads=threads)),
            SERVED: stack.enter_context(load_url_judge(address, concurrency=SLOTS)),
        }
        shuffled, seconds, given = random.Random(0), dict[str, list[float]](), dict[str, list[Judgement]]()
        for judge in judges.values():
            judge.judge(asked[:2])
        for turn in range(rounds):  # new pictures: a server remembers those it has read
            new = asked[2 + turn * count : 2 + (turn + 1) * count]
            for label in shuffled.sample(list(judges), len(judges)):
                began = time.perf_counter()
                given.setdefault(label, []).extend(judges[label].judge(new))
                seconds.setdefault(label, []).append((time.perf_counter() - began) / count)
    ratios = sorted(slow / fast for slow, fast in zip(seconds[SERVED], seconds[IN_PROCESS], strict=True))
    print(f"\n{name}, {threads} threads, {count} pictures, n {rounds}")
    for label, taken in seconds.items():
        print(f"  {label:24}{60 / statistics.median(taken):8.0f} pictures a minute")
    print(f"  ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    compared(given)


def compared(given: dict[str, list[Judgement]]) -> None:
    """Print how the answers agree: states, words letter for letter, scores."""
    for label, judgements in given.items():
        states = Counter(each.state if each.state == "ok" else f"{each.state}: {each.reason}" for each in judgements)
        print(f"  {label:24}{', '.join(f'{count} {state}' for state, count in states.most_common())}")
    pairs = [(a, b) for a, b in zip(given[IN_PROCESS], given[SERVED], strict=True) if a.state == b.state == "ok"]
    if len(pairs) < 3:
        return
    for field in ("description", "justification"):
        print(f"  the same {field} in {np.mean([getattr(a, field) == getattr(b, field) for a, b in pairs]):.0%}")
    scores = np.array([(a.score, b.score) for a, b in pairs], float)
    off = np.abs(scores[:, 0] - scores[:, 1])
    print(
        f"  scores correlate {np.corrcoef(scores.T)[0, 1]:.3f}, apart {np.median(off):.3f} in the median, "
        f"{off.max():.2f} at most"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=192)
    parser.add_argument("--large-pictures", type=int, default=8)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("demo", options.pictures), ("large-Q8_0", options.large_pictures)):
            measure(
                name, options.binary, rounds=options.rounds, count=count, folder=Path(folder), threads=options.threads
            )


if __name__ == "__main__":
    main()
