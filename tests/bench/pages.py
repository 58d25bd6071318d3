"""Seconds until each page is ready in a real browser, warm, and the app's CPU seconds.

`python -m tests.bench.pages [--store DIR] [--rows N]`.

Without --store, a made store with N rows (600) is served. Ready: the script has ended and nothing more is drawn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support import browsing
from tests.support.store_factory import make_store

PAGES = ("", "?findings=1", "slices", "search", "sample", "labels", "compare", "present", "runs")
TIMES = 7
READY = """() => document.querySelector('h1')
    && document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')"""


def seconds(page: Any, address: str) -> float:
    """From the request of an address until the page is ready."""
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(READY)
    return time.perf_counter() - began


def cpu_seconds(address: str) -> float:
    """What the app has computed so far, its processes together."""
    times = [process.cpu_times() for process in browsing.app_processes(address)]
    return sum(each.user + each.system for each in times)


def measure(folder: Path) -> None:
    """Prints a line for each page: median, slowest, n; the first visit warms and does not count."""
    with browsing.served(folder) as address, browsing.chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(browsing.PATIENCE * 1000)
        for name in (*PAGES, "search?q=ground"):  # the search waits until the language model is loaded
            seconds(page, f"{address}/{name}")
        for name in PAGES:
            seconds(page, f"{address}/{name}")
            began = cpu_seconds(address)
            taken = [seconds(page, f"{address}/{name}") for _ in range(TIMES)]
            cpu = (cpu_seconds(address) - began) / TIMES
            words = f"{statistics.median(taken):.2f} s, slowest {max(taken):.2f} s, CPU {cpu:.2f} s, n {len(taken)}"
            print(f"{name or 'summary':<14}{words}", flush=True)


def main() -> None:
    """Measures a store, or one that is made for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    given = parser.parse_args()
    if given.store:
        measure(given.store)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(make_store(Path(folder) / "store", rows=given.rows)[0].folder)


if __name__ == "__main__":
    main()
