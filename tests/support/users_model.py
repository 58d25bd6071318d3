"""A user's own model file: every answer its functions may give, right and wrong, and a module beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

MODEL_FILE = """
import torch
from torch import nn
from torchvision.transforms import v2
from neighbour import WIDTH


class Net(nn.Module):
    def __init__(self, classes=3, width=WIDTH):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.pool(self.features(x)).flatten(1))


class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x.mean((2, 3)))


class Odd(Net):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(super().forward(x))


class Fixed(Net):
    def forward(self, x):
        if x.shape[-1] != 28:
            raise ValueError(f"28 expected,\\ngot {x.shape[-1]}")
        return super().forward(x)


transform = v2.Compose([v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
plain = lambda: Net()
training = lambda: Net().train()
both = lambda: (Net(), transform)
all_three = lambda: (Net(), transform, ["cow", "horse", "camel"])
two_names = lambda: (Net(), transform, ["cow", "horse"])
twice = lambda: (Net(), transform, ["cow", "cow", "camel"])
flat = lambda: Flat()
fixed = lambda: Fixed()
nothing = lambda: None
strange_transform = lambda: (Net(), "resize")
broken_transform = lambda: (Net(), lambda image: 1 / 0)
no_tensor = lambda: (Net(), lambda image: image)
nan_transform = lambda: (Net(), lambda image: torch.full((3, 32, 32), float("nan")))
tuple_logits = lambda: Odd(lambda logits: (logits,))
image_logits = lambda: Odd(lambda logits: logits[:, :, None])
integer_logits = lambda: Odd(lambda logits: logits.argmax(1, keepdim=True))
numbers = 5


def raising():
    raise LookupError("no weights\\nanywhere")


def leaving():
    raise SystemExit(3)
"""


def write_model_file(folder: Path) -> Path:
    """Write `user.py` and the module that it imports, which no other test's import has left behind; the folder."""
    (folder / "user.py").write_text(MODEL_FILE)
    (folder / "neighbour.py").write_text("WIDTH = 6\n")
    sys.modules.pop("neighbour", None)
    return folder


def user(folder: Path, function: str) -> str:
    """The SPEC of one of its functions."""
    return f"{folder / 'user.py'}:{function}"


def made(folder: Path, **options: int) -> nn.Module:
    """A network of the user's file with other random weights."""
    space: dict[str, object] = {}
    sys.path.insert(0, str(folder))
    try:
        exec((folder / "user.py").read_text(), space)  # noqa: S102
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(7)
    model: nn.Module = space["Net"](**options)  # type: ignore[operator]
    return model
