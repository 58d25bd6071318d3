"""Pictures before and after an intervention, for people to look at."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core import images
from core.discovery.interventions import Measured

SHOWN = 4
_SIDE = 160


@dataclass(frozen=True)
class Evidence:
    """One picture before and after: WebP as base64, and what the classifier says with which probability.

    `towards_before` and `towards_after` are the probability of the class that is followed.
    """

    before: str
    after: str
    said_before: str
    said_after: str
    towards_before: float
    towards_after: float


def evidence(measured: Measured, names: Sequence[str]) -> list[Evidence]:
    """The trials that changed most, the way the mean does; colours are approximate: a transform's scale is unknown."""
    some, pairs = measured.trials, measured.told[:2]
    own = [probabilities[np.arange(len(some)), measured.answers] for probabilities in pairs]
    change = own[1] - own[0]
    order = np.argsort(-np.sign(change.mean()) * change, kind="stable")[:SHOWN]
    every = torch.stack([trial.before for trial in some])  # (n, C, H, W)
    low, high = every.amin(dim=(0, 2, 3))[:, None, None], every.amax(dim=(0, 2, 3))[:, None, None]

    def shown(tensor: Tensor) -> str:
        scaled = ((tensor - low) / (high - low).clamp(min=1e-6)).clamp(0, 1).float()
        three = scaled.expand(3, -1, -1) if len(scaled) == 1 else scaled[:3]
        pixels = (three.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        return base64.b64encode(images.thumbnail(Image.fromarray(pixels), side=_SIDE)).decode()

    def said(probabilities: NDArray[np.float64]) -> str:
        return names[int(probabilities.argmax())]

    return [
        Evidence(
            shown(some[place].before), shown(some[place].changed), said(pairs[0][place]), said(pairs[1][place]),
            float(own[0][place]), float(own[1][place]),
        )
        for place in order.tolist()
    ]  # fmt: skip
