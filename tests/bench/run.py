"""`make bench`: seconds per stage of the demo's pipeline, and how soon the app shows its first picture.

Every number is measured in this run on this machine; nothing is compared with a number of another day.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from core.commands.run import DEMO
from core.commands.serve import HOST, free_port, start_app
from core.pipeline.request import RunOutcome, RunRequest
from core.pipeline.run import run

OPENED = 5
"""How often the page is opened anew."""
PICTURE = "img[src^='data:image'], img[src*='/media/']"


def demo(store: Path) -> RunOutcome:
    """The demo's run, as `whylook demo` asks for it."""
    request = RunRequest(
        images=DEMO / "evaluation",
        classifier=f"{DEMO / 'classifier.py'}:demo_classifier",
        vlm=DEMO / "judge" / "judge.gguf",
        mmproj=DEMO / "judge" / "judge-mmproj.gguf",
        store=store,
    )
    return run(request, progress=lambda _: None, stop=lambda: False)


def print_stages(outcome: RunOutcome, total: float) -> None:
    """Seconds and pictures a second of every stage; stages overlap where one waits for another."""
    pictures = outcome.counts["listed"]
    print(f"demo pipeline, {pictures} pictures, n 1: {total:.1f} s")
    for stage, seconds in outcome.seconds.items():
        rate = f"{pictures / seconds:8,.0f} pictures/s" if seconds > 0.05 else ""
        print(f"  {stage:24}{seconds:8.2f} s {100 * seconds / total:5.0f}% {rate}")


def first_pictures(store: Path) -> tuple[float, list[float]]:
    """Seconds until the app answers, and until its Slices page shows a picture, for each of OPENED fresh browsers."""
    from playwright.sync_api import sync_playwright

    port, began = free_port(), time.perf_counter()
    child = start_app(store, port)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://{HOST}:{port}/_stcore/health", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                if child.poll() is not None:
                    raise SystemExit("the app ended at once") from None
                time.sleep(0.05)
        start, opened = time.perf_counter() - began, []
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for _ in range(OPENED):
                page = chromium.new_context(viewport={"width": 1280, "height": 1000}).new_page()
                began = time.perf_counter()
                page.goto(f"http://{HOST}:{port}/slices")
                page.wait_for_selector(PICTURE, timeout=60_000)
                opened.append(time.perf_counter() - began)
                page.context.close()
            chromium.close()
        return start, opened
    finally:
        child.terminate()
        child.wait()


def main() -> None:
    """Measure and print."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        began = time.perf_counter()
        outcome = demo(store)
        print_stages(outcome, time.perf_counter() - began)
        start, opened = first_pictures(store)
    again = opened[1:]
    print(f"app: answers after {start:.1f} s; first picture on Slices after {opened[0]:.2f} s on a fresh server,")
    print(f"  then median {statistics.median(again):.2f} s ({min(again):.2f} to {max(again):.2f}, n {len(again)})")


if __name__ == "__main__":
    main()
