"""Pictures a minute of the judge: batched in process, behind a server, and in a loop over llama-cpp-python's handler.

python -m tests.bench.judge [--pairs demo,large-F16,large-Q8_0] [--rounds 5] [--pictures 24]

Each round asks every contestant about the same pictures, in a new order; figures are medians of the rounds, as ratios
to the loop of the same round. Beside them stands what the machine could do at most: its own speed in multiplying
matrices of the model's kind, and in reading memory, measured here.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch

from core.judge.llama_context import LlamaContext
from core.judge.loading import load_judge
from core.judge.placing import Placer
from core.judge.protocol import Judge
from core.judge.several import SeveralJudges
from core.judge.url import load_url_judge
from core.records import JudgeRequest
from data.demo import judge_pictures as pictures
from tests.support.judge_loop import JudgeLoop
from tests.support.judge_server import judge_server, with_typed_template
from tests.support.random_pairs import CHATML, F16, LARGE, Q8_0, write_pair

DEMO = Path(__file__).parents[2] / "data" / "demo" / "judge"
BATCHED = 8
"""The batched judge is asked about so many times the pictures of the loop: it needs full batches to be itself."""
Contestant = Callable[[list[JudgeRequest]], object]


def requests(count: int) -> list[JudgeRequest]:
    """Masked pictures of the demo world from a seed used nowhere else."""
    pool = pictures.draw_pool(count, seed=71)
    rng = np.random.default_rng(71)
    seen = [pictures.sample(pool, index, rng) for index in range(count)]
    return [JudgeRequest(str(index), sample.masked.numpy(), sample.animal) for index, sample in enumerate(seen)]


def pair(name: str, folder: Path) -> tuple[Path, Path]:
    """The demo judge, or a pair of about 300 M random weights."""
    if name == "demo":
        return DEMO / "judge.gguf", DEMO / "judge-mmproj.gguf"
    kind = {"large-F16": F16, "large-Q8_0": Q8_0}[name]
    return write_pair(
        folder / name, "llava", size=LARGE, kind=kind, side=112, sentencepiece=False, template=CHATML,
        special=("<|im_start|>", "<|im_end|>"),
    )  # fmt: skip


@dataclass
class Clock:
    """Seconds and tokens of one part of the batched judge's work."""

    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def wrap(self, owner: type, name: str, part: Callable[..., tuple[str, int]]) -> Callable[[], None]:
        """Time every call of a method; returns what takes that back."""
        method = getattr(owner, name)

        def timed(own: object, *arguments: object) -> object:
            began = time.perf_counter()
            result = method(own, *arguments)
            label, tokens = part(*arguments)
            self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - began
            self.tokens[label] = self.tokens.get(label, 0) + tokens
            return result

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, method)


@contextmanager
def parts() -> Iterator[Clock]:
    """Where the batched judge's time goes: encoding pictures, decoding them, decoding text given, writing."""
    clock = Clock()

    def decoded(rows: list[tuple[int, list[int], int]]) -> tuple[str, int]:
        count = sum(len(tokens) for _, tokens, _ in rows)
        return ("writing" if count == len(rows) else "questions"), count

    undo = [
        clock.wrap(LlamaContext, "decode", decoded),
        clock.wrap(
            LlamaContext, "decode_embeddings", lambda rows: ("pictures", sum(len(values) for _, values, _ in rows))
        ),
        clock.wrap(Placer, "encode", lambda images: ("encoding", len(images))),
    ]
    try:
        yield clock
    finally:
        for restore in undo:
            restore()


def flops_a_second(threads: int) -> float:
    """What this machine reaches in PyTorch's fp32 matrix product of a model's size: a limit that is really reached."""
    torch.set_num_threads(threads)
    left, other = torch.rand(512, 1024), torch.rand(1024, 2816)
    left @ other
    began = time.perf_counter()
    for _ in range(20):
        left @ other
    return 20 * 2 * 512 * 1024 * 2816 / (time.perf_counter() - began)


def bytes_a_second() -> float:
    """How fast this machine reads memory: the sum of 512 MB."""
    values = np.ones(2**27, np.float32)
    began = time.perf_counter()
    for _ in range(3):
        torch.from_numpy(values).sum()
    return 3 * values.nbytes / (time.perf_counter() - began)


def weights(path: Path) -> tuple[int, int]:
    """Bytes of a GGUF file's matrices and how many numbers they hold, embedding tables left out."""
    from gguf import GGUFReader

    matrices = [tensor for tensor in GGUFReader(path).tensors if len(tensor.shape) > 1 and "embd" not in tensor.name]
    return sum(tensor.n_bytes for tensor in matrices), sum(int(tensor.n_elements) for tensor in matrices)


