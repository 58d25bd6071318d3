"""A folder that changes while a run reads it: nothing hangs, nothing is a traceback, every picture has its end."""

from __future__ import annotations

import os
import random
import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.pipeline.request import Progress, RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.tiny_world import COLOURS, make_model, picture

ROUNDS = 8
PER_CLASS = 60
SECONDS = 60
WORDS = (
    "not a regular file",
    "cannot be read: ",
    "the file changed while",
    "empty file (0 bytes)",
    "not a picture in a known format",
    "damaged: ",
    "larger than ",
)


def world(folder: Path) -> list[Path]:
    generator = np.random.default_rng(1)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for index in range(PER_CLASS):
            picture(generator, colour).save(folder / name / f"{index:04d}.png")
    return sorted(folder.glob("*/*.png"))


def change(path: Path, chance: random.Random) -> str:
    """One thing that happens to a picture, or to the folder it lies in."""
    kind = chance.choice(
        ["gone", "other", "cut", "empty", "pipe", "socket", "folder", "loop", "device", "dangling", "sparse", "grown"]
        + ["moved class"] * (chance.random() < 0.1)
    )
    if kind == "moved class":
        path.parent.rename(path.parent.with_name(f".gone-{path.parent.name}-{chance.random()}"))
        return kind
    whole = path.read_bytes()
    if kind == "cut":
        os.truncate(path, len(whole) // 2)
        return kind
    if kind == "grown":
        with path.open("ab") as file:
            file.write(whole)
        return kind
    path.unlink()
    if kind == "other":
        Image.new("RGB", (20, 20), chance.choice(["red", "blue"])).save(path)
    elif kind == "empty":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        place = Path("/tmp") / f"whylook-{os.getpid()}-{chance.random()}"
        socket.socket(socket.AF_UNIX).bind(str(place))
        place.rename(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 2**40)
    elif kind in ("loop", "device", "dangling"):
        path.symlink_to({"loop": path.name, "device": "/dev/zero", "dangling": "nowhere.png"}[kind])
    return kind


class Vandal(threading.Thread):
    """Changes random pictures at random moments until it is told to stop."""

    def __init__(self, paths: list[Path], seed: int) -> None:
        super().__init__(daemon=True)
        self.paths, self.chance = list(paths), random.Random(seed)
        self.ended, self.kinds = threading.Event(), set[str]()

    def run(self) -> None:
        self.chance.shuffle(self.paths)
        while self.paths and not self.ended.wait(self.chance.uniform(0.0, 0.02)):
            try:
                self.kinds.add(change(self.paths.pop(), self.chance))
            except OSError:  # its class was moved away before
                continue


@pytest.mark.timeout(150)
def test_nothing_hangs_and_every_picture_ends_ok_or_failed_with_its_reason(tmp_path: Path) -> None:
    model, seen, failed, predicted = f"{make_model(tmp_path)}:tiny", set[str](), 0, 0
    began, rounds = time.monotonic(), 0
    while rounds < ROUNDS and time.monotonic() - began < SECONDS:
        folder = tmp_path / f"pictures-{rounds}"
        paths = world(folder)
        vandal = Vandal(paths, rounds)

        def start(news: Progress, vandal: Vandal = vandal, at: int = rounds % 3) -> None:
            if vandal.ident is None and (at == 0 or news.stage == "pictures"):
                vandal.start()

        store = tmp_path / f"store-{rounds}"
        request = RunRequest(folder, model, no_vlm=True, store=store, batch_size=8, device="cpu")
        outcome = run(request, progress=start, stop=lambda: False)
        vandal.ended.set()
        vandal.join(timeout=20)
        assert outcome.state == "done"
        assert all(failure.reason.startswith(WORDS) for failure in outcome.failures), outcome.failures
        listed = outcome.counts["listed"]
        blamed = [failure for failure in outcome.failures if failure.image_id is not None]
        assert outcome.counts["predicted"] + len(blamed) == listed
        rows = Store(store).reader().execute("SELECT count(*) FROM failures").fetchall()
        assert rows == [(len(outcome.failures),)]
        seen |= vandal.kinds
        failed, predicted, rounds = failed + len(outcome.failures), predicted + outcome.counts["predicted"], rounds + 1
        shutil.rmtree(folder)
    assert failed >= 10 and predicted >= 10 and len(seen) >= 8, (failed, predicted, seen)
    print(f"{rounds} rounds, {failed} failed, {predicted} predicted, {sorted(seen)}")
