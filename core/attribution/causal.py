"""Plausible is not causal: what the prediction loses when the attended region is taken away.

Regions are removed by blurring, not by blackening, because black is a picture of something too.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from core.attribution.cam import enlarge
from core.attribution.head import Explained, frozen_eval
from core.errors import RequestError, translate_errors
from core.model_outputs import logits_of
from core.records import ATTENDED

BLUR = 0.1
"""Standard deviation of the in-fill's Gaussian, as a share of the picture's shorter side."""


@dataclass(frozen=True)
class CausalEffect:
    """Probability of the target class lost without the attended region, lost without a random one, left with it alone.

    All None where the picture has no map to check.
    """

    causal_drop: float | None
    causal_drop_random: float | None
    causal_keep: float | None


def causal_check(
    classifier: Explained,
    batch: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    draws: int = 3,
    seed: int = 0,
    before: Tensor | None = None,
) -> list[CausalEffect]:
    """Check each picture of a batch (B, C, H, W) against its map (B, h, w); costs `draws` + 2 forward passes.

    causal_drop = p(x) - p(x without the attended region), where the region is the cells with map >= 0.4 and "without"
    means blurred there. causal_drop_random is the mean of the same over `draws` random regions: the attended one
    mirrored and moved around the borders, so equal in area and shape. causal_keep = p(x with all but the region
    blurred). The draws depend on `seed` and the map alone, never on the batch a picture happens to be in.

    Args:
        classifier: the model.
        batch: the pictures as the model saw them.
        maps: their maps in 0..1.
        targets: (B,) class index whose probability is followed.
        draws: random regions per picture.
        seed: of the draws.
        before: (B,) probabilities p(x) where they are known; they save one forward pass.

    Raises:
        RequestError: fewer than one draw, or shapes that do not fit.
        ModelError: the model raises.
    """
    if draws < 1:
        raise RequestError(f"draws must be at least 1, got {draws}")
    if maps.ndim != 3 or maps.shape[0] != batch.shape[0] or targets.shape != (batch.shape[0],):
        raise RequestError(
            f"batch {tuple(batch.shape)}, maps {tuple(maps.shape)} and targets {tuple(targets.shape)} do not fit"
        )
    attended = (maps.cpu() >= ATTENDED).numpy()  # (B, h, w)
    there = torch.from_numpy(attended.any(axis=(1, 2)))
    pictures = batch.detach().to(classifier.device)
    infill = blurred(pictures)
    wanted = targets.to(classifier.device, torch.long)
    if before is None:
        before = probability(classifier, pictures.clone(), wanted)  # some change their input in place
    before = before.detach().float().cpu()
    region = _soft_mask(attended, pictures)  # (B, 1, H, W) in 0..1
    drop = before - probability(classifier, torch.lerp(pictures, infill, region), wanted)
    keep = probability(classifier, torch.lerp(infill, pictures, region), wanted)
    random = torch.zeros_like(before)
    generators = [_generator(seed, map_) for map_ in maps.cpu().numpy()]
    for _ in range(draws):
        moved = np.stack([_moved(cells, generator) for cells, generator in zip(attended, generators, strict=True)])
        without = torch.lerp(pictures, infill, _soft_mask(moved, pictures))
        random += (before - probability(classifier, without, wanted)) / draws
    return [
        CausalEffect(*(_number(value[index]) if there[index] else None for value in (drop, random, keep)))
        for index in range(batch.shape[0])
    ]


def _number(value: Tensor) -> float | None:
    """A finite number or None."""
    number = float(value)
    return number if math.isfinite(number) else None


def probability(classifier: Explained, pictures: Tensor, targets: Tensor) -> Tensor:
    """Softmax probability (B,) of the target class, on the CPU."""
    with frozen_eval(classifier.model), torch.no_grad(), translate_errors("the model failed in the causal check"):
        output = classifier.model(pictures)
    logits = logits_of(output, pictures.shape[0]).float()
    return logits.softmax(dim=1).gather(1, targets[:, None])[:, 0].cpu()


def _soft_mask(cells: NDArray[np.bool_], pictures: Tensor) -> Tensor:
    """Cells (B, h, w) as soft masks (B, 1, H, W); interpolating between centres keeps the area as it is."""
    return enlarge(torch.from_numpy(cells).to(pictures.device, pictures.dtype), pictures.shape[-2:])[:, None]


def blurred(pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W) under a Gaussian of `BLUR` times the shorter side, borders mirrored.

    By hand: torchvision's gaussian_blur is not separable and takes eleven times as long at this width. Half precision
    is blurred in float32: on CPUs with AMX a float16 convolution of this kind takes minutes a picture (PyTorch 2.15).
    """
    kind = pictures.dtype
    pictures = pictures.float() if kind in (torch.float16, torch.bfloat16) else pictures
    height, width = pictures.shape[-2:]
    sigma = max(0.5, BLUR * min(height, width))
    radius = min(math.ceil(2.5 * sigma), height - 1, width - 1)
    place = torch.arange(-radius, radius + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.exp(-(place**2) / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    channels = pictures.shape[1]
    mirrored = F.pad(pictures, (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(mirrored, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels).to(kind)


def _generator(seed: int, map_: NDArray[np.float32]) -> np.random.Generator:
    """A generator of its own for each map."""
    digest = hashlib.sha256(f"{seed}".encode() + np.ascontiguousarray(map_, np.float32).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _moved(cells: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """The region mirrored at random and moved around the borders by a random step."""
    flips = tuple(axis for axis in (0, 1) if generator.random() < 0.5)
    steps = tuple(int(generator.integers(0, size)) for size in cells.shape)
    moved: NDArray[np.bool_] = np.roll(np.flip(cells, flips), steps, axis=(0, 1))
    return moved
