"""How a network computes: in fp32, with its channels last in memory, or so and in bf16 where that loses nothing.

The network stays what it is, with the same layers; two hooks on it switch what happens while it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.classifier.names import PRECISIONS, Precision
from core.errors import RequestError

_LAST = "_whylook_channels_last"
"""Attribute of a network whose channels are last."""


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 faster than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        amx, avx = torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported()
        return bool(amx or avx)
    return False


def set_precision(model: nn.Module, precision: Precision, device: torch.device) -> Callable[[], None]:
    """Let a network run in a precision from now on; returns what takes that back.

    Raises:
        RequestError: no such precision, or TorchScript, which runs as it was saved.
    """
    if precision not in PRECISIONS:
        raise RequestError(f"no precision {precision!r}; there are: {', '.join(PRECISIONS)}, auto")
    if precision == "fp32":
        return lambda: None
    if isinstance(model, torch.jit.ScriptModule):
        raise RequestError("a TorchScript file runs in the precision it was saved in; leave --precision out")
    undo_layout = keep_channels_last(model)
    if precision == "channels-last":
        return undo_layout
    entered = threading.local()  # several threads may compute at a time, each in a copy that shares these hooks

    def begin(module: nn.Module, inputs: tuple[object, ...]) -> None:
        context = torch.autocast(device.type, torch.bfloat16)
        context.__enter__()  # type: ignore[no-untyped-call]
        entered.__dict__.setdefault("contexts", []).append(context)

    def end(module: nn.Module, inputs: object, output: object) -> None:
        if contexts := entered.__dict__.get("contexts"):
            contexts.pop().__exit__(None, None, None)

    handles = [model.register_forward_pre_hook(begin), model.register_forward_hook(end, always_call=True)]

    def undo() -> None:
        for handle in handles:
            handle.remove()
        undo_layout()

    return undo


def is_channels_last(model: nn.Module) -> bool:
    """Whether a network was set to compute with its channels last."""
    return bool(getattr(model, _LAST, False))


def keep_channels_last(model: nn.Module) -> Callable[[], None]:
    """Let a network compute with its channels last in memory from now on; returns what takes that back."""
    if is_channels_last(model):
        return lambda: None
    model.to(memory_format=torch.channels_last)
    setattr(model, _LAST, True)

    def lay(module: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(_channels_last(value) for value in inputs)

    handle = model.register_forward_pre_hook(lay)

    def undo() -> None:
        handle.remove()
        delattr(model, _LAST)
        model.to(memory_format=torch.contiguous_format)

    return undo


def _channels_last(value: object) -> object:
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value
