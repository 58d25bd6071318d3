"""Smooth Grad-CAM++: gradients averaged over noisy copies of the picture.

The noise of a picture depends on its own pixels, never on the batch.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from core.attribution.cam import weighted
from core.attribution.forward_pass import ForwardPass
from core.attribution.head import forward, gradient

SAMPLES = 8
SPREAD = 0.15
"""Standard deviation of the noise as a share of a picture's range of values (SmoothGrad, arXiv 1706.03825: 10-20%)."""


def smooth_gradcam_plus_plus(seen: ForwardPass) -> Tensor:
    """Smooth Grad-CAM++ (Omeiza et al. 2019, arXiv 1908.01224, equations 5 to 7); costs `SAMPLES` more forward passes.

    D_p = mean over noisy copies of G^p;  alpha_kij = D_2 / (2 D_2 + sum_ab A_kab D_3);
    w_k = sum_ij alpha_kij ReLU(D_1);  L = ReLU(sum_k w_k A_k).

    The paper prints D_1 over the fraction bar; with one copy without noise that is not Grad-CAM++, which the method is
    said to generalise, so the numerator here is D_2, as in torch-cam. torch-cam takes ReLU of the last copy's gradient
    alone, not of the mean D_1 of the paper: there the paper is right.
    """
    noise = [torch.zeros_like(seen.batch) for _ in range(SAMPLES)]
    for index, picture in enumerate(seen.batch):
        for sample, values in enumerate(_noise(picture)):
            noise[sample][index] = values
    first, second, third = (torch.zeros_like(seen.grid) for _ in range(3))
    for drawn in noise:
        activations, logits = forward(seen.classifier, seen.batch + drawn)
        with torch.inference_mode(False), torch.enable_grad():
            scores = seen.target.of(logits)
        slopes = gradient(scores, activations, layer=seen.classifier.layer).float()
        first += slopes / SAMPLES
        second += slopes**2 / SAMPLES
        third += slopes**3 / SAMPLES
    return averaged(seen.grid, first, second, third)


def averaged(activations: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """The map (B, h, w) of activations A and mean powers D_1, D_2, D_3 of the gradient, all (B, C, h, w)."""
    denominator = 2 * second + activations.sum(dim=(2, 3), keepdim=True) * third
    alpha = torch.where(denominator == 0, 0.0, second / torch.where(denominator == 0, 1.0, denominator))
    return weighted((alpha * first.relu()).sum(dim=(2, 3)), activations)


def _noise(picture: Tensor) -> Tensor:
    """Noise (SAMPLES, C, H, W) for one picture, the same wherever it stands."""
    pixels = picture.detach().float().cpu().contiguous()
    seed = int.from_bytes(hashlib.sha256(pixels.numpy().tobytes()).digest()[:8], "little") >> 1
    drawn = torch.randn((SAMPLES, *picture.shape), generator=torch.Generator().manual_seed(seed))
    return (drawn * SPREAD * float(pixels.max() - pixels.min())).to(picture)
