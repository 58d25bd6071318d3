"""Bytes in flight: what pictures and batches may take, from the machine's memory and never more."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from core import images
from core.classifier.preprocess import Preprocess, plain_transform
from core.errors import ImageError, RequestError
from core.images import colour, decoding
from core.memory import Budget, NoRoom, free_memory, parse_size
from core.pipeline.explain import waiting_bytes
from core.pipeline.forwards import Forwards
from core.pipeline.in_flight import InFlight
from core.pipeline.prefetch import ahead, chunks
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.tiny_world import make_folder, make_model

ROOT = Path(__file__).resolve().parents[1]
FLOATS = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True))


def scene(width: int, height: int) -> Image.Image:
    """A smooth picture: any way of making it smaller gives nearly the same."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (255 * x / width, 255 * y / height, 127 + 100 * np.sin(6 * x / width))
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


# --- the budget -----------------------------------------------------------------------------------------------------


def test_threads_never_hold_more_than_the_budget_and_a_large_want_is_held_alone() -> None:
    budget, lock = Budget(2**20), threading.Lock()
    held: list[int] = []
    seen: list[tuple[int, int]] = []

    def work(amount: int) -> None:
        with budget.hold(amount):
            with lock:
                held.append(amount)
                seen.append((sum(held), len(held)))
            time.sleep(0.002)
            with lock:
                held.remove(amount)

    wants = [2**19, 2**18, 2**18, 2**21, 2**17] * 12
    threads = [threading.Thread(target=work, args=(amount,)) for amount in wants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(seen) == len(wants)
    assert all(total <= 2**20 or beside == 1 for total, beside in seen)
    assert max(beside for _, beside in seen) > 1


def test_what_cannot_fit_at_all_is_refused_and_leaves_the_budget_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", "1MB")
    budget = Budget(2**20)
    with pytest.raises(NoRoom, match="need about 8 MB of memory"), budget.hold(2**23):
        pass
    with budget.hold(2**20):
        pass


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2**31), ("500m", 500 * 2**20), ("1.5 GiB", 3 * 2**29), ("4096", 4096)]
)
def test_a_memory_limit_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["much", "-1GB", "0", "2 apples"])
def test_a_memory_limit_that_is_no_size_is_refused_in_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", text)
    with pytest.raises(RequestError, match="WHYLOOK_MEMORY must be a size such as 2GB"):
        free_memory()


def kernel_file(root: Path, name: str, text: object) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts_also_that_of_a_group_around_it(tmp_path: Path, version: int) -> None:
    line = "5:cpu,cpuacct:/x\n4:memory:/outer/inner" if version == 1 else "0::/outer/inner"
    kernel_file(tmp_path, "proc/self/cgroup", line)
    top = "sys/fs/cgroup/memory" if version == 1 else "sys/fs/cgroup"
    names = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if version == 1 else ("max", "current", "")
    for place, limit, used in (("", 10**12, 9), ("/outer", 50 * 2**20, 20 * 2**20), ("/outer/inner", 10**12, 5)):
        kernel_file(tmp_path, f"{top}{place}/memory.{names[0]}", limit)
        kernel_file(tmp_path, f"{top}{place}/memory.{names[1]}", used)
    assert free_memory(tmp_path) == 30 * 2**20
    kernel_file(tmp_path, f"{top}/outer/memory.stat", f"anon 7\n{names[2] or 'inactive_file'} {2**20}")
    assert free_memory(tmp_path) == 31 * 2**20
    kernel_file(tmp_path, f"{top}/outer/memory.{names[0]}", "max" if version == 2 else 2**63 - 4096)
    assert free_memory(tmp_path) > 31 * 2**20


