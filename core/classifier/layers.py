"""Where to read the map: the layers of a model that keep the picture's layout, and the one to take.

Knows: what a model's layers return on one picture. Does not know: attribution methods, files.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import RequestError
from core.foreign import Foreign, logits_of


@dataclass(frozen=True)
class Layer:
    """One layer as it ran: its dotted name, the shape (B, ...) it returned, and how often it ran in one forward."""

    name: str
    shape: tuple[int, ...]
    spatial: bool
    calls: int


@dataclass(frozen=True)
class Trace:
    """One forward: the number of logits and the layers in the order in which they finished."""

    classes: int
    layers: tuple[Layer, ...]


def trace(model: nn.Module, batch: Tensor) -> Trace:
    """Run the model once on (1, C, H, W) and note what every layer returns.

    Raises:
        ModelError: the model raises or returns no logits.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    calls: Counter[str] = Counter()
    with _noting(model, shapes, calls), Foreign("the model failed on a first picture"), torch.inference_mode():
        output = model(batch)
    classes = logits_of(output, batch.shape[0]).shape[1]
    size = (batch.shape[-2], batch.shape[-1])
    layers = tuple(Layer(name, shape, _is_spatial(shape, size), calls[name]) for name, shape in shapes.items())
    return Trace(classes, layers)


@contextmanager
def _noting(model: nn.Module, shapes: dict[str, tuple[int, ...]], calls: Counter[str]) -> Iterator[None]:
    """Hooks on every layer, removed afterwards whatever happens."""
    handles = []

    def hook(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                shapes.pop(name, None)  # last in the order of finishing
                shapes[name] = tuple(output.shape)
                calls[name] += 1

        return note

    try:
        for name, module in model.named_modules():
            if name:
                handles.append(module.register_forward_hook(hook(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_spatial(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether (B, C, h, w) keeps the layout of a picture of this size: not channels-last, not attention weights."""
    if len(shape) != 4 or min(shape[2:]) < 2 or shape[2] > size[0] or shape[3] > size[1]:
        return False
    height, width = shape[2:]
    # Rounding in strides may add or lose one cell on either side.
    return (height - 1) / (width + 1) <= size[0] / size[1] <= (height + 1) / (width - 1)


def choose_layer(model: nn.Module, seen: Trace, *, requested: str | None = None) -> str:
    """The target layer: the one asked for, else the last that returns (B, C, h, w) with h and w above 1.

    Raises:
        RequestError: no such layer (the nearest names are offered), or no layer that keeps the picture's layout.
    """
    candidates = [layer.name for layer in seen.layers if layer.spatial]
    if requested is not None:
        return _requested(model, seen, requested, candidates)
    if not candidates:
        hidden = isinstance(model, torch.jit.ScriptModule)
        raise RequestError(
            "TorchScript hides its layers from hooks, so there is nowhere to read a map; "
            "give the model as FILE.py:FUNCTION"
            if hidden
            else "no layer of this model keeps the picture's layout (B, C, h, w), "
            "so class activation maps do not apply to it"
        )
    last = candidates[-1]
    if _is_transformer(seen, last):
        raise RequestError(
            f"this looks like a transformer: after {last} it works on tokens, which class activation maps here do not "
            f"read yet; choose a layer that keeps the picture's layout with --layer ({', '.join(candidates[-3:])})"
        )
    return last


def _is_transformer(seen: Trace, last: str) -> bool:
    """Whether more layers work on tokens after the last spatial one than on pictures before it."""
    place = next(index for index, layer in enumerate(seen.layers) if layer.name == last)
    tokens = sum(
        1
        for layer in seen.layers[place + 1 :]
        if len(layer.shape) in {3, 4} and not layer.spatial and min(layer.shape[1:3]) > 1
    )
    return tokens > place + 1


def _requested(model: nn.Module, seen: Trace, name: str, candidates: list[str]) -> str:
    """The layer the user named, if it can be used."""
    if name in candidates:
        return name
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.3) or candidates[-3:]
    offer = f"; nearest: {', '.join(near)}" if near else "; this model has none that could be used"
    ran = next((layer for layer in seen.layers if layer.name == name), None)
    if ran is not None:
        raise RequestError(f"layer {name!r} returns {ran.shape}, not a grid (pictures, channels, h, w){offer}")
    if name and name in dict(model.named_modules()):
        raise RequestError(f"layer {name!r} does not run, or returns no tensor{offer}")
    raise RequestError(f"no layer {name!r} in this model{offer}")


def list_layers(model: nn.Module, batch: Tensor) -> list[Layer]:
    """The layers that `--layer` may name, in the order in which they finish, for a picture (1, C, H, W)."""
    return [layer for layer in trace(model, batch).layers if layer.spatial]
