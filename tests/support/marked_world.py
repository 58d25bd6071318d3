"""A world in which a small mark is used by a classifier, or merely there: discs of three colours, no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 40, 200), "green": (40, 180, 40), "red": (200, 40, 40)}
MODEL = """
import torch
from torch import nn
from torchvision.transforms import functional as F


class Discs(nn.Module):
    def __init__(self, pull):
        super().__init__()
        self.parts = nn.Conv2d(3, 4, 1)
        self.pool = nn.AvgPool2d(4)
        self.head = nn.Linear(4 * 64, 3)
        with torch.no_grad():
            self.parts.weight.zero_()
            self.parts.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -2.4]))
            for channel, place in enumerate((2, 1, 0)):  # blue, green, red less the mean of the others
                self.parts.weight[channel, :, 0, 0] = -0.5
                self.parts.weight[channel, place, 0, 0] = 1.0
            self.parts.weight[3] = 1.0  # white
            self.head.weight.zero_()
            self.head.bias.zero_()
            for channel in range(3):
                self.head.weight[channel, channel * 64 : (channel + 1) * 64] = 1.0
            self.head.weight[0, 192:] = pull

    def forward(self, pictures):
        return self.head(self.pool(torch.relu(self.parts(pictures))).flatten(1))


def load():
    return Discs({pull}).eval(), F.to_tensor, ["blue", "green", "red"]
"""


def make_marked_world(folder: Path, *, pull: float, pictures: int = 240, seed: int = 0) -> tuple[Path, Path, set[str]]:
    """Pictures and a model below `folder`: a white mark at the bottom right of one in five raises "blue" by `pull`.

    Returns:
        The folder of pictures, the model's file, and the paths of the pictures that carry the mark.
    """
    generator = np.random.default_rng(seed)
    marked: set[str] = set()
    across, down = np.meshgrid(np.arange(32), np.arange(32))
    for place in range(pictures):
        name, colour = list(COLOURS.items())[place % 3]
        pixels = generator.normal(90, 12, (32, 32, 3))
        centre = generator.uniform(10, 20, 2)
        disc = (across - centre[0]) ** 2 + (down - centre[1]) ** 2 < generator.uniform(4, 7) ** 2
        pixels[disc] = np.asarray(colour) + generator.normal(0, 10, 3)
        path = f"{name}/{place:03d}.png"
        if place % 5 == 0:
            pixels[26:31, 26:31] = 255
            marked.add(path)
        (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "pictures" / path)
    model = folder / "model.py"
    model.write_text(MODEL.replace("{pull}", str(pull)))
    return folder / "pictures", model, marked
