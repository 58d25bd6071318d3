"""Seconds and memory of each export, and of pictures alike: `python -m tests.bench.exports [--rows N]`.

The store is made, so that pictures are kept thumbnails; each export has a process of its own, whose memory is told
beyond what it held before the export began.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from core.export.export import export
from core.export.forms import SLICE_FORMS
from core.queries.alike import Seen, alike
from core.store import Store
from tests.support.store_factory import make_store


def measured(folder: str, run: str, form: str, overlays: bool) -> tuple[float, float]:
    """Seconds, and the most megabytes held beyond those at the start."""
    store, before = Store(Path(folder)), most_held()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        export(store, run, "SELECT * FROM samples", Path(place) / "x", form, overlays=overlays)
    return time.perf_counter() - began, most_held() - before


def most_held() -> float:
    """The most megabytes that this process has held. Linux: getrusage would count those of the parent, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def seconds_alike(rows: int) -> float:
    """Seconds to find the 48 nearest of so many pictures, the median of 9."""
    units = np.random.default_rng(0).normal(size=(rows, 60)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    known, taken = Seen(tuple(map(str, range(rows))), units), []
    for place in np.linspace(0, rows - 1, 9, dtype=int):
        began = time.perf_counter()
        alike(known, str(place), most=48, floor=0.1)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        store, run = make_store(Path(folder) / "store", rows=rows, pictures=False)
        for form in SLICE_FORMS:
            for overlays in (False, True) if form == "zip" else (False,):
                with multiprocessing.get_context("spawn").Pool(1) as child:
                    seconds, held = child.apply(measured, (str(store.folder), run, form, overlays))
                words = f"{form} with overlays" if overlays else form
                print(f"{words:<18} {rows:,} pictures  {seconds:6.1f} s  {held:6.0f} MB", flush=True)
    print(f"{'alike':<18} {rows:,} pictures  {1000 * seconds_alike(rows):6.1f} ms")


if __name__ == "__main__":
    main()
