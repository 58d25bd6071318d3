"""How often a comparison of two runs is wrong, and what it finds: `python -m tests.bench.comparison [WORLDS]`.

Two trainings of one recipe are drawn: each picture is easy or hard for both, each training is right by its own luck,
and in some worlds each is better at some classes by chance. Whatever is then said to differ is false.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.comparison.changes import changes
from core.comparison.exact import flip_p, paired_interval
from core.comparison.pairs import paired
from core.statistics import format_rate, wilson
from core.store import open_for_writing
from tests.support.null_world import CLASSES, VALUES
from tests.support.store_factory import synthetic_rows
from tests.support.two_runs import answered

ROWS = 1000
AT_ONCE = 25
KINDS = {
    "two seeds, right by their own luck": (0.0, 0.0),
    "two seeds, each better at some classes (0.3 logits)": (0.3, 0.0),
    "two seeds, each better at some classes (0.6 logits)": (0.6, 0.0),
    "one class loses 30 points": (0.0, 0.3),
    "one class loses 30 points, seeds differ (0.3 logits)": (0.3, 0.3),
}


def right(rng: np.random.Generator, *, seeds: float, loss: float) -> list[NDArray[np.bool_]]:
    """Which pictures each of two trainings has right; the second loses `loss` of the first class."""
    labels = np.arange(ROWS) % len(CLASSES)
    hard = rng.normal(1.6, 1.5, ROWS)
    found = [rng.random(ROWS) < 1 / (1 + np.exp(-hard - rng.normal(0, seeds, len(CLASSES))[labels])) for _ in range(2)]
    found[1] &= ~((labels == 0) & (rng.random(ROWS) < loss))
    return found


def worlds(kind: str, n: int, *, seed: int) -> list[tuple[bool, bool, int]]:
    """Of each world: is something false said to differ, is the planted class, and how many pictures disagree."""
    seeds, loss = KINDS[kind]
    rng, found = np.random.default_rng(seed), []
    with tempfile.TemporaryDirectory() as folder:
        tables = synthetic_rows(ROWS, CLASSES, seed=seed, pictures=False)
        for entry in tables["images"]:
            entry["metadata"] = {name: str(rng.choice(list(values))) for name, values in VALUES.items()}
        ids = [entry["image_id"] for entry in tables["images"]]
        runs = []
        with open_for_writing(Path(folder) / "store") as writer:
            for world in range(n):
                for number, flags in enumerate(right(rng, seeds=seeds, loss=loss)):
                    prints = {"images": "images", "classifier": f"net-{world}-{number}"}
                    run = writer.begin_run({"images": "drawn", **prints}, prints, class_names=CLASSES, judge_note=None)
                    step = rng.integers(1, len(CLASSES), ROWS)
                    answers = (np.arange(ROWS) + np.where(flags, 0, step)) % len(CLASSES)
                    rows = [answered(name, CLASSES, int(answer)) for name, answer in zip(ids, answers, strict=True)]
                    writer.write("predictions", rows, fingerprint=prints["classifier"])
                    writer.finish_run(run, "done", {"pictures": ROWS})
                    runs.append(run)
            writer.write("images", tables["images"], fingerprint="images")
            writer.publish()
            con = writer.reader()
            for a, b in zip(runs[::2], runs[1::2], strict=True):
                pairs = paired(con, a, b)
                standing = changes(pairs).standing
                planted = [item for item in standing if loss and CLASSES[0] in item.words]
                false = len(standing) > len(planted)
                found.append((false, any(item.kind == "class" for item in planted), int((pairs.change != 0).sum())))
    return found


def coverage(n: int, *, seed: int = 0) -> tuple[int, int]:
    """Intervals of the difference that hold the truth, and tests of equal runs with p at most 0.05; of n draws each."""
    rng, held, rejected = np.random.default_rng(seed), 0, 0
    for _ in range(n):
        size, churn = int(rng.integers(60, 600)), rng.uniform(0.02, 0.3)
        share = rng.uniform(0.2, 0.8)
        draw = rng.choice([0, 1, -1], size=size, p=[1 - churn, churn * share, churn * (1 - share)])
        told = paired_interval(draw[draw != 0], size)
        held += told.low <= churn * (2 * share - 1) <= told.high
        same = rng.choice([0, 1, -1], size=size, p=[1 - churn, churn / 2, churn / 2])
        rejected += flip_p(same) <= 0.05
    return held, rejected


def main() -> None:
    """Prints every figure."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    held, rejected = coverage(20 * n)
    print(f"intervals of the difference that hold the truth: {format_rate(wilson(held, 20 * n))}")
    print(f"equal runs with p <= 0.05: {format_rate(wilson(rejected, 20 * n))}")
    for kind in KINDS:
        told = [item for part in range(0, n, AT_ONCE) for item in worlds(kind, min(AT_ONCE, n - part), seed=part + 1)]
        false, planted = (sum(item[place] for item in told) for place in (0, 1))
        found = f"; the class is found {format_rate(wilson(planted, n))}" if KINDS[kind][1] else ""
        apart = np.mean([item[2] for item in told]) / ROWS
        print(
            f"{kind}: worlds with a false difference {format_rate(wilson(false, n))}{found}; {apart:.1%} disagree",
            flush=True,
        )


if __name__ == "__main__":
    main()
