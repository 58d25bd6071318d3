"""CAM, the first of its kind: the weights of the last linear layer."""

from __future__ import annotations

import torch
from torch import Tensor

from core.attribution.cam import weighted
from core.attribution.forward_pass import ForwardPass
from core.errors import RequestError


def cam(seen: ForwardPass) -> Tensor:
    """CAM (Zhou et al. 2016, arXiv 1512.04150): L_ij = ReLU(sum_k w_ck A_kij) with the last linear layer's weights w.

    Raises:
        RequestError: the head is not global average pooling and one linear layer, which is what CAM is defined for.
    """
    activations = seen.grid
    channels = activations.shape[1]
    matrix = _last_weights(seen, activations.mean(dim=(2, 3)))  # (K, C)
    rows = [torch.full((channels,), index, device=matrix.device) for index in range(len(activations))]
    return weighted(torch.stack([seen.target.of(matrix.T, row) for row in rows]), activations)


def _last_weights(seen: ForwardPass, pooled: Tensor) -> Tensor:
    """Weights (K, C) of the layer that turns pooled activations (B, C) into the logits; checked on the numbers."""
    logits = seen.logits.detach().float()
    for module in reversed(list(seen.classifier.model.modules())):
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2:
            continue
        matrix = weight.detach().float().flatten(1)
        if matrix.shape != (logits.shape[1], pooled.shape[1]):
            continue
        bias = getattr(module, "bias", None)
        answer = pooled @ matrix.T + (bias.detach().float() if isinstance(bias, Tensor) else 0.0)
        if torch.allclose(answer, logits, rtol=1e-2, atol=1e-2 * float(logits.abs().amax())):
            return matrix
    raise RequestError("CAM needs global average pooling and one linear layer after the target layer; use gradcam")