def told(judge: Judge, asked: list[JudgeRequest], files: tuple[Path, Path], threads: int) -> None:
    """Print where the time of the batched judge goes and how far it is from the machine's limits.

    Copies of a judge work at the same time: their seconds are shared by as many.
    """
    copies = judge.copies if isinstance(judge, SeveralJudges) else 1
    with parts() as clock:
        began = time.perf_counter()
        judge.judge(asked)
        total = time.perf_counter() - began
    limit, reading = flops_a_second(threads), bytes_a_second()
    size, count = weights(files[0])
    print(f"  limits: {limit / 1e9:.0f} GFLOP/s in fp32 products, {reading / 1e9:.1f} GB/s read from memory")
    for label, taken in clock.seconds.items():
        seconds, tokens = taken / copies, clock.tokens[label]
        line = f"  {label:10}{1000 * seconds / len(asked):7.1f} ms a picture, {tokens / len(asked):6.1f} "
        if label == "encoding":
            print(line + "pictures")
            continue
        work = 2 * count * tokens / seconds
        print(f"{line}tokens, {work / limit:4.0%} of the products' limit (weights of {size / 1e6:.0f} MB)")
    other = total - sum(clock.seconds.values()) / copies
    print(f"  {'Python':10}{1000 * other / len(asked):7.1f} ms a picture, {other / total:.1%}")


def measure(name: str, *, rounds: int, count: int, folder: Path, threads: int) -> None:
    """Print one pair's table."""
    files = pair(name, folder)
    asked = requests(BATCHED * count)
    with ExitStack() as stack:
        judge = stack.enter_context(load_judge(vlm=files[0], mmproj=files[1], threads=threads))
        loop = stack.enter_context(JudgeLoop(*files, threads=threads))
        found: dict[str, tuple[Contestant, int]] = {
            "loop over the handler": (loop.judge, count),
            "whylook, batched": (judge.judge, BATCHED * count),
        }
        if name == "demo":
            typed = with_typed_template(files[0], folder / f"{name}-typed.gguf")
            address = stack.enter_context(judge_server(typed, files[1]))
            server = stack.enter_context(load_url_judge(address, concurrency=2))
            found["server, one process"] = (server.judge, count)
        for contestant, _ in found.values():
            contestant(asked[:2])
        shuffled, taken = random.Random(0), dict[str, list[float]]()
        for _ in range(rounds):
            for label in shuffled.sample(list(found), len(found)):
                contestant, pictures_ = found[label]
                began = time.perf_counter()
                contestant(asked[:pictures_])
                taken.setdefault(label, []).append((time.perf_counter() - began) / pictures_)
        base = taken["loop over the handler"]
        print(
            f"\n{name}, {threads} threads, batch {judge.batch_size}, n {rounds}; pictures a minute, ratio to the loop"
        )
        for label, seconds in taken.items():
            ratios = sorted(plain / other for plain, other in zip(base, seconds, strict=True))
            rate = 60 / statistics.median(seconds)
            print(f"  {label:24}{rate:8.0f}   {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        told(judge, asked, files, threads)


def growth(count: int) -> None:
    """Print how much memory grows over `count` pictures of the demo judge."""
    asked, process = requests(100), psutil.Process()
    with load_judge(vlm=DEMO / "judge.gguf", mmproj=DEMO / "judge-mmproj.gguf") as judge:
        judge.judge(asked)
        judge.judge(asked)
        before = process.memory_info().rss
        for _ in range(count // len(asked)):
            judge.judge(asked, words=False)
        print(f"\nmemory over {count:,} pictures: {(process.memory_info().rss - before) / 1e6:+.1f} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", default="demo,large-F16,large-Q8_0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=24, help="for the loop; the batched judge gets four times that")
    parser.add_argument("--large-pictures", type=int, default=2)
    parser.add_argument("--growth", type=int, default=5000, help="pictures over which memory is watched")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count() or 1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in [name for name in arguments.pairs.split(",") if name]:
            count = arguments.pictures if name == "demo" else arguments.large_pictures
            rounds = arguments.rounds if name == "demo" else min(3, arguments.rounds)
            measure(name, rounds=rounds, count=count, folder=Path(folder), threads=arguments.threads)
    if arguments.growth:
        growth(arguments.growth)


if __name__ == "__main__":
    main()
