"""Attention maps of vision transformers: rollout and gradient-weighted attention.

The function is written out while the model runs, so torchvision's, timm's and Hugging Face's transformers need no code
of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from core.attribution.forward_pass import ForwardPass
from core.attribution.head import frozen_eval, in_sequence_order, unfused
from core.errors import RequestError, translate_errors
from core.model_outputs import logits_of

MOST_PREFIX = 16
"""Class and register tokens stand before the patches; no published network has more."""


@contextmanager
def _written_out() -> Iterator[list[Tensor]]:
    """Attention written out as softmax(Q K^T / sqrt d) V for a while; collects the weights (B, heads, N, N) of each."""
    kept: list[Tensor] = []

    def attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        weights = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            weights = weights.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            weights = weights + attn_mask
        weights = weights.softmax(dim=-1)
        kept.append(weights)
        return weights @ value

    fused = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attention
    try:
        with unfused():  # PyTorch's fused encoder layer shows no weights
            yield kept
    finally:
        F.scaled_dot_product_attention = fused


def _watched(seen: ForwardPass, *, slopes: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Attention weights (B, heads, N, N) of every block in order, and dS/d(weights) where asked for.

    Raises:
        RequestError: the model has no attention from every token to every token.
    """
    model = seen.classifier.model
    batch = seen.batch.detach().clone().requires_grad_(slopes)
    with ExitStack() as stack:
        for context in (
            torch.inference_mode(False),
            torch.set_grad_enabled(slopes),
            frozen_eval(model),
            in_sequence_order(model),
            translate_errors("the model failed"),
        ):
            stack.enter_context(context)
        with _written_out() as weights:
            logits = logits_of(model(batch), batch.shape[0])
        if not weights or len({block.shape for block in weights}) != 1 or len(weights[0]) != len(batch):
            raise RequestError("this method needs a transformer whose blocks attend from every token to every token")
        if not slopes:
            return weights, []
        return weights, list(torch.autograd.grad(seen.target.of(logits).sum(), weights))


def rollout(seen: ForwardPass) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928, equation 1): it depends on no class.

    R_l = (A_l / 2 + I / 2) R_{l-1} with A_l the mean over heads of block l;  L is the class token's row of R.
    """
    weights, _ = _watched(seen, slopes=False)
    return _patches(seen, [0.5 * block.float().mean(dim=1) for block in weights], rest=0.5)


def gradient_attention(seen: ForwardPass) -> Tensor:
    """Gradient-weighted attention (Chefer, Gur & Wolf 2021, arXiv 2103.15679, equations 5 and 6).

    R_l = (I + mean over heads of ReLU(dS/dA_l o A_l)) R_{l-1};  L is the class token's row of R. It needs the graph of
    the whole model: about three times the time and memory of a prediction.
    """
    weights, slopes = _watched(seen, slopes=True)
    each = [(slope * block).relu().mean(dim=1).detach().float() for block, slope in zip(weights, slopes, strict=True)]
    return _patches(seen, each, rest=1.0)


def _patches(seen: ForwardPass, steps: list[Tensor], *, rest: float) -> Tensor:
    """Relevance (B, h, w) of the patches: the product of (`rest` I + step), read from the class token's row.

    A model without a class token is read from the mean of all rows.
    """
    count = steps[0].shape[-1]
    identity = rest * torch.eye(count, device=steps[0].device)
    relevance = steps[0] + identity
    for step in steps[1:]:
        relevance = (step + identity) @ relevance
    height, width = seen.grid.shape[-2:]
    prefix = count - height * width
    if not 0 <= prefix <= MOST_PREFIX:
        raise RequestError("this method needs a target layer of patch tokens")
    row = relevance[:, 0] if prefix else relevance.mean(dim=1)
    return row[:, prefix:].reshape(-1, height, width)
