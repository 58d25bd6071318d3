"""Class activation maps as formulas: activations and gradients in, raw maps out.

Knows: the papers. Does not know: models, hooks, normalisation. All sums run over positions (i, j) and channels k; A is
the target layer's output (B, C, h, w) and G = dS/dA the gradient of the class's logit S. Each returns (B, h, w) >= 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Method = Callable[[Tensor, Tensor], Tensor]


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2).

    w_k = mean_ij G_kij;  L_ij = ReLU(sum_k w_k A_kij).
    """
    weights = gradients.mean(dim=(2, 3))  # (B, C)
    return torch.einsum("bk,bkij->bij", weights, activations).relu()


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, arXiv 1710.11063, equations 5, 18 and 19), class score Y = exp(S).

    alpha_kij = G_kij^2 / (2 G_kij^2 + sum_ab A_kab G_kij^3), 0 where G is 0;  w_k = sum_ij alpha_kij ReLU(G_kij);
    L_ij = ReLU(sum_k w_k A_kij).

    The factor exp(S) of every w_k is left out: it scales a map as a whole. alpha is written as 1 / (2 + sum_ab A_kab
    G_kij), the same fraction reduced, which does not lose small gradients to rounding. Only places with G > 0 count.
    """
    total = activations.sum(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    denominator = 2 + total * gradients
    counts = (gradients > 0) & (denominator != 0)
    alpha = torch.where(counts, 1 / torch.where(counts, denominator, 1.0), 0.0)
    weights = (alpha * gradients).sum(dim=(2, 3))  # (B, C)
    # A picture whose gradients are not finite must not pass for one that has none.
    weights = torch.where(torch.isfinite(gradients).flatten(2).all(dim=2), weights, torch.nan)
    return torch.einsum("bk,bkij->bij", weights, activations).relu()


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM (Jiang et al. 2021, IEEE TIP 30:5875, equations 5 and 6).

    L_ij = ReLU(sum_k ReLU(G_kij) A_kij).
    """
    return (gradients.relu() * activations).sum(dim=1).relu()


METHODS: dict[str, Method] = {"gradcam": gradcam, "gradcam++": gradcam_plus_plus, "layercam": layercam}
"""By the name that `--method` takes."""
