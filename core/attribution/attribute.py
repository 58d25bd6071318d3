"""Class activation maps at the price of a prediction.

Knows: a model, its target layer and a batch of pictures. Does not know: files, class names, DuckDB, judges. One forward
pass gives logits and map; gradients run from the logits back to the target layer only, so the backbone builds no graph.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.attribution.attention import rank_correlation
from core.attribution.cam import gradcam, layercam
from core.attribution.class_target import ClassTarget, class_target
from core.attribution.features import Features, Sketcher
from core.attribution.forward_pass import ForwardPass
from core.attribution.head import Explained, forward
from core.attribution.methods import METHODS, Method
from core.attribution.names import Question
from core.errors import RequestError

LARGEST_SIDE = 28
"""Maps per pixel are averaged down to at most this many cells a side."""

# Below this share of the largest value a map's contrast is rounding noise.
_FLAT = 1e-5


@dataclass(frozen=True)
class BatchAttribution:
    """Predictions and maps of one batch, all on the CPU.

    `logits` (B, K) float32; `targets` (B,) class indices the maps explain; `maps` (B, h, w) float32 in 0..1, largest
    value 1, zero where there is none. `reasons[i]` says why picture i has no map, `errors[i]` why it has no prediction.
    `agreement[i]` is the rank correlation, -1..1, of its Grad-CAM and its LayerCAM map, which cost nothing once there
    is a gradient; None for methods without one. `features` are there where they were asked for and a layer is read.
    """

    logits: Tensor
    targets: Tensor
    maps: Tensor
    reasons: list[str | None]
    errors: list[str | None]
    agreement: list[float | None]
    features: Features | None = None

    @property
    def flat(self) -> list[bool]:
        """Whether picture i has no map worth showing."""
        return [reason is not None for reason in self.reasons]


def attribute(
    classifier: Explained,
    batch: Tensor,
    *,
    method: str = "gradcam",
    question: Question = "predicted",
    labels: Tensor | None = None,
    target: Tensor | None = None,
    sketcher: Sketcher | None = None,
) -> BatchAttribution:
    """Predict a batch (B, C, H, W) and explain each picture's predicted class.

    Maps are divided by their largest value; not stretched from their smallest, for a flat map must not look confident.

    Args:
        classifier: the model.
        batch: the pictures as the model sees them.
        method: a key of METHODS.
        question: which class is explained; see `class_target`.
        labels: (B,) index of each picture's label, -1 where there is none; for the questions that ask for it.
        target: (B,) class indices to explain instead.
        sketcher: keeps what the model saw, where the method reads a layer.

    Raises:
        RequestError: no such method, one that does not fit the model, or a target that is no class.
        ModelError: the model raises, returns no logits, or has no gradient between target layer and logits.
    """
    if method not in METHODS:
        raise RequestError(f"no attribution method {method!r}; there are: {', '.join(METHODS)}")
    with sketcher.watching(classifier.model) if sketcher else nullcontext():
        seen = _predict(classifier, batch, METHODS[method])
    values = seen.logits.detach().float()
    seen.target = class_target(question, values, labels) if target is None else ClassTarget(_targets(values, target))
    with torch.no_grad():
        maps, reasons = _normalise(_small(METHODS[method].maps(seen)))
    usable = torch.isfinite(values).all(dim=1).tolist()
    errors = [None if fine else "the model returned logits that are not finite (NaN or infinite)" for fine in usable]
    reasons = [reason if fine else "no prediction to explain" for reason, fine in zip(reasons, usable, strict=True)]
    maps[~torch.tensor(usable)] = 0.0
    features = None if sketcher is None or seen.activations is None else sketcher.features(seen, maps)
    targets = seen.target.targets.cpu()
    return BatchAttribution(values.cpu(), targets, maps, reasons, errors, _agreement(seen), features)


def _agreement(seen: ForwardPass) -> list[float | None]:
    """How alike a Grad-CAM and a LayerCAM map of each picture are; None where no gradient was taken."""
    if "gradients" not in vars(seen):
        return [None] * len(seen.batch)
    two = [formula(seen.grid, seen.gradients).cpu().numpy() for formula in (gradcam, layercam)]
    return [rank_correlation(*pair) for pair in zip(*two, strict=True)]


def _predict(classifier: Explained, batch: Tensor, method: Method) -> ForwardPass:
    """One forward; its graph begins at the target layer, or there is none where the method needs no layer."""
    nothing = ClassTarget(torch.zeros(len(batch), dtype=torch.long))
    inputs = batch.detach().to(classifier.device)
    if method.needs == "model":
        seen = ForwardPass(classifier, inputs, torch.empty(0), nothing)
        seen.logits = seen.predict(inputs.clone())
        return seen
    activations, logits = forward(classifier, inputs)  # (B, C, h, w), (B, K)
    return ForwardPass(classifier, inputs, logits, nothing, activations)


def _targets(logits: Tensor, target: Tensor) -> Tensor:
    """The class index of each picture (B,)."""
    if target.shape != (logits.shape[0],) or target.is_floating_point():
        raise RequestError(f"target must hold one class index per picture, got {target.dtype} {tuple(target.shape)}")
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise RequestError(f"target class out of range: the model has classes 0 to {logits.shape[1] - 1}")
    return target.to(logits.device, torch.long)


def _small(maps: Tensor) -> Tensor:
    """Maps (B, h, w), averaged down where they have more cells than are stored."""
    size = (min(maps.shape[1], LARGEST_SIDE), min(maps.shape[2], LARGEST_SIDE))
    return maps if maps.shape[1:] == size else F.adaptive_avg_pool2d(maps[:, None], size)[:, 0]


def _normalise(raw: Tensor) -> tuple[Tensor, list[str | None]]:
    """Raw maps (B, h, w) divided by their largest value, on the CPU, and the reason where one is no picture."""
    raw = raw.cpu()
    finite = torch.isfinite(raw).flatten(1).all(dim=1)
    safe = torch.where(finite[:, None, None], raw, torch.zeros(())).clamp(min=0)
    top = safe.flatten(1).amax(dim=1)
    spread = top - safe.flatten(1).amin(dim=1)
    reasons: list[str | None] = []
    for fine, high, contrast in zip(finite.tolist(), top.tolist(), spread.tolist(), strict=True):
        if not fine:
            reasons.append("the map is not finite")
        elif high <= 0:
            reasons.append("the map is zero everywhere: nothing at this layer speaks for the class")
        elif contrast <= _FLAT * high:
            reasons.append("the map is flat: no place counts more than another")
        else:
            reasons.append(None)
    kept = torch.tensor([reason is None for reason in reasons])
    maps = torch.where(kept[:, None, None], safe / top.clamp(min=torch.finfo(safe.dtype).tiny)[:, None, None], 0.0)
    return maps.float(), reasons
