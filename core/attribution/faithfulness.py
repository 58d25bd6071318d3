"""Faithfulness of a method's maps: how the prediction changes as pixels are removed in the map's order.

The curves follow the softmax probability of the explained class, at `SHARES` of the pixels. Removed pixels take the
picture's mean colour; insertion starts at the blurred picture, as in RISE (with one in-fill for both, it would be LeRF
read backwards); ROAD imputes from neighbours.

Curves: Samek et al. 2017 (arXiv 1509.06321) and Petsiuk et al. 2018 (arXiv 1806.07421); ROAD: Rong et al. 2022 (arXiv
2202.00449); energy inside and pointing game: Wang et al. 2020 (arXiv 1910.01279), Zhang et al. 2016 (arXiv 1608.00507);
parameter randomisation: Adebayo et al. 2018 (arXiv 1810.03292).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from core.attribution.cam import enlarge
from core.attribution.causal import blurred, probability
from core.attribution.head import Explained
from core.attribution.imputation import impute

SHARES = tuple(step / 5 for step in range(6))
"""Shares of the pixels removed along a curve: areas differ from those of 20 steps by 0.02 a picture, by 0.007 in the
mean (EfficientNet-Lite0, n 48)."""
PROBED_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
ROAD_SHARES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Faithfulness:
    """Figures of one picture; areas under curves in 0..1 (mean probability along the curve).

    - morf: most relevant pixels removed first; lower is better.
    - lerf: least relevant first; higher is better.
    - insertion: into the blurred picture, most relevant first; higher is better.
    - road: (lerf - morf) / 2 with removed pixels imputed from their neighbours; -0.5..0.5, higher is better.
    - morf_random, insertion_random: the same for a random order: what any map must beat.
    """

    morf: float
    lerf: float
    insertion: float
    road: float
    morf_random: float
    insertion_random: float

    @property
    def ordered(self) -> bool:
        """Whether the probability falls faster in the map's order than in the reverse."""
        return self.morf < self.lerf


def faithfulness(
    classifier: Explained, batch: Tensor, maps: Tensor, targets: Tensor, *, seed: int = 0
) -> list[Faithfulness]:
    """Measure the maps (B, h, w) of a batch (B, C, H, W) for classes `targets` (B,); 31 forwards of the batch.

    Raises:
        ModelError: the model raises.
    """
    pictures = batch.detach().to(classifier.device)
    wanted = targets.to(classifier.device, torch.long)
    relevance = enlarge(maps.float(), pictures.shape[-2:])
    random = torch.rand(relevance.shape, generator=torch.Generator().manual_seed(seed))
    mean = pictures.mean(dim=(2, 3), keepdim=True).expand_as(pictures).contiguous()
    blurry = blurred(pictures)
    whole, empty, faint = (probability(classifier, each.clone(), wanted) for each in (pictures, mean, blurry))

    most, least, chance = (_ranks(order).to(pictures.device) for order in (relevance, -relevance, random))

    def removed(ranks: Tensor) -> Tensor:
        return _area(classifier, pictures, mean, ranks, wanted, ends=(whole, empty))

    def inserted(ranks: Tensor) -> Tensor:
        return _area(classifier, blurry, pictures, ranks, wanted, ends=(faint, whole))

    figures = [
        removed(most),
        removed(least),
        inserted(most),
        _road(classifier, pictures, least, most, wanted, seed=seed),
        removed(chance),
        inserted(chance),
    ]
    return [Faithfulness(*(float(figure[index]) for figure in figures)) for index in range(len(pictures))]


def separation(classifier: Explained, batch: Tensor, maps: Tensor, targets: Tensor) -> Tensor:
    """How well maps order the pixels: lerf - morf (B,) of each picture, on five points of the curves.

    Raises:
        ModelError: the model raises.
    """
    pictures = batch.detach().to(classifier.device)
    wanted = targets.to(classifier.device, torch.long)
    relevance = enlarge(maps.float(), pictures.shape[-2:])
    mean = pictures.mean(dim=(2, 3), keepdim=True).expand_as(pictures)
    least, most = (
        _area(classifier, pictures, mean, _ranks(sign * relevance), wanted, shares=PROBED_SHARES) for sign in (-1, 1)
    )
    return least - most


