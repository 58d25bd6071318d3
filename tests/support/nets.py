"""Small networks of which tests know what they look at and what their layers hold."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TexturedCorner(nn.Module):
    """Says class 1 where the top left quarter has fine texture, whatever the rest shows."""

    def forward(self, x: Tensor) -> Tensor:
        quarter = x[:, :, : x.shape[2] // 2, : x.shape[3] // 2]
        texture = quarter.var(dim=(1, 2, 3))
        return torch.stack([torch.full_like(texture, 2.0), 8 * texture], dim=1)


class BrightCorner(nn.Module):
    """Sees nothing but the mean of the upper left quarter; class 1 when it is bright."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, 1, 1, bias=False)
        nn.init.constant_(self.features.weight, 1 / channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        seen = self.features(x)[:, 0, : height // 2, : width // 2].mean((1, 2))
        return torch.stack([-4 * seen, 4 * seen], 1)


class InPlaceNet(nn.Module):
    """A small CNN with an in-place ReLU on both sides of the target layer and a head that is not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.features = nn.Conv2d(8, 12, 3, 2, 1)
        self.head = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(self.stem(x)), inplace=True)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)[:, :12])


class FixedFeatures(nn.Module):
    """A network whose target layer's output and head are given, to make degenerate maps."""

    def __init__(self, features: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.values, self.weights = features, weights

    def forward(self, x: Tensor) -> Tensor:
        shown = self.features(self.values.expand(x.shape[0], -1, -1, -1).clone())
        return shown.mean((2, 3)) @ self.weights


class SharedReluNet(nn.Module):
    """A small CNN whose target layer ends in a ReLU that is called twice, and whose head is not linear."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(3, 8, 3, stride, 1)
        self.features = nn.Sequential(nn.Conv2d(8, 12, 3, 1, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.relu(self.stem(x)))
        x = self.relu(x - 0.05)
        return self.head(x.mean((2, 3))) * 5000


class PooledNet(SharedReluNet):
    """The same with global average pooling and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(self.relu(self.stem(x))).mean((2, 3)))


class PlainNet(nn.Module):
    """One convolution and one linear layer; with `side`, pictures of that side only."""

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self.conv, self.head, self.side = nn.Conv2d(3, 32, 3, padding=1), nn.Linear(32, 2), side

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if self.side and batch.shape[-1] != self.side:
            raise RuntimeError("only one size")
        return self.head(self.conv(batch).relu().mean(dim=(2, 3)))
