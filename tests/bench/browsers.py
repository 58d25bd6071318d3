"""Ten browsers at once on one app: seconds until each page is ready.

`python -m tests.bench.browsers [--store DIR] [--rows N] [--browsers N] [--seconds N]`.

Each opens a page, looks at it for one to five seconds, and goes on to another. The browsers run on
the same machine as the app, so that what they draw takes from its cores, too.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from playwright.async_api import async_playwright

from tests.bench.pages import PAGES, READY
from tests.support import browsing
from tests.support.store_factory import make_store


async def visit(browser: Any, address: str, chance: random.Random, until: float, taken: dict[str, list[float]]) -> None:
    """One person: page after page until the time is over."""
    page = await browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(browsing.PATIENCE * 1000)
    while time.monotonic() < until:
        name = chance.choice(PAGES)
        began = time.perf_counter()
        await page.goto(f"{address}/{name}", wait_until="commit")
        await page.wait_for_function(READY)
        taken[name].append(time.perf_counter() - began)
        await asyncio.sleep(chance.uniform(1, 5))
    await page.close()


async def measure(folder: Path, browsers: int, seconds: float) -> None:
    """Prints a line for each page: median, 95th percentile by order, slowest, n."""
    with browsing.served(folder) as address:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=browsing.CHROMIUM, args=["--no-sandbox"])
            first: dict[str, list[float]] = defaultdict(list)
            await visit(browser, address, random.Random(0), time.monotonic() + 15, first)  # warms the app
            taken: dict[str, list[float]] = defaultdict(list)
            until = time.monotonic() + seconds
            await asyncio.gather(*(visit(browser, address, random.Random(n), until, taken) for n in range(browsers)))
            await browser.close()
    every = sorted(each for times in taken.values() for each in times)
    for name in PAGES:
        times = taken.get(name, [])
        if times:
            words = f"{statistics.median(times):.2f} s, slowest {max(times):.2f} s, n {len(times)}"
            print(f"{name or 'summary':<14}{words}", flush=True)
    late = sum(each > 3 for each in every)
    print(f"{browsers} browsers: 95% within {every[int(0.95 * len(every))]:.2f} s, {late} of {len(every)} above 3 s")


def main() -> None:
    """Measures a store, or one that is made for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--browsers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or make_store(Path(folder) / "store", rows=given.rows)[0].folder
        asyncio.run(measure(store, given.browsers, given.seconds))


if __name__ == "__main__":
    main()