# --- large pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "side"),
    [
        (v2.Compose([v2.Resize(256), v2.CenterCrop(224), *FLOATS]), 224),
        (v2.Compose([*FLOATS, v2.Resize((96, 128), antialias=True)]), 128),
        (v2.Compose([v2.CenterCrop(224), *FLOATS]), None),  # one size, but of another part of the picture
        (v2.Compose([v2.RandomCrop(64), *FLOATS]), None),
        (v2.Compose([v2.Resize(256), *FLOATS]), 384),  # keeps the picture's shape, and the trial is 3 x 2
        (v2.Compose([v2.Resize((1024, 1024)), *FLOATS]), None),
        (plain_transform(), None),
        (lambda picture: 1 / 0, None),
    ],
)
def test_what_a_transform_makes_of_any_picture_is_found_by_trying_it(transform: Any, side: int | None) -> None:
    assert Preprocess(transform).side == side


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_is_made_smaller_as_it_is_decoded_and_keeps_its_size_in_the_row(
    tmp_path: Path, suffix: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 500_000)
    whole, exif = scene(1200, 800), Image.Exif()
    exif[0x0112] = orientation
    whole.save(tmp_path / f"a.{suffix}", exif=exif)
    upright = whole if orientation == 1 else whole.transpose(Image.Transpose.ROTATE_270)
    prices: list[int] = []

    def hold(price: int) -> Any:
        prices.append(price)
        return Budget(2**30).hold(price)

    with images.opened(tmp_path / f"a.{suffix}", reader=lambda pixels: images.Reader(100), hold=hold) as found:
        assert found.size == upright.size
        assert 200 <= min(found.picture.size) < 400
        wanted = upright.resize(found.picture.size, Image.Resampling.BOX)
        assert np.abs(np.asarray(found.picture).astype(int) - np.asarray(wanted)).mean() < 2
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 1_000_000)
    with images.opened(tmp_path / f"a.{suffix}", reader=lambda pixels: images.Reader(100), hold=hold) as found:
        assert found.picture.size == found.size == upright.size
    assert len(prices) == 2
    assert prices[0] < prices[1] / 4 or suffix != "jpg"  # JPEG alone never has the whole picture


@pytest.mark.parametrize("mode", ["I;16", "F", "I", "RGBA", "LA"])
def test_a_conversion_in_strips_gives_what_one_of_the_whole_gives(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(3)
    if mode == "I;16":
        picture = Image.fromarray(generator.integers(0, 65_535, (90, 70)).astype(np.uint16))
    elif mode == "F":
        picture = Image.fromarray(generator.uniform(0, 900, (90, 70)).astype(np.float32))
    elif mode == "I":
        picture = Image.fromarray(generator.integers(0, 90_000, (90, 70)).astype(np.int32))
    else:
        picture = Image.fromarray(generator.integers(0, 256, (90, 70, len(mode)), dtype=np.uint8), mode)
    picture.save(tmp_path / "a.tif")
    whole = np.asarray(images.decode(tmp_path / "a.tif"))
    for strip in (1000, 33):
        monkeypatch.setattr(colour, "_STRIP", strip)
        assert np.array_equal(np.asarray(images.decode(tmp_path / "a.tif")), whole)


def test_thumbnails_have_the_size_that_pillow_gives_them() -> None:
    chance = np.random.default_rng(0)
    for width, height in [*chance.integers(1, 1200, (300, 2)), (1, 900), (900, 1), (224, 224), (225, 3), (448, 447)]:
        blank = Image.new("1", (int(width), int(height)))
        blank.thumbnail((224, 224))
        assert decoding._fitted((int(width), int(height)), 224) == blank.size, (width, height)


def test_a_picture_without_room_is_an_image_error_with_its_size_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", "1MB")
    scene(1200, 800).save(tmp_path / "a.png")
    told = r"1,200 x 800 pixels need about \d+ MB of memory.*make the picture smaller"
    with pytest.raises(ImageError, match=told), images.opened(tmp_path / "a.png", hold=Budget(2**16).hold):
        pass


# --- batches --------------------------------------------------------------------------------------------------------


def test_results_that_wait_weigh_a_bound_and_the_next_one_is_never_held_up() -> None:
    made: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0.001)
        with lock:
            made.append(number)
        return number

    results = ahead(work, iter(range(60)), threads=4, limit=40, weigh=lambda number: 10, most=50)
    assert next(results) == 0
    time.sleep(0.2)
    assert len(made) <= 1 + 5 + 4
    assert list(results) == list(range(1, 60))
    closed = ahead(work, iter(range(1, 60)), threads=4, limit=40, weigh=lambda number: 100, most=50)
    next(closed)
    closed.close()
    after = len(made)
    time.sleep(0.1)
    assert len(made) == after < 60 + 59  # nothing is begun after it


