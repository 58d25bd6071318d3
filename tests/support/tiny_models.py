"""Small classifiers of every layout, with seeded random weights; also the file that SPECs of tests name."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import v2

CLASSES = 4
SIDE = 32


class InPlace(nn.Module):
    """A CNN whose ReLUs all work in place, one of them on the target layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.features = nn.Conv2d(8, 12, 3, 2, 1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x -= x.mean((1, 2, 3), keepdim=True)  # in place on the input, too
        return self.head(F.relu(self.features(self.stem(x)), inplace=True).mean((2, 3)))


class Tokens(nn.Module):
    """A transformer of PyTorch's own layers: class and register tokens before the patches, or a mean of the patches.

    Patches are cut out by a convolution or, with `unfold`, by hand and a linear layer, so that no layer shows a grid.
    """

    def __init__(self, *, prefix: int = 1, batch_first: bool = True, unfold: bool = False) -> None:
        super().__init__()
        self.prefix, self.batch_first = prefix, batch_first
        self.patches = nn.Linear(3 * 16, 16) if unfold else nn.Conv2d(3, 16, 4, 4)
        self.tokens = nn.Parameter(torch.randn(1, prefix, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first, norm_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.patches, nn.Linear):
            x = self.patches(F.unfold(x, 4, stride=4).transpose(1, 2))
        else:
            x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.encoder(x) if self.batch_first else self.encoder(x.transpose(0, 1)).transpose(0, 1))
        return self.head(x[:, 0] if self.prefix else x.mean(dim=1))


class HandsOn(nn.Module):
    """Its last block hands on an earlier tensor, in a tuple, besides what the head reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 4, 1)
        self.second = nn.Conv2d(8, 8, 3, 2, 1)
        self.block = Pair()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(self.block(x, self.second(x))[1].mean((2, 3)))


class Pair(nn.Module):
    """Two tensors through."""

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return first, second.relu()


class InTuples(nn.Module):
    """A block that returns its grid with something beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Halves()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x)[0].mean((2, 3)))


class Halves(nn.Module):
    """(features, size)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 3, 4, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return F.conv2d(x, self.weight, stride=4).relu(), 8


class Flat(nn.Module):
    """A network on flattened pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def seeded(make: Any, *words: Any, **settings: Any) -> nn.Module:
    """`make(...)` with random weights that are the same each time, heads and gates of zeros too, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = make(*words, **settings)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if not weight.any() and not name.endswith("bias"):
                    weight.normal_(0, 0.5)
    return model.eval()


def swin() -> nn.Module:
    """torchvision's Swin: windows, channels last."""
    return seeded(models.SwinTransformer, [4, 4], 8, [1, 1], [1, 2], [4, 4], num_classes=CLASSES)


_transform = v2.Compose([v2.Resize((SIDE, SIDE)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def _frozen() -> nn.Module:
    return seeded(InPlace).requires_grad_(False)


# What SPECs in the tests name.
in_place = lambda: (seeded(InPlace), _transform)  # noqa: E731
own_size = lambda: seeded(InPlace)  # noqa: E731
frozen = lambda: (_frozen(), _transform)  # noqa: E731
half = lambda: (seeded(InPlace).half(), _transform)  # noqa: E731
bfloat16 = lambda: (seeded(InPlace).bfloat16(), _transform)  # noqa: E731
flat = lambda: (seeded(Flat), _transform)  # noqa: E731
tokens = lambda: (seeded(Tokens), _transform)  # noqa: E731
