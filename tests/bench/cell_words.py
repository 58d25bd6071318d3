"""Are the words of the cells true? New demo worlds, run as `whylook demo` runs its own, against their object masks.

python -m tests.bench.cell_words [--seeds 77 78 79 80] [--pictures 600] [--method gradcam]

For each cell and kind of mistake: of what share of its pictures its words are true (bar 95%), and of what share of all
judged pictures they would be. tests/support/cell_words.py says what counts as true.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.commands.run import DEMO
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.statistics import Interval, format_percent, format_rate, wilson
from core.store import Store
from data.demo.make_world import Faults, make_split
from tests.support.cell_words import CLAIMS, Claim, claims

BAR = 0.95


def measured(seed: int, pictures: int, *, method: str, folder: Path) -> list[Claim]:
    """A new world of `seed`, explained and judged, and its claims."""
    make_split(folder / "world", "evaluation", pictures, seed, Faults())
    request = RunRequest(
        images=folder / "world" / "evaluation",
        classifier=f"{DEMO / 'classifier.py'}:demo_classifier",
        vlm=DEMO / "judge" / "judge.gguf",
        mmproj=DEMO / "judge" / "judge-mmproj.gguf",
        method=method,
        device="cpu",
        store=folder / "store",
    )
    outcome = run(request, progress=lambda _: None, stop=lambda: False)
    return claims(Store(folder / "store").reader(), outcome.run, folder / "world")


def pooled(rates: Sequence[Interval]) -> Interval:
    """One rate of all worlds."""
    known = [rate for rate in rates if rate.known]
    return wilson(round(sum(rate.value * rate.n for rate in known)), sum(rate.n for rate in known))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[77, 78, 79, 80])
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--method", default="gradcam")
    args = parser.parse_args()
    worlds = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            worlds.append(measured(seed, args.pictures, method=args.method, folder=Path(folder)))
    print(f"{args.pictures} pictures each of seeds {', '.join(map(str, args.seeds))}, maps by {args.method}")
    for place, name in enumerate(CLAIMS):
        true, anywhere = (pooled([getattr(world[place], field) for world in worlds]) for field in ("true", "anywhere"))
        verdict = "no picture" if not true.n else "passes" if true.value >= BAR else "MISSES"
        print(f"{verdict:10}  {name:16}  true of {format_rate(true)}, of all pictures {format_percent(anywhere.value)}")


if __name__ == "__main__":
    main()
