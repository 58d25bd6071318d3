"""The same network in less time: batch norms folded into convolutions, channels last in memory where that is faster.

In eval mode a batch norm multiplies and adds per channel, which the convolution before it can do as well (Jacob et al.
2018, arXiv 1712.05877, section 3.2). Whether it did is not read from the code but tried: what changes the logits of a
probe is put back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from core.classifier.precision import keep_channels_last
from core.errors import WhylookError
from core.model_outputs import logits_of

ALIKE = 1e-4
"""Logits may change by this share of the largest one."""
FEWEST = 3
"""A network with fewer convolutions gains nothing by another layout."""
FASTER = 1.05
"""Channels come last where that is this much faster."""


def streamline(model: nn.Module, batch: Tensor, *, keep: frozenset[str] = frozenset()) -> None:
    """Change a network (eval mode) in place so that it gives the same logits in less time.

    Args:
        model: the network; nothing happens to TorchScript.
        batch: probe pictures (B, C, H, W).
        keep: dotted names of layers whose outputs are read and stay what they are.
    """
    if isinstance(model, torch.jit.ScriptModule):
        return
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    try:
        with torch.inference_mode():
            before = _logits(model, batch)
    except (WhylookError, RuntimeError):
        return  # what ails it is said where its answer is needed
    fold_batch_norms(model, batch, before, keep=keep)
    if convolutions < FEWEST or batch.device.type not in ("cpu", "cuda"):
        return
    plain = _seconds(model, batch)
    undo = keep_channels_last(model)
    try:
        with torch.inference_mode():
            same = _same(before, _logits(model, batch))
        better = same and _seconds(model, batch) * FASTER <= plain
    except (WhylookError, RuntimeError):  # `view` over channels and places wants them as they were
        better = False
    if not better:
        undo()


@dataclass(frozen=True)
class _Pair:
    """A convolution and the batch norm that alone reads it, with the module that holds the latter."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    parent: nn.Module
    name: str


def fold_batch_norms(model: nn.Module, batch: Tensor, before: Tensor, *, keep: frozenset[str]) -> int:
    """Fold what can be folded; the network is as it was where its logits are not `before` (B, K) any more.

    Returns:
        How many batch norms are gone.
    """
    pairs = _pairs(model, batch, keep)
    if not pairs:
        return 0
    kept = [dict(pair.convolution._parameters) for pair in pairs]
    for pair in pairs:
        norm = pair.norm
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            fused = fuse_conv_bn_weights(
                pair.convolution.weight, pair.convolution.bias, norm.running_mean, norm.running_var, norm.eps,
                norm.weight, norm.bias,
            )  # fmt: skip
        pair.convolution.weight, pair.convolution.bias = (nn.Parameter(each, requires_grad=False) for each in fused)
        pair.parent._modules[pair.name] = nn.Identity().eval()
    try:
        with torch.inference_mode():
            same = _same(before, _logits(model, batch))
    except (WhylookError, RuntimeError, AttributeError):  # code that asks its batch norm something
        same = False
    if same:
        return len(pairs)
    for pair, before_it in zip(pairs, kept, strict=True):
        pair.convolution._parameters.update(before_it)
        pair.parent._modules[pair.name] = pair.norm
    return 0


def _pairs(model: nn.Module, batch: Tensor, keep: frozenset[str]) -> list[_Pair]:
    """Convolutions that run once and whose very output a batch norm takes that runs once, too."""
    outputs: dict[int, tuple[Tensor, str]] = {}  # holds each output: an identity is not reused
    convolutions, norms = {}, {}
    runs: dict[str, int] = {}
    read: dict[str, str] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and name not in keep:
            convolutions[name] = module

            def made(module: nn.Module, inputs: object, output: Tensor, name: str = name) -> None:
                runs[name] = runs.get(name, 0) + 1
                outputs[id(output)] = (output, name)

            handles.append(module.register_forward_hook(made))
        elif type(module) is nn.BatchNorm2d and module.running_mean is not None:
            norms[name] = module

            def taken(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                runs[name] = runs.get(name, 0) + 1
                if inputs and id(inputs[0]) in outputs:
                    read[name] = outputs[id(inputs[0])][1]

            handles.append(module.register_forward_pre_hook(taken))
    try:
        with torch.inference_mode():
            _logits(model, batch[:1])
    finally:
        for handle in handles:
            handle.remove()
    pairs = []
    for name, source in read.items():
        if runs[name] == runs[source] == 1 and not hasattr(convolutions[source], "parametrizations"):
            around, _, last = name.rpartition(".")
            pairs.append(_Pair(convolutions[source], norms[name], model.get_submodule(around), last))
    return pairs


def _same(before: Tensor, after: Tensor) -> bool:
    """Whether logits (B, K) are the same to rounding."""
    if before.shape != after.shape or not torch.isfinite(before).all():
        return False
    return bool((before - after).abs().max() <= ALIKE * before.abs().max().clamp(min=1e-6))


def _logits(model: nn.Module, batch: Tensor) -> Tensor:
    return logits_of(model(batch.clone()), len(batch)).float()  # some change their input in place


def _seconds(model: nn.Module, batch: Tensor) -> float:
    """The shorter of two forward passes, after one to warm up."""
    taken = []
    with torch.inference_mode():
        for _ in range(3):
            began = time.perf_counter()
            _logits(model, batch).cpu()
            taken.append(time.perf_counter() - began)
    return min(taken[1:])
