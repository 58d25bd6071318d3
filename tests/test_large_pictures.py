"""Large pictures: made smaller as they are decoded, converted in strips, and refused in words where memory is short."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from core import images
from core.classifier.preprocess import Preprocess, plain_transform
from core.errors import ImageError
from core.images import colour, decoding
from core.memory import Budget
from core.store import Store

ROOT = Path(__file__).resolve().parents[1]
FLOATS = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True))


def scene(width: int, height: int) -> Image.Image:
    """A smooth picture: any way of making it smaller gives nearly the same."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (255 * x / width, 255 * y / height, 127 + 100 * np.sin(6 * x / width))
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


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
