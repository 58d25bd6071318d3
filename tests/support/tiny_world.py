"""A small folder of pictures and a tiny seeded CNN in a file, as a user would have them: for tests of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}

MODEL = '''
import torch
from torch import nn


def to_tensor(picture):
    values = torch.frombuffer(bytearray(picture.resize((32, 32)).tobytes()), dtype=torch.uint8)
    return values.reshape(32, 32, 3).permute(2, 0, 1).float() / 255 - 0.4


class Tiny(nn.Module):
    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(16, classes)
        self.head.weight.data.abs_()  # every class has places that speak for it, so that no map is zero

    def forward(self, batch):
        return self.head(self.features(batch).mean(dim=(2, 3)))


class Grumpy(Tiny):
    """Raises when a very bright picture is in the batch, gives NaN for a very dark one."""

    def forward(self, batch):
        brightness = batch.mean(dim=(1, 2, 3))
        if bool((brightness > 0.59).any()):
            raise RuntimeError("too bright\\nfor this model")
        logits = super().forward(batch)
        return torch.where(brightness[:, None] < -0.39, torch.nan, logits)


class Broken(Tiny):
    def forward(self, batch):
        raise ZeroDivisionError("always")


def tiny():
    return Tiny(3), to_tensor, ("blue", "green", "red")


def grumpy():
    return Grumpy(3), to_tensor, ("blue", "green", "red")


def broken():
    return Broken(3), to_tensor, ("blue", "green", "red")


def four():
    return Tiny(4), to_tensor, ("blue", "green", "red")


def nameless():
    return Tiny(3), to_tensor
'''


def picture(generator: np.random.Generator, colour: tuple[int, int, int], *, side: int = 48) -> Image.Image:
    """A noisy patch of one colour with a lighter square somewhere."""
    pixels = np.clip(generator.normal(colour, 25, (side, side, 3)), 5, 235).astype(np.uint8)
    y, x = generator.integers(0, side - 14, 2)
    pixels[y : y + 14, x : x + 14] = np.clip(pixels[y : y + 14, x : x + 14].astype(int) + 60, 5, 240).astype(np.uint8)
    return Image.fromarray(pixels)


def make_folder(folder: Path, *, per_class: int = 8, names: dict[str, str] | None = None, seed: int = 0) -> Path:
    """Class folders of distinct pictures and a metadata.csv with columns path and tone."""
    generator = np.random.default_rng(seed)
    lines = ["path,tone"]
    for name, colour in COLOURS.items():
        shown = (names or {}).get(name, name)
        (folder / shown).mkdir(parents=True)
        for index in range(per_class):
            picture(generator, colour).save(folder / shown / f"{index:04d}.png")
            quoted = shown.replace('"', '""')
            lines.append(f'"{quoted}/{index:04d}.png",{"dark" if index % 2 else "light"}')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_model(folder: Path) -> Path:
    """The file that holds the functions tiny, grumpy, broken, four and nameless."""
    path = folder / "tiny_model.py"
    path.write_text(MODEL, encoding="utf-8")
    return path
