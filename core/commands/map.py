"""The command `map`, by itself: it starts at once, without torch."""

from __future__ import annotations

import argparse
from contextlib import closing

from core import queries
from core.commands.read import existing
from core.commands.terminal import ProgressLine
from core.pipeline.draw_map import draw_map as map_of_run
from core.statistics import format_pictures


def draw_map(arguments: argparse.Namespace) -> int:
    """Lay out a run's pictures by what the model saw and by what the judge said; the page Slices shows it."""
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    with closing(ProgressLine(quiet=arguments.quiet)) as line:
        drawn = map_of_run(store, run, progress=line)
    of = " and ".join(f"{format_pictures(n)} by {basis}" for basis, n in drawn.pictures.items())
    print(f"Laid out {of} in {drawn.seconds:.0f} s: see Slices, “Map”, or the columns map_x and map_y.")
    return 0
