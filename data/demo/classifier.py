"""The demo world's classifier, as a user hands in their own: a function giving model, transform, class names."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import v2

from data.demo.world import ANIMALS

WEIGHTS = Path(__file__).parent / "classifier.safetensors"
INPUT_SIDE = 112
WIDTHS = (24, 48, 96, 160, 160)
"""Channels per stage; four halvings make the last feature map 7 x 7."""


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def network() -> nn.Sequential:
    """A small plain convolutional network: (B, 3, 112, 112) float32 to logits (B, 10)."""
    stages: list[nn.Module] = []
    inputs = 3
    for index, width in enumerate(WIDTHS):
        stages.append(_block(inputs, width, stride=2 if index < 4 else 1))
        if index:
            stages.append(_block(width, width, stride=1))
        inputs = width
    return nn.Sequential(nn.Sequential(*stages), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, len(ANIMALS)))


def transform() -> v2.Compose:
    """PIL picture to float32 (3, 112, 112), normalised to about -1..1."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((INPUT_SIDE, INPUT_SIDE), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )


def demo_classifier() -> tuple[nn.Sequential, v2.Compose, tuple[str, ...]]:
    """The trained demo classifier: (model, transform, class names)."""
    model = network()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval(), transform(), ANIMALS
