"""Noisy linear imputation (ROAD: Rong et al. 2022, arXiv 2202.00449): removed pixels become their neighbours' mean.

The paper solves a sparse system for every picture. Here it is solved for a batch at a time by multigrid (Brandt 1977,
Mathematics of Computation 31:333): from a guess made at half the size, and cycles that halve the residual's size down
to a few cells. Five cycles come nearer to the solution than the noise that is added (rms 0.005 against 0.01).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NOISE = 0.01
"""Standard deviation of the noise that keeps the hole from being seen, in the units of the model's input."""
CYCLES = 5
_SWEEPS = 2
_COARSEST = 4
"""Smoothing sweeps before and after each coarser grid, and the shortest side at which there is none."""

_Level = tuple[Tensor, Tensor, Tensor]
"""Unknown places (B, 1, h, w), the weight of each place's neighbours, and the step of a sweep."""


def impute(pictures: Tensor, gone: Tensor, *, seed: int = 0, noise: float = NOISE) -> Tensor:
    """Pictures (B, C, H, W) whose pixels in `gone` (B, H, W) are the weighted mean of their neighbours, and some noise.

    Weight 1/6 for the four direct neighbours and 1/12 for the four diagonal ones; the noise is that of `seed`.
    """
    unknown = gone[:, None].to(pictures.device, torch.float32)
    given = pictures.detach().float() * (1 - unknown)
    levels = _levels(unknown)
    filled = _guess(given, unknown)
    for _ in range(CYCLES):
        filled = _cycle(filled, torch.zeros_like(filled[:1, :1]), levels)
    drawn = torch.randn(pictures.shape[1:], generator=torch.Generator().manual_seed(seed)).to(filled)
    return torch.where(unknown > 0, filled + noise * drawn, pictures.float()).to(pictures.dtype)


def _around(values: Tensor) -> Tensor:
    """Weighted sum of each place's eight neighbours; those outside count nothing."""
    padded = F.pad(values, (1, 1, 1, 1))
    across = padded[..., :-2] + padded[..., 2:]
    across.add_(padded[..., 1:-1], alpha=2)
    down = across[..., :-2, :] + across[..., 2:, :]
    return down.add_(across[..., 1:-1, :], alpha=2).sub_(values, alpha=4).div_(12)


def _halved(values: Tensor) -> Tensor:
    """Means of 2 x 2 places; what is missing at an odd border counts as zero."""
    height, width = values.shape[-2:]
    return F.avg_pool2d(F.pad(values, (0, width % 2, 0, height % 2)), 2)


def _doubled(values: Tensor, like: Tensor) -> Tensor:
    """Enlarged twice, to the size of another."""
    height, width = like.shape[-2:]
    return F.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]


def _levels(unknown: Tensor) -> list[_Level]:
    """The grids from the finest on; a place of a coarser one is unknown where all under it is."""
    levels = []
    while True:
        height, width = unknown.shape[-2:]
        weight = _around(torch.ones(1, 1, height, width, device=unknown.device))
        levels.append((unknown, weight, 0.9 * unknown / weight))
        if min(height, width) <= _COARSEST:
            return levels
        unknown = 1 - F.max_pool2d(F.pad(1 - unknown, (0, width % 2, 0, height % 2)), 2)


def _guess(given: Tensor, unknown: Tensor) -> Tensor:
    """Unknown places filled from the picture at half the size, and that in the same way."""
    if min(given.shape[-2:]) <= _COARSEST:
        known = 1 - unknown
        mean = (given * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
        return torch.where(unknown > 0, mean, given)
    share = _halved(1 - unknown)
    small = _guess(_halved(given * (1 - unknown)) / share.clamp(min=1e-6), (share == 0).float())
    return torch.where(unknown > 0, _doubled(small, given), given)


def _cycle(values: Tensor, right: Tensor, levels: list[_Level]) -> Tensor:
    """One V-cycle for: weight x value - its neighbours = right, at the unknown places."""
    (unknown, weight, _), coarser = levels[0], levels[1:]
    values = _swept(values, right, levels[0], _SWEEPS if coarser else 10 * _SWEEPS)
    if not coarser:
        return values
    residual = _halved((right + _around(values) - weight * values) * unknown)
    # the stencil of a grid twice as wide is four times as large
    error = _cycle(torch.zeros_like(residual), 4 * residual * coarser[0][0], coarser)
    return _swept(values + _doubled(error, values) * unknown, right, levels[0], _SWEEPS)


def _swept(values: Tensor, right: Tensor, level: _Level, sweeps: int) -> Tensor:
    """Damped Jacobi sweeps."""
    _, weight, step = level
    for _ in range(sweeps):
        values = values + step * (right + _around(values) - weight * values)
    return values
