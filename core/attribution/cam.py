"""Class activation maps as formulas: activations and gradients in, raw maps out.

All sums run over positions (i, j) and channels k; A is the target layer's output (B, C, h, w) and G = dS/dA the
gradient of the class's logit S. Each returns (B, h, w) >= 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, h, w) enlarged to `size` (H, W) by bilinear interpolation between cell centres."""
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def weighted(weights: Tensor, activations: Tensor) -> Tensor:
    """ReLU(sum_k w_k A_kij) of weights (B, C)."""
    return torch.einsum("bk,bkij->bij", weights, activations).relu()


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2).

    w_k = mean_ij G_kij;  L_ij = ReLU(sum_k w_k A_kij).
    """
    return weighted(gradients.mean(dim=(2, 3)), activations)


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
    return weighted(weights, activations)


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM (Jiang et al. 2021, IEEE TIP 30:5875, equations 5 and 6).

    L_ij = ReLU(sum_k ReLU(G_kij) A_kij).
    """
    return (gradients.relu() * activations).sum(dim=1).relu()


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM (Fu et al. 2020, arXiv 2008.02312, equation 8).

    w_k = sum_ij (A_kij / sum_ab A_kab) G_kij, 0 where the channel's sum is 0;  L_ij = ReLU(sum_k w_k A_kij).
    """
    total = activations.sum(dim=(2, 3))  # (B, C)
    product = (activations * gradients).sum(dim=(2, 3))
    return weighted(torch.where(total == 0, 0.0, product / torch.where(total == 0, 1.0, total)), activations)


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM (Draelos & Carin 2020, arXiv 2011.08891, equation 4), its positive part.

    L_ij = ReLU(sum_k G_kij A_kij).
    """
    return (gradients * activations).sum(dim=1).relu()


def eigencam(activations: Tensor) -> Tensor:
    """Eigen-CAM (Muhammad & Yeasin 2020, arXiv 2008.00299): activations along their first right singular vector.

    A_(hw x C) = U Sigma V^T;  L = ReLU(A V_1). V_1's sign, which a decomposition leaves open, is the one that gives the
    larger sum. It depends on no class. pytorch-grad-cam centres A first, which the paper does not: its map is the first
    principal component, and its sign is left to chance.
    """
    flat = activations.flatten(2).transpose(1, 2)  # (B, hw, C)
    finite = torch.isfinite(flat).flatten(1).all(dim=1)
    first = torch.linalg.svd(torch.where(finite[:, None, None], flat, 0.0), full_matrices=False).Vh[:, 0]  # (B, C)
    projected = torch.einsum("bnc,bc->bn", flat, first)
    projected = projected * torch.where(projected.sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    return projected.relu().reshape(-1, *activations.shape[2:])
