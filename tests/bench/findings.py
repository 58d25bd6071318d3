"""How often a report is wrong, and what it finds, over runs whose truth is known: `make bench-findings`.

Labels, answers and metadata are drawn (tests/support/made_runs.py), so every cause is known; no model, no picture.
`python -m tests.bench.findings [WORLDS] [PICTURES]`; 100 worlds of 3,000 pictures of each kind by default.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from core.findings import Finding
from core.findings.frame import Frame
from core.findings.summarise import ranked
from core.statistics import Interval, format_rate, wilson
from tests.support.made_runs import MadeRun, harder, in_videos, label_goes_with, made_run, pulled

COUNTED = ("failures", "wrong_label", "attention")
HABITATS = ["desert", "meadow", "snow", "street", "water"]


@dataclass(frozen=True)
class World:
    """A kind of world: how it is made, which kinds of finding are true of it, and words of a finding that names it."""

    make: Callable[[int, int], MadeRun]
    true_kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    pulls: bool = False
    """Whether answers are drawn beside the error rates, so that these are not the truth."""


def null(seed: int, n: int) -> MadeRun:
    """Mistakes depend on nothing."""
    return made_run(seed, n=n, hard=False)


def copies(seed: int, n: int) -> MadeRun:
    """Mistakes depend on nothing, and every picture is there five times."""
    run = made_run(seed, n=n // 5, hard=False)
    run.copies = 5
    return run


def copied_condition(seed: int, n: int) -> MadeRun:
    """Night: 30 points more mistakes, and every picture is there five times."""
    run = made_run(seed, n=n // 5)
    harder(run, run.has("time_of_day", "night"), 0.3)
    run.copies = 5
    return run


def videos(seed: int, n: int) -> MadeRun:
    """Mistakes depend on the video alone, of which there are twenty frames each, and it is named by `--group`."""
    return in_videos(made_run(seed, n=n // 20, hard=False), 20)


def goes_with_label(seed: int, n: int) -> MadeRun:
    """Classes are unequally hard, and each has its habitat."""
    run = made_run(seed, n=n)
    label_goes_with(run, "habitat", HABITATS)
    return run


def one_condition(seed: int, n: int) -> MadeRun:
    """Night: 19 points more mistakes."""
    run = made_run(seed, n=n)
    harder(run, run.has("time_of_day", "night"), 0.19)
    return run


def pair(seed: int, n: int) -> MadeRun:
    """Small and at night: 25 points more mistakes."""
    run = made_run(seed, n=n)
    harder(run, run.has("time_of_day", "night") & run.has("size", "small"), 0.25)
    return run


def middle_range(seed: int, n: int) -> MadeRun:
    """A fifth of the distances, in the middle: 20 points more mistakes."""
    run = made_run(seed, n=n)
    low, high = np.quantile(np.asarray(run.columns["distance"], dtype=float), [0.4, 0.6])
    distance = np.asarray(run.columns["distance"], dtype=float)
    harder(run, (distance > low) & (distance <= high), 0.2)
    return run


def label_with_value(seed: int, n: int) -> MadeRun:
    """One class in one habitat: 40 points more mistakes."""
    run = made_run(seed, n=n)
    harder(run, (run.label == 3) & run.has("habitat", "snow"), 0.4)
    return run


def shortcut(seed: int, n: int) -> MadeRun:
    """In one habitat 15% of all pictures are given one answer."""
    run = made_run(seed, n=n)
    pulled(run, run.has("habitat", "meadow"), 2, 0.15)
    return run


WORLDS = {
    "null": World(null),
    "five copies of each": World(copies),
    "twenty frames of a video": World(videos),
    "habitat goes with label": World(goes_with_label, ("weak_class",)),
    "one condition": World(one_condition, names=("night",)),
    "condition, five copies": World(copied_condition, names=("night",)),
    "pair": World(pair, names=("night", "small")),
    "middle range": World(middle_range, names=("distance",)),
    "label with value": World(label_with_value, names=("“class3”", "“snow”")),
    "shortcut": World(shortcut, names=("“meadow”", "“class2”"), pulls=True),
}


TRUE_REST = """
SELECT sum(own * other) / sum(own) FROM (
    SELECT count(*) FILTER (image_id IN {inside}) AS own, avg(true_rate) FILTER (image_id NOT IN {inside}) AS other
    FROM every GROUP BY label
) WHERE own > 0 AND other IS NOT NULL
"""
"""The true accuracy of the other pictures, had they the classes of a slice."""


def held(con: duckdb.DuckDBPyConnection, found: Sequence[Finding]) -> list[bool]:
    """Whether each interval of a listed accuracy, and of what it is compared with, holds the true rate."""
    told: list[bool] = []
    for finding in found:
        if finding.kind in ("weak_slice", "weak_class"):
            true = f"SELECT avg(true_rate) FROM every SEMI JOIN ({finding.sql}) USING (image_id)"
            told.append(_holds(con, true, finding.value))
        if finding.kind == "weak_slice" and finding.rest is not None:
            inside = f"(SELECT image_id FROM ({finding.sql}))"
            told.append(_holds(con, TRUE_REST.format(inside=inside), finding.rest))
    return told


def _holds(con: duckdb.DuckDBPyConnection, query: str, interval: Interval) -> bool:
    return interval.low <= float(con.execute(query).fetchall()[0][0]) <= interval.high


def accused(frame: Frame) -> list[Finding]:
    """What the report accuses; what it merely counts is left out."""
    return [finding for finding in ranked(frame) if finding.kind not in COUNTED]


def findings(run: MadeRun) -> list[Finding]:
    """What the report on a run accuses."""
    return accused(run.frame())


def named(found: Sequence[Finding], words: Sequence[str]) -> bool:
    """Whether a finding's sentence has all the words."""
    return any(all(word in finding.sentence for word in words) for finding in found)


def measure(name: str, world: World, worlds: int, n: int) -> str:
    """One line: worlds with a false finding, or worlds whose cause is named, and stands first of what is listed."""
    started, hits, first, listed, holds = time.perf_counter(), 0, 0, 0, []
    for seed in range(worlds):
        frame = world.make(seed, n).frame()
        every = accused(frame)
        if not world.pulls:
            holds += held(frame.con, every)
        found = [finding for finding in every if finding.kind not in world.true_kinds]
        if world.names:
            found = [finding for finding in found if finding.kind != "weak_class"]
            hits += named(found, world.names)
            first += named(found[:1], world.names)
        else:
            hits += bool(found)
        listed += len(found)
    took = (time.perf_counter() - started) / worlds
    what = "cause named" if world.names else "any false finding"
    more = f", named first {format_rate(wilson(first, worlds), n=False)}" if world.names else ""
    if holds:
        more += f"; intervals hold the truth {format_rate(wilson(sum(holds), len(holds)))}"
    return f"{name:24} {what} {format_rate(wilson(hits, worlds))}{more}; listed {listed / worlds:.1f}; {took:.2f} s"


def main() -> None:
    """Measures every kind of world."""
    given = [int(word) for word in sys.argv[1:3]]
    worlds, n = [*given, *(100, 3000)[len(given) :]]
    for name, world in WORLDS.items():
        print(measure(name, world, worlds, n), flush=True)


if __name__ == "__main__":
    main()
