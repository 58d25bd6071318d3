"""Plausible is not causal: what the prediction loses when the attended region is taken away.

Regions are removed by blurring, not by blackening, because black is a picture of something too.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

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
DRAWS = 12
"""Random regions of a closer look."""
_LONGEST = 1024
"""Pictures up to so many pixels a side are blurred by products of matrices."""


@dataclass(frozen=True)
class CausalEffect:
    """Probability of the target class lost without the attended region, and without random ones (mean over the draws).

    All None where the picture has no map to check.
    """

    causal_drop: float | None
    causal_drop_random: float | None
    causal_draws: int | None


NOTHING = CausalEffect(None, None, None)


@dataclass(frozen=True)
class CloserLook:
    """The check of one picture with more draws, and what the region alone is worth.

    - causal_drop: p(x) - p(x without the attended region), -1..1.
    - random_drops: the same for each random region.
    - causal_keep: p(x with all but the region blurred), 0..1.
    """

    causal_drop: float
    random_drops: tuple[float, ...]
    causal_keep: float


def causal_check(
    classifier: Explained,
    batch: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    draws: int = 1,
    seed: int = 0,
    before: Tensor | None = None,
) -> list[CausalEffect]:
    """Check each picture of a batch (B, C, H, W) against its map (B, h, w); costs `draws` + 1 forward passes.

    causal_drop = p(x) - p(x without the attended region), where the region is the cells with map >= 0.4 and "without"
    means blurred there. causal_drop_random is the mean of the same over `draws` random regions: the attended one
    mirrored and moved around the borders, so equal in area and shape. One draw is enough for the mean over a dataset,
    whose spread comes from the pictures; what is said of single pictures needs more. The draws depend on `seed` and the
    map alone, never on the batch a picture happens to be in.

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
    generators = [_generator(seed, map_) for map_ in maps.cpu().numpy()]

    def lost(cells: NDArray[np.bool_]) -> Tensor:
        assert before is not None
        return before - probability(classifier, torch.lerp(pictures, infill, _soft_mask(cells, pictures)), wanted)

    drop, random = lost(attended), torch.zeros_like(before)
    for _ in range(draws):
        moved = np.stack([_moved(cells, generator) for cells, generator in zip(attended, generators, strict=True)])
        random += lost(moved) / draws
    return [
        CausalEffect(_number(drop[index]), _number(random[index]), draws) if there[index] else NOTHING
        for index in range(batch.shape[0])
    ]


def closer_look(
    classifier: Explained, picture: Tensor, map_: Tensor, target: int, *, draws: int = DRAWS, seed: int = 0
) -> CloserLook:
    """Check one picture (C, H, W) against its map (h, w) with `draws` random regions; costs draws + 3 forward passes.

    Raises:
        RequestError: fewer than one draw, or a map that marks nothing.
        ModelError: the model raises.
    """
    if draws < 1:
        raise RequestError(f"draws must be at least 1, got {draws}")
    attended = (map_.cpu() >= ATTENDED).numpy()  # (h, w)
    if not attended.any():
        raise RequestError("the map marks no region to hide")
    given = picture.detach().to(classifier.device)[None]
    infill, wanted = blurred(given), torch.tensor([target], device=classifier.device)
    generator = _generator(seed, map_.cpu().numpy())

    def told(first: Tensor, second: Tensor, cells: NDArray[np.bool_]) -> float:
        changed = torch.lerp(first, second, _soft_mask(cells[None], given))
        return float(probability(classifier, changed, wanted)[0])

    before = float(probability(classifier, given.clone(), wanted)[0])
    return CloserLook(
        before - told(given, infill, attended),
        tuple(before - told(given, infill, _moved(attended, generator)) for _ in range(draws)),
        told(infill, given, attended),
    )


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

    As two products of matrices: at this width convolutions take ten times as long, torchvision's gaussian_blur more.
    Half precision is blurred in float32, in which the kernel's small weights are not lost.
    """
    given = pictures.float() if pictures.dtype in (torch.float16, torch.bfloat16) else pictures
    height, width = given.shape[-2:]
    if max(height, width) > _LONGEST:
        return _convolved(given).to(pictures.dtype)
    sigma, radius = _gaussian(height, width)
    rows, columns = (_blurring(side, sigma, radius, given.dtype, given.device) for side in (height, width))
    return (rows @ given @ columns.T).to(pictures.dtype)


def _gaussian(height: int, width: int) -> tuple[float, int]:
    """Standard deviation and radius in pixels."""
    sigma = max(0.5, BLUR * min(height, width))
    return sigma, min(math.ceil(2.5 * sigma), height - 1, width - 1)


def _kernel(sigma: float, radius: int, kind: torch.dtype, device: torch.device) -> Tensor:
    place = torch.arange(-radius, radius + 1, device=device, dtype=kind)
    kernel = torch.exp(-(place**2) / (2 * sigma * sigma))
    return kernel / kernel.sum()


@lru_cache(maxsize=16)
def _blurring(side: int, sigma: float, radius: int, kind: torch.dtype, device: torch.device) -> Tensor:
    """A matrix (side, side) that blurs a column of so many pixels."""
    with torch.inference_mode(False), torch.no_grad():  # kept, and used by whoever comes
        unit = torch.eye(side, dtype=kind, device=device)[:, None]  # each pixel alone, (side, 1, side)
        kernel = _kernel(sigma, radius, kind, device)[None, None]
        return F.conv1d(F.pad(unit, (radius, radius), mode="reflect"), kernel)[:, 0].T.contiguous()


def _convolved(pictures: Tensor) -> Tensor:
    """The same by two convolutions, whose memory does not grow with the square of a side."""
    sigma, radius = _gaussian(*pictures.shape[-2:])
    kernel, channels = _kernel(sigma, radius, pictures.dtype, pictures.device), pictures.shape[1]
    mirrored = F.pad(pictures, (radius, radius, radius, radius), mode="reflect")
    across = F.conv2d(mirrored, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(across, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


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
