"""Class activation maps at the price of a prediction, attention statistics and the causal check.

Knows: a model, its target layer and a batch of pictures. Does not know: files, class names, DuckDB, judges. One forward
gives logits and map; gradients run from the logits back to the target layer only, so the backbone builds no graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core.attribution.attention import ATTENDED, statistics
from core.attribution.cam import METHODS, Method
from core.attribution.causal import CausalEffect, causal_check
from core.attribution.head import Explained, forward, gradient
from core.errors import RequestError

__all__ = [
    "ATTENDED",
    "METHODS",
    "BatchAttribution",
    "CausalEffect",
    "Explained",
    "Method",
    "attribute",
    "causal_check",
    "statistics",
]

VERSION = 1
"""Part of every fingerprint: raise it when the same model and picture would give another map."""

# Below this share of the largest value a map's contrast is rounding noise.
_FLAT = 1e-5


@dataclass(frozen=True)
class BatchAttribution:
    """Predictions and maps of one batch, all on the CPU.

    `logits` (B, K) float32; `targets` (B,) class indices the maps explain; `maps` (B, h, w) float32 in 0..1, largest
    value 1, zero where there is none. `reasons[i]` says why picture i has no map, `errors[i]` why it has no prediction.
    """

    logits: Tensor
    targets: Tensor
    maps: Tensor
    reasons: list[str | None]
    errors: list[str | None]

    @property
    def flat(self) -> list[bool]:
        """Whether picture i has no map worth showing."""
        return [reason is not None for reason in self.reasons]


def attribute(
    classifier: Explained, batch: Tensor, *, method: str = "gradcam", target: Tensor | None = None
) -> BatchAttribution:
    """Predict a batch (B, C, H, W) and explain each picture's predicted class, or `target` (B,) where given.

    Maps are divided by their largest value; not stretched from their smallest, for a flat map must not look confident.

    Raises:
        RequestError: no such method, or a target that is no class.
        ModelError: the model raises, returns no logits, or has no gradient between target layer and logits.
    """
    if method not in METHODS:
        raise RequestError(f"no attribution method {method!r}; there are: {', '.join(METHODS)}")
    activations, logits = forward(classifier, batch)  # (B, C, h, w), (B, K)
    values = logits.detach().float()
    targets = _targets(values, target)
    with torch.inference_mode(False), torch.enable_grad():
        scores = logits.gather(1, targets[:, None].clone())[:, 0]  # (B,)
    slopes = gradient(scores, activations, layer=classifier.layer)  # (B, C, h, w)
    with torch.no_grad():
        raw = METHODS[method](activations.detach().float(), slopes.float())  # (B, h, w)
        maps, reasons = _normalise(raw)
    usable = torch.isfinite(values).all(dim=1).tolist()
    errors = [None if fine else "the model returned logits that are not finite (NaN or infinite)" for fine in usable]
    reasons = [reason if fine else "no prediction to explain" for reason, fine in zip(reasons, usable, strict=True)]
    maps[~torch.tensor(usable)] = 0.0
    return BatchAttribution(values.cpu(), targets.cpu(), maps, reasons, errors)


def _targets(logits: Tensor, target: Tensor | None) -> Tensor:
    """The class index of each picture (B,)."""
    if target is None:
        return logits.nan_to_num(nan=float("-inf")).argmax(dim=1)
    if target.shape != (logits.shape[0],) or target.is_floating_point():
        raise RequestError(f"target must hold one class index per picture, got {target.dtype} {tuple(target.shape)}")
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise RequestError(f"target class out of range: the model has classes 0 to {logits.shape[1] - 1}")
    return target.to(logits.device, torch.long)


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
