"""Ten people at once on one app: seconds until each page is ready.

`python -m tests.bench.browsers [--store DIR] [--rows N] [--people N] [--seconds N] [--chromium]`.

Each opens a page, looks at it for one to five seconds, and goes on to another. What is measured is the app: every
person is a websocket that asks for a page as a new tab does and reads all that comes, until the script has ended.
With --chromium each is a real browser instead; those draw on the same machine, which takes from the app's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Page, async_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

from tests.bench.pages import PAGES, READY
from tests.support import browsing
from tests.support.store_factory import make_store

MOST_SECONDS = 3.0
MOST_BYTES = 200 * 2**20
Visit = Callable[[str], Awaitable[None]]


async def over_websocket(address: str, name: str) -> None:
    """Asks for a page as a new tab does, and returns when its script has ended."""
    parts = urlsplit(f"{address}/{name}")
    ask = BackMsg()
    ask.rerun_script.page_name = parts.path.strip("/")
    ask.rerun_script.query_string = parts.query
    stream = f"ws://{parts.netloc}/_stcore/stream"
    async with connect(stream, subprotocols=["streamlit"], origin=address, max_size=MOST_BYTES) as socket:  # type: ignore[list-item, arg-type]
        await socket.send(ask.SerializeToString())
        drawn = 0
        async for data in socket:
            message = ForwardMsg.FromString(data if isinstance(data, bytes) else data.encode())
            drawn += message.WhichOneof("type") in ("delta", "ref_hash")
            if message.WhichOneof("type") == "script_finished":
                if message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                    break
                assert message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN, name
        assert drawn > 5, f"{name}: an empty page"


async def person(visit: Visit, chance: random.Random, until: float, taken: dict[str, list[float]]) -> None:
    """Page after page until the time is over."""
    while time.monotonic() < until:
        name = chance.choice(PAGES)
        began = time.perf_counter()
        await visit(name)
        taken[name].append(time.perf_counter() - began)
        await asyncio.sleep(chance.uniform(1, 5))


async def visitors(stack: AsyncExitStack, address: str, people: int, *, chromium: bool) -> list[Visit]:
    """How each of the people opens a page."""
    if not chromium:
        return [lambda name: over_websocket(address, name)] * people
    playwright = await stack.enter_async_context(async_playwright())
    browser = await playwright.chromium.launch(executable_path=browsing.CHROMIUM, args=["--no-sandbox"])
    stack.push_async_callback(browser.close)
    made: list[Visit] = []
    for _ in range(people):
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(browsing.PATIENCE * 1000)

        async def visit(name: str, page: Page = page) -> None:
            await page.goto(f"{address}/{name}", wait_until="commit")
            await page.wait_for_function(READY)

        made.append(visit)
    return made


async def measure(folder: Path, people: int, seconds: float, *, chromium: bool) -> None:
    """Prints a line for each page: median, slowest, n; then over all pages, alone and together."""
    with browsing.served(folder) as address:
        async with AsyncExitStack() as stack:
            visits = await visitors(stack, address, people, chromium=chromium)
            for name in PAGES:  # what is loaded once
                await visits[0](name)
            alone: dict[str, list[float]] = defaultdict(list)
            await person(visits[0], random.Random(0), time.monotonic() + min(30, seconds), alone)
            taken: dict[str, list[float]] = defaultdict(list)
            until = time.monotonic() + seconds
            await asyncio.gather(*(person(visit, random.Random(n), until, taken) for n, visit in enumerate(visits)))
    for name in PAGES:
        if times := taken.get(name, []):
            words = f"{statistics.median(times):.2f} s, slowest {max(times):.2f} s, n {len(times)}"
            print(f"{name or 'summary':<14}{words}", flush=True)
    said("one", alone)
    said(f"{people} at once", taken)


def said(who: str, taken: dict[str, list[float]]) -> None:
    """A line over all pages."""
    every = sorted(each for times in taken.values() for each in times)
    late = sum(each > MOST_SECONDS for each in every)
    words = f"median {statistics.median(every):.2f} s, 95% within {every[int(0.95 * len(every))]:.2f} s"
    print(f"{who}: {words}, slowest {every[-1]:.2f} s, {late} of {len(every)} above {MOST_SECONDS:g} s", flush=True)


def main() -> None:
    """Measures a store, or one that is made for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--chromium", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or make_store(Path(folder) / "store", rows=given.rows)[0].folder
        asyncio.run(measure(store, given.people, given.seconds, chromium=given.chromium))


if __name__ == "__main__":
    main()
