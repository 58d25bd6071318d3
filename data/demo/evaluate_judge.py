"""Measures the demo judge, run by llama.cpp through core.judge, on masked pictures of a seed used nowhere else.

    python data/demo/evaluate_judge.py --seed N [--pictures 500] [--judge DIR] [--protocol calibrated|paper]

Of the pictures, 64% are shown with the right class name, 20% with a wrong one, 16% are controls (empty or random
masks, right name). Prints each quality beside its bar.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.judge.loading import load_judge
from core.records import HIGH_SCORE, Judgement, JudgeRequest
from data.demo import judge_pictures as pictures
from data.demo.train_judge import SEED
from data.demo.world import ANIMALS

NAMED = "object named where a quarter or more of it is seen"


@dataclass(frozen=True)
class Shown:
    """A masked picture, the class name told to the judge, and which of the three parts it belongs to."""

    part: str
    seen: pictures.Sample
    told: str


def show(count: int, seed: int) -> list[Shown]:
    """Draw and mask `count` pictures of `seed`."""
    if seed == SEED:
        raise SystemExit(f"seed {SEED} is what the judge was trained on; give another")
    pool = pictures.draw_pool(count, seed)
    rng = np.random.default_rng([seed, 3])
    shown = []
    for index in range(count):
        part = "right" if index < 0.64 * count else "wrong" if index < 0.84 * count else "control"
        kind = str(rng.choice(pictures.CONTROLS)) if part == "control" else None
        seen = pictures.sample(pool, index, rng, kind)
        others = [animal for animal in ANIMALS if animal != seen.animal]
        shown.append(Shown(part, seen, str(rng.choice(others)) if part == "wrong" else seen.animal))
    return shown


@dataclass(frozen=True)
class Quality:
    """One measured quality: its value, how many pictures it rests on, and the bar it should pass."""

    name: str
    value: float
    n: int
    bar: float
    passes: Callable[[float, float], bool]


def at_least(value: float, bar: float) -> bool:
    """Whether more is better and enough."""
    return value >= bar


def at_most(value: float, bar: float) -> bool:
    """Whether less is better and little enough."""
    return value <= bar


def measure(shown: Sequence[Shown], judgements: Sequence[Judgement]) -> list[Quality]:
    """The qualities asked of the committed judge."""
    pairs = list(zip(shown, judgements, strict=True))
    large = [(asked.seen, judged) for asked, judged in pairs if asked.seen.object_share >= 0.25]
    named = [seen.animal in (judged.description or "") for seen, judged in large]
    scored = [(asked, judged.score) for asked, judged in pairs if judged.score is not None]
    right = [(asked.seen.dice, score) for asked, score in scored if asked.part == "right"]
    table = pd.DataFrame(right, columns=["dice", "score"]).rank()

    def high(part: str) -> tuple[float, int]:
        scores = [score for asked, score in scored if asked.part == part]
        return float(np.mean([score >= HIGH_SCORE for score in scores])), len(scores)

    valid = [judged.state != "failed" for judged in judgements]
    return [
        Quality("valid replies", float(np.mean(valid)), len(valid), 1.0, at_least),
        Quality(NAMED, float(np.mean(named)), len(named), 0.9, at_least),
        Quality(
            "Spearman of expected score with soft Dice, right name",
            float(table.corr().iloc[0, 1]),
            len(right),
            0.85,
            at_least,
        ),
        Quality("wrong name scored 2.5 or more", *high("wrong"), 0.10, at_most),
        Quality("empty or random mask scored 2.5 or more", *high("control"), 0.05, at_most),
    ]


def main() -> None:
    """Parse the command line, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--judge", type=Path, default=Path(__file__).parent / "judge")
    parser.add_argument("--protocol", choices=["calibrated", "paper"], default="calibrated")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--show", type=int, default=0, help="print the first N replies as well")
    args = parser.parse_args()
    shown = show(args.pictures, args.seed)
    with load_judge(vlm=args.judge / "judge.gguf", mmproj=args.judge / "judge-mmproj.gguf", protocol=args.protocol,
                    threads=args.threads) as judge:  # fmt: skip
        start = time.perf_counter()
        judgements = judge.judge(
            [JudgeRequest(str(i), asked.seen.masked.numpy(), asked.told) for i, asked in enumerate(shown)]
        )
        seconds = time.perf_counter() - start
    for asked, judged in list(zip(shown, judgements, strict=True))[: args.show]:
        print(f"{asked.part}, told {asked.told}, dice {asked.seen.dice:.2f}: {judged.score} {judged.description} | "
              f"{judged.justification} | {judged.reason}\n    truth: {pictures.describe(asked.seen)}")  # fmt: skip
    print(
        f"{args.pictures} pictures of seed {args.seed}, protocol {args.protocol}: "
        f"{1000 * seconds / args.pictures:.0f} ms a picture"
    )
    for quality in measure(shown, judgements):
        verdict = "passes" if quality.passes(quality.value, quality.bar) else "MISSES"
        print(f"{verdict}  {quality.name}: {quality.value:.3f} (bar {quality.bar}, n {quality.n})")


if __name__ == "__main__":
    main()
