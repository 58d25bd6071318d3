"""A soak: 10,000 pictures are explained while the app is open and clicked through; the memory of both stays flat."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from core.store import Store
from tests.support import browsing
from tests.support.tiny_world import make_model

PICTURES = 10_000
CLASSES = ("blue", "green", "red")
RUN_MAY_GROW, APP_MAY_GROW = 60e6, 60e6
"""Bytes that a process may be larger in its last quarter than in its third, by the median of its RSS. The app's caches
hold a fixed number of pages of pictures, so it grows until they are full and not with the number of pictures."""
SECONDS = 280


@dataclass
class Memory:
    """RSS of the run and of the app's server over time, in bytes."""

    run: list[int] = field(default_factory=list)
    app: list[int] = field(default_factory=list)

    def growth(self, values: list[int]) -> float:
        """Median of the last quarter less that of the third."""
        n = len(values)
        assert n >= 40, f"only {n} measurements"
        return float(np.median(values[3 * n // 4 :]) - np.median(values[n // 2 : 3 * n // 4]))


def tiny_pictures(folder: Path) -> Path:
    """PICTURES distinct pictures of 64 x 64 in three class folders: 2,500 leaked tensors of them are 120 MB."""
    chance = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for index in range(PICTURES):
        picture = chance.integers(10, 200, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / CLASSES[index % 3] / f"{index:05d}.bmp")
    return folder


def click_through(page: Any, address: str, turn: int) -> None:
    """One page, another each time, with a click on what it shows."""
    names = ("", "slices", "slices?as=Charts", "sample", "runs", f"slices?sql=SELECT * FROM samples LIMIT {turn + 1}")
    page.goto(f"{address}/{names[turn % len(names)]}")
    page.get_by_role("heading", level=1).first.wait_for()
    if names[turn % len(names)] == "slices":
        page.locator("a.card").nth(turn % 40).click()
        page.get_by_text("Causal check").first.wait_for()
    assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0


def measure(memory: Memory, run: psutil.Process, app: psutil.Process, stop: Event) -> None:
    while not stop.wait(0.5):
        for process, values in ((run, memory.run), (app, memory.app)):
            with suppress(psutil.Error):
                if rss := process.memory_info().rss:  # 0 once it has ended
                    values.append(rss)


@contextmanager
def ended(run: subprocess.Popen[bytes]) -> Iterator[None]:
    """The run does not outlive the test."""
    try:
        yield
    finally:
        run.kill()


@browsing.NEEDED[1]
def test_memory_stays_flat_over_ten_thousand_pictures_with_the_app_open(browser: Any, tmp_path: Path) -> None:
    pictures, model, folder = tiny_pictures(tmp_path / "pictures"), make_model(tmp_path), tmp_path / "store"
    command = [sys.executable, "-m", "core", "run", str(pictures), "--classifier", f"{model}:tiny", "--no-vlm"]
    command += ["--batch-size", "128", "--store", str(folder)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # for so small a model more threads only wait for each other
    began, turn, memory, stop = time.monotonic(), 0, Memory(), Event()
    with (
        browsing.served(folder) as address,
        browsing.watched_page(browser, address) as page,
        subprocess.Popen(command, cwd=browsing.ROOT, env=one_thread, stderr=subprocess.DEVNULL) as run,
        ended(run),
    ):
        while not Store(folder).exists():
            assert run.poll() is None and time.monotonic() - began < SECONDS
            time.sleep(0.2)
        watch = Thread(
            target=measure,
            args=(memory, psutil.Process(run.pid), browsing.app_processes(address)[0], stop),
            daemon=True,
        )
        watch.start()
        while run.poll() is None or turn < 40:
            assert time.monotonic() - began < SECONDS, f"not done after {turn} pages: {Store(folder).progress()}"
            click_through(page, address, turn)
            page.wait_for_timeout(200)
            turn += 1
        stop.set()
        watch.join()
        assert run.wait() == 0
        outside = browsing.connections(address)
    [record] = Store(folder).run_records()
    assert record["counts"]["pictures"] == PICTURES and outside == set()
    for name, values, most in (("run", memory.run, RUN_MAY_GROW), ("app", memory.app, APP_MAY_GROW)):
        shown = [f"{value / 1e6:.0f}" for value in values[:: max(1, len(values) // 12)]]
        words = f"{name}: {len(values)} measurements, MB {' '.join(shown)}, grew {memory.growth(values) / 1e6:.0f} MB"
        print(words)
        assert memory.growth(values) < most, words
    print(f"{turn} pages in {time.monotonic() - began:.0f} s")


def test_memory_that_grows_with_every_picture_is_seen() -> None:
    steady, leaking = [500_000_000 + i % 7 for i in range(200)], [500_000_000 + 3_000_000 * i for i in range(200)]
    memory = Memory(steady, leaking)
    assert memory.growth(memory.run) < RUN_MAY_GROW
    with pytest.raises(AssertionError, match="only 3 measurements"):
        memory.growth([1, 2, 3])
    assert memory.growth(memory.app) >= APP_MAY_GROW