def _area(
    classifier: Explained,
    first: Tensor,
    second: Tensor,
    ranks: Tensor,
    targets: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    ends: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Mean probability (B,) while pixels of `first` give way to those of `second` in the order of `ranks` (B, H, W).

    `ends` are the probabilities at the first and the last share where they are known.
    """
    ranks = ranks.to(first.device)[:, None]
    inner = shares if ends is None else shares[1:-1]
    told = [probability(classifier, torch.where(ranks < share, second, first), targets) for share in inner]
    curve = torch.stack(told if ends is None else [ends[0], *told, ends[1]])
    return torch.trapezoid(curve, torch.tensor(shares), dim=0) / (shares[-1] - shares[0])


def _ranks(order: Tensor) -> Tensor:
    """Place of each pixel (B, H, W) in falling order, as a share: 0 for the largest value."""
    flat = order.flatten(1)
    sequence = flat.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(flat.shape[1], device=order.device).expand_as(sequence)
    return (torch.empty_like(sequence).scatter_(1, sequence, places) / flat.shape[1]).reshape(order.shape)


def _road(
    classifier: Explained, pictures: Tensor, least: Tensor, most: Tensor, targets: Tensor, *, seed: int
) -> Tensor:
    """ROAD (B,): half the mean difference between removing the least and the most relevant pixels, by their ranks."""
    total = torch.zeros(len(pictures))
    for sign, ranks in ((1.0, least), (-1.0, most)):
        for share in ROAD_SHARES:
            total += sign * probability(classifier, impute(pictures, ranks < share, seed=seed), targets)
    return total / (2 * len(ROAD_SHARES))


def energy_inside(map_: ArrayLike, mask: ArrayLike) -> float | None:
    """Share of a map's (h, w) mass inside an object mask (H, W), 0..1; None where the map or the mask is empty."""
    inside = np.asarray(mask, dtype=bool)
    values = _enlarged(map_, inside.shape)
    return float(values[inside].sum() / values.sum()) if values.sum() > 0 and inside.any() else None


def pointing_game(map_: ArrayLike, mask: ArrayLike) -> bool:
    """Whether the map's largest value, enlarged to the mask (H, W), lies inside it."""
    inside = np.asarray(mask, dtype=bool)
    values = _enlarged(map_, inside.shape)
    return bool(inside.flat[int(values.argmax())])


def _enlarged(map_: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.asarray(enlarge(torch.from_numpy(np.array(map_, dtype=np.float64))[None], shape)[0].numpy())


def edges(batch: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, h, w) of an edge detector (Sobel), which knows nothing of the model: a control for any method."""
    grey = batch.float().mean(dim=1, keepdim=True)
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], device=batch.device)
    across = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="reflect"), torch.stack([kernel, kernel.T])[:, None])
    strength = across.norm(dim=1)[:, None]  # (B, 1, H, W)
    found = F.adaptive_avg_pool2d(strength, (int(size[0]), int(size[1])))[:, 0]
    return (found / found.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)).cpu()


def randomised(model: nn.Module, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model with its layers re-drawn one after the other from the output to the input, five in all.

    Yields (the last layer that was randomised, the model up to there); the same object, changed further each time.
    """
    changed = copy.deepcopy(model)
    layers = [name for name, module in changed.named_modules() if _own_weights(module)][::-1]
    stops = {max(0, round(len(layers) * share) - 1) for share in (0.25, 0.5, 0.75, 1.0)} | {0}
    generator = torch.Generator().manual_seed(seed)
    for index, name in enumerate(layers):
        with torch.no_grad():
            for parameter in changed.get_submodule(name).parameters(recurse=False):
                drawn = torch.randn(parameter.shape, generator=generator)
                spread = parameter.float().std().item() if parameter.numel() > 1 else 0.0
                parameter.copy_(drawn * spread + (parameter.float().mean().item() if parameter.ndim == 1 else 0.0))
        if index in stops:
            yield name, changed


def _own_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))
