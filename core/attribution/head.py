"""One forward pass whose graph begins at the target layer.

What it changes in a model (hooks, train mode, `requires_grad`) it puts back, also when the model raises.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from core.errors import ModelError, RequestError, translate_errors
from core.model_outputs import first, logits_of, with_first


class Grid(Protocol):
    """How the target layer's output lies on the picture; see core.classifier.layouts."""

    def fits(self, activation: object, pictures: int) -> bool:
        """Whether this is an output of that kind for so many pictures."""

    def to_grid(self, activation: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """The output as (B, C, h, w)."""

    def from_grid(self, grid: Tensor, activation: Tensor) -> Tensor:
        """The output with its grid replaced."""


class Explained(Protocol):
    """What an attribution needs of a classifier."""

    @property
    def model(self) -> nn.Module:
        """The network."""

    @property
    def layer(self) -> str:
        """Dotted name of the target layer; empty where the model has none that keeps the picture's layout."""

    @property
    def layout(self) -> Grid:
        """What the target layer returns."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""


class _Unfused:
    """How many threads need PyTorch's transformer layers to run layer by layer: the switch is one for all of them."""

    def __init__(self) -> None:
        """Nobody does."""
        self._lock, self._users, self._before = threading.Lock(), 0, True

    def __enter__(self) -> None:
        """The first one switches."""
        with self._lock:
            if self._users == 0:
                self._before = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        """The last one switches back."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                torch.backends.mha.set_fastpath_enabled(self._before)


_UNFUSED = _Unfused()


def unfused() -> _Unfused:
    """PyTorch's transformer layers run layer by layer: without gradients they would pass over the layers inside."""
    return _UNFUSED


@contextmanager
def in_sequence_order(model: nn.Module) -> Iterator[None]:
    """Attention that will be differentiated gets its tokens laid out as it works on them: (L, B, C) in memory.

    `nn.MultiheadAttention` takes them as (B, L, C) and transposes; on such a view its projection becomes a batch of L
    small products, each with a copy of the weights. The values are the same.
    """

    def relay(
        module: nn.Module, inputs: tuple[object, ...], named: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]] | None:
        given = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor) and value.dim() == 3]
        if torch.backends.mha.get_fastpath_enabled() and not any(value.requires_grad for value in given):
            return None  # the fused attention takes them as they are
        laid = {id(value): value.transpose(0, 1).contiguous().transpose(0, 1) for value in given}
        # query, key and value may be one and stay one
        relaid = tuple(laid.get(id(value), value) for value in inputs)
        return relaid, {name: laid.get(id(value), value) for name, value in named.items()}

    attentions = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    handles = [block.register_forward_pre_hook(relay, with_kwargs=True) for block in attentions if block.batch_first]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """The model in eval mode with no parameter asking for a gradient; both as before afterwards."""
    training = [module for module in model.modules() if module.training]
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in asking:
            parameter.requires_grad_(True)


def forward(classifier: Explained, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Run (B, C, H, W) once: activations (B, C', h, w) of the target layer, and logits (B, K) with a graph from there.

    No parameter and no input asks for a gradient, so autograd records nothing before the target layer, whose grid is
    replaced by a leaf that does; class tokens stay as they are. The head works on a copy of the leaf: an in-place ReLU
    after it changes only the copy.

    Raises:
        ModelError: the model raises, returns no logits, or its target layer returns no grid.
    """
    seen: list[Tensor] = []
    odd = ""

    def cut(module: nn.Module, inputs: object, output: object) -> object:
        nonlocal odd
        found = first(output)
        if not classifier.layout.fits(found, batch.shape[0]):
            odd = str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__
            return None
        leaf = classifier.layout.to_grid(found.detach(), batch.shape[-2:]).requires_grad_()
        seen.append(leaf)  # a layer that runs twice is read at its last run
        return with_first(output, classifier.layout.from_grid(leaf, found).clone())

    target = _target(classifier)
    handle = target.register_forward_hook(cut)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            frozen_eval(classifier.model),
            unfused() if _fused_around(classifier) else nullcontext(),
            in_sequence_order(classifier.model),
            translate_errors("the model failed"),
        ):
            output = classifier.model(batch.detach().clone().to(classifier.device))  # some change their input in place
    finally:
        handle.remove()
    if not seen:
        told = f"returned {odd}, expected a grid for {batch.shape[0]} pictures" if odd else "did not run"
        raise ModelError(f"layer {classifier.layer} {told}")
    return seen[-1], logits_of(output, batch.shape[0])


def _target(classifier: Explained) -> nn.Module:
    """The target layer."""
    if not classifier.layer:
        raise RequestError("this model has no layer to read a class activation map at; take --method occlusion")
    try:
        return classifier.model.get_submodule(classifier.layer)
    except AttributeError as error:
        raise ModelError(f"the model has no layer {classifier.layer!r}") from error


def _fused_around(classifier: Explained) -> bool:
    """Whether the target layer lies within one that PyTorch computes as a whole, past the layers inside."""
    fused = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
    parts = classifier.layer.split(".")[:-1]
    around = (".".join(parts[: n + 1]) for n in range(len(parts)))
    return any(isinstance(classifier.model.get_submodule(name), fused) for name in around)


def gradient(scores: Tensor, activations: Tensor, *, layer: str) -> Tensor:
    """Gradient (B, C', h, w) of each picture's score (B,), a function of its logits, with respect to the activations.

    One backward for the batch: in eval mode a picture's logit depends on no other picture.

    Raises:
        ModelError: the scores do not depend on the layer through differentiable operations.
    """
    if not scores.requires_grad:
        raise ModelError(f"no gradient reaches layer {layer}: the logits do not depend on it, or it is cut off")
    with translate_errors(f"no gradient reaches layer {layer}"), torch.inference_mode(False), torch.enable_grad():
        (slopes,) = torch.autograd.grad(scores.sum(), activations)
    return slopes.detach()