def test_batches_are_also_bounded_in_bytes() -> None:
    assert list(chunks([5, 5, 1, 1, 1, 9], 3, weigh=int, most=8)) == [[5, 5], [1, 1, 1], [9]]


class Net(nn.Module):
    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self.conv, self.head, self.side = nn.Conv2d(3, 32, 3, padding=1), nn.Linear(32, 2), side

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if self.side and batch.shape[-1] != self.side:
            raise RuntimeError("only one size")
        return self.head(self.conv(batch).relu().mean(dim=(2, 3)))


def forwards(net: nn.Module) -> Forwards:
    classifier: Any = SimpleNamespace(model=net.eval(), layer="", device=torch.device("cpu"), layout=None)
    return Forwards(classifier, "occlusion")


def test_what_a_model_needs_is_measured_small_and_told_for_large_pictures() -> None:
    measured = forwards(Net())
    needed = measured.needed(torch.rand(3, 1000, 1500))
    direct = 2 * measured._peak(torch.rand(1, 3, 1000, 1500))
    assert needed == pytest.approx(direct, rel=0.1)
    assert direct > 2 * 32 * 4 * 1_500_000  # the convolution's output alone


def test_a_large_batch_is_cut_and_one_that_fits_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.rand(16, 3, 512, 512)
    free = {"bytes": 0}
    monkeypatch.setattr("core.memory.free_memory", lambda: free["bytes"])
    measured = forwards(Net())
    needed = measured.needed(batch[0])
    free["bytes"] = 4 * 5 * needed + 4
    assert measured.batch_size(batch) == (5, needed > 2**28)
    free["bytes"] = 3 * needed
    with pytest.raises(NoRoom):
        measured.batch_size(batch)
    assert measured.batch_size(batch[:2]) == (2, False)  # usual batches are not measured
    assert forwards(Net(side=1024)).batch_size(torch.rand(3, 3, 1024, 1024)) == (1, True)


# --- a picture that kills the process -------------------------------------------------------------------------------


def test_a_note_outlives_the_attempt_that_died_and_is_gone_when_all_went_well(tmp_path: Path) -> None:
    notes = InFlight(tmp_path)
    with notes.working(["a"]), notes.working([]), notes.working(["b"]):
        assert InFlight(tmp_path).deaths("a") == 1  # another process, after a kill
    second = InFlight(tmp_path)
    assert (second.deaths("a"), second.deaths("c")) == (0, 0)  # this attempt lived to say that it was done
    with second.working(["a"]):
        InFlight(tmp_path)
        third = InFlight(tmp_path)
        assert third.deaths("a") == 1
        third.forget(["a"])
        assert not (tmp_path / "in-flight.json").exists()
    (tmp_path / "in-flight.json").write_text("{broken")
    assert InFlight(tmp_path).deaths("a") == 0


def test_a_picture_that_killed_one_attempt_is_tried_alone_and_after_two_recorded(tmp_path: Path) -> None:
    pictures, store = make_folder(tmp_path / "pictures", per_class=4), tmp_path / "store"
    first, second = (entry.image_id for entry in images.scan(pictures).entries[2:4])
    request = RunRequest(pictures, f"{make_model(tmp_path)}:tiny", no_vlm=True, store=store, batch_size=8, device="cpu")
    store.mkdir()
    (store / "in-flight.json").write_text(json.dumps({"working": [first, second], "died": {second: 1}}))
    done: list[int] = []
    outcome = run(request, progress=lambda news: done.append(news.done), stop=lambda: False)
    assert [(failure.image_id, failure.stage) for failure in outcome.failures] == [(second, "images")]
    assert "the process died 2 times" in outcome.failures[0].reason and "in-flight.json" in outcome.failures[0].reason
    assert outcome.counts["predicted"] == 11
    assert 2 in done  # the recorded one and the one tried alone, before any batch
    (store / "in-flight.json").unlink()
    assert run(request, progress=lambda news: None, stop=lambda: False).counts["predicted"] == 12


MODEL = """
import torch
from torch import nn
from torchvision.transforms import v2


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(64, 2)

    def forward(self, batch):
        return self.head(self.features(batch).mean(dim=(2, 3)))


floats = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True))


def whole():
    return Net(), v2.Compose(floats), ("a", "b")


def resized():
    return Net(), v2.Compose([v2.Resize(64), v2.CenterCrop(64), *floats]), ("a", "b")
"""


def watched(*words: object, memory: str = "") -> tuple[int, str, float]:
    """A run in a process of its own: exit code, what it said, its most resident bytes, seen from outside."""
    import os

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WHYLOOK_MEMORY": memory, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "core", "run", *map(str, words)]
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    most = 0
    while child.poll() is None:
        try:
            most = max(most, psutil.Process(child.pid).memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.02)
    said = child.communicate()[0]
    assert "Traceback" not in said, said
    return child.returncode, said, most


@pytest.mark.slow
def test_a_photograph_that_is_not_resized_fails_in_words_where_memory_is_short(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for index, name in enumerate("ab" * 3):
        (pictures / name).mkdir(parents=True, exist_ok=True)
        scene(60 + index, 40).save(pictures / name / f"{index}.png")
    scene(600, 400).resize((6000, 4000)).save(pictures / "a" / "0-photo.jpg")
    (tmp_path / "model.py").write_text(MODEL)
    words = [pictures, "--classifier", f"{tmp_path / 'model.py'}:whole", "--no-vlm", "--store", tmp_path / "s"]
    code, said, most = watched(*words, "--device", "cpu", memory="2GB")
    assert code == 1, said
    assert "a/0-photo.jpg" in said and "6,000 x 4,000 pixels need about" in said and "WHYLOOK_MEMORY" in said
    assert most < 2 * 2**30, f"{most:,}"
    counts = Store(tmp_path / "s").reader().execute("SELECT count(prediction), count(*) FROM samples").fetchall()
    assert counts[0][0] == 6


def test_who_leaves_the_line_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, served = Budget(10), threading.Event()

    def behind() -> None:
        with budget.hold(1):
            served.set()

    def interrupted(condition: object, *rest: object, **options: object) -> None:
        raise KeyboardInterrupt

    with budget.hold(10), monkeypatch.context() as patch:
        patch.setattr(threading.Condition, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt), budget.hold(5):
            pass
    threading.Thread(target=behind, daemon=True).start()
    assert served.wait(timeout=5)


def test_a_memory_limit_that_is_no_size_is_found_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", "lots")
    with pytest.raises(RequestError, match="WHYLOOK_MEMORY must be a size"):
        RunRequest(images=tmp_path, classifier="tiny", no_vlm=True).check()


def test_pictures_that_wait_take_a_share_of_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    held = psutil.Process().memory_info().rss
    monkeypatch.setenv("WHYLOOK_MEMORY", str(held + 2**30))
    assert 2**26 <= waiting_bytes() <= 2**27 + 2**24
    monkeypatch.setenv("WHYLOOK_MEMORY", "1MB")
    assert waiting_bytes() == 2**26
