"""Where to read the map: the layers of a model that keep the picture's layout, and the one to take."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from core.classifier.layouts import Layout, find_layouts
from core.errors import ModelError, RequestError, translate_errors
from core.model_outputs import first, logits_of, with_first

NO_GRID = (
    "no layer of this model keeps the picture's layout, so class activation maps have nowhere to be read; "
    "methods that only ask the model still work (--method occlusion)"
)
_OPAQUE = "TorchScript hides this model's layers from hooks, so class activation maps have nowhere to be read; " + (
    "give the model as FILE.py:FUNCTION, or take a method that only asks the model (--method occlusion)"
)


@dataclass(frozen=True)
class Layer:
    """One layer as it ran: its dotted name, the shape (1, ...) it returned, and how often it ran in one forward pass.

    `layout` says how the output lies on the picture, None where it does not; `reached` whether the logits depend on
    more than one place of it; `inner` marks a linear projection, and one of several branches of tokens with all in it.
    """

    name: str
    shape: tuple[int, ...]
    calls: int
    layout: Layout | None = None
    reached: bool = False
    inner: bool = False

    @property
    def spatial(self) -> bool:
        """Whether a map can be read here."""
        return self.layout is not None


@dataclass(frozen=True)
class Trace:
    """One forward: the number of logits and the layers in the order in which they finished."""

    classes: int
    layers: tuple[Layer, ...]


@dataclass
class _Notes:
    """What hooks saw in one forward pass; `outputs` in order of finishing, `readers` of each input by its identity."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    readers: dict[int, tuple[object, set[str]]] = field(
        default_factory=dict
    )  # holds the input: an identity is not reused

    def note(self, name: str, inputs: tuple[object, ...], output: object) -> object:
        """Keep an output and hand on an alias of it: a layer that returns its input is not the origin of it."""
        found = first(output)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            return None
        if inputs:
            self.readers.setdefault(id(inputs[0]), (inputs[0], set()))[1].add(name)
        self.outputs.pop(name, None)
        self.outputs[name] = found.view_as(found)
        self.calls[name] += 1
        return with_first(output, self.outputs[name])

    def branches(self) -> set[str]:
        """The layers that share their input with a layer that is not inside of them nor around them."""
        found = set()
        for _, names in self.readers.values():
            for name in names:
                if any(
                    not f"{other}.".startswith(f"{name}.") and not f"{name}.".startswith(f"{other}.") for other in names
                ):
                    found.add(name)
        return found


def trace(model: nn.Module, batch: Tensor) -> Trace:
    """Run the model once on (1, C, H, W) and note what every layer returns and what the logits depend on.

    Raises:
        ModelError: the model raises or returns no logits.
    """
    try:
        logits, notes = _run(model, batch, graph=True)
    except ModelError:  # some models can only predict
        logits, notes = _run(model, batch, graph=False)
    shapes = [tuple(output.shape) for output in notes.outputs.values()]
    layouts = find_layouts(shapes, (batch.shape[-2], batch.shape[-1]))
    placed = {name: layout for name, layout in zip(notes.outputs, layouts, strict=True) if layout is not None}
    reached = _reached(logits, notes.outputs, placed)
    if not reached and logits.requires_grad:
        with _awake(model):
            logits, awake = _run(model, batch, graph=True)
            reached = _reached(logits, awake.outputs, placed)
    modules = dict(model.named_modules())
    inner = {name for name in notes.branches() if notes.outputs[name].ndim == 3}
    layers = tuple(
        Layer(
            name,
            shape,
            notes.calls[name],
            layout=placed.get(name),
            reached=name in reached,
            inner=_is_linear(modules[name]) or not inner.isdisjoint(_around(name)),
        )
        for name, shape in zip(notes.outputs, shapes, strict=True)
    )
    return Trace(logits.shape[1], layers)


def _around(name: str) -> set[str]:
    """A layer and all that it is inside of."""
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def _run(model: nn.Module, batch: Tensor, *, graph: bool) -> tuple[Tensor, _Notes]:
    """The logits, and what the layers did."""
    with torch.inference_mode(not graph), torch.set_grad_enabled(graph):
        picture = batch.detach().clone().requires_grad_(graph)
        with _noting(model) as notes, translate_errors("the model failed on a first picture"):
            output = model(picture.clone())  # not a leaf: a model may normalise its input in place
    return logits_of(output, batch.shape[0]), notes


@contextmanager
def _noting(model: nn.Module) -> Iterator[_Notes]:
    """Hooks on every layer, removed afterwards whatever happens."""
    notes, handles = _Notes(), []

    def hook(name: str) -> Callable[..., object]:
        def note(module: nn.Module, inputs: tuple[object, ...], words: dict[str, object], output: object) -> object:
            return notes.note(name, (*inputs, *words.values()), output)

        return note

    try:
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):  # they take no hooks
                handles.append(module.register_forward_hook(hook(name), with_kwargs=True))
        yield notes
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _awake(model: nn.Module) -> Iterator[None]:
    """Weights that are zero throughout, as untrained heads may be, set to values that let gradients pass; then back."""
    asleep = [weight for weight in model.parameters() if weight.ndim > 1 and not weight.any()]
    try:
        with torch.no_grad():
            for weight in asleep:
                weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight))
        yield
    finally:
        with torch.no_grad():
            for weight in asleep:
                weight.zero_()


def _reached(logits: Tensor, outputs: Mapping[str, Tensor], layouts: Mapping[str, Layout]) -> set[str]:
    """The layers with a gradient of the largest logit at more than one place.

    After the last attention of a network that reads its class token alone, patches have none; a head that looks at one
    place only (a maximum) is no map either. Empty where nothing is known: no graph, or a head of zeros.
    """
    live = {name: outputs[name] for name in layouts if outputs[name].requires_grad}
    if not logits.requires_grad or not live:
        return set()
    try:
        slopes = torch.autograd.grad(logits[0].max(), list(live.values()), allow_unused=True)
    except (RuntimeError, NotImplementedError):  # an operator without a derivative
        return set()
    return {
        name
        for name, slope in zip(live, slopes, strict=True)
        if slope is not None and int((layouts[name].to_grid(slope) != 0).any(dim=1).sum()) > 1
    }


def _is_linear(module: nn.Module) -> bool:
    """A projection of channels, also as TorchScript keeps it."""
    kept = getattr(module, "script", module)
    return isinstance(module, nn.Linear) or getattr(kept, "original_name", "") == "Linear"


def default_layer(seen: Trace) -> Layer | None:
    """The last layer with a grid on which the logits depend; None where none has a grid.

    A branch or a projection carries only a part and is passed over: where a class token alone is read, the norm before
    the last attention is taken and not its values. Where gradients say nothing, it is the last layer with a grid.
    """
    spatial = [layer for layer in seen.layers if layer.spatial]
    outer = [layer for layer in spatial if not layer.inner] or spatial
    return next((layer for layer in reversed(outer) if layer.reached), outer[-1] if outer else None)


def earlier_layer(layers: Sequence[Layer], target: str) -> Layer | None:
    """The last layer before the target with twice its cells a side, else the one half-way to it; None where none is."""
    names = [layer.name for layer in layers]
    if target not in names:
        return None
    before = [
        layer
        for layer in layers[: names.index(target)]
        if layer.calls == 1 and not layer.inner and not f"{target}.".startswith(f"{layer.name}.")
    ]
    grid = layers[names.index(target)].layout
    finer = [layer for layer in before if layer.layout and grid and layer.layout.grid[0] >= 2 * grid.grid[0]]
    return finer[-1] if finer else before[len(before) // 2] if before else None


def choose_layer(model: nn.Module, seen: Trace, *, requested: str | None = None, needed: bool = True) -> Layer:
    """The target layer: the one asked for, else the default; one without a name where there is none and none `needed`.

    Raises:
        RequestError: no such layer (the nearest names are offered), or no layer that keeps the picture's layout.
    """
    if requested is not None:
        return _requested(model, seen, requested)
    found = default_layer(seen)
    if found is None and needed:
        raise RequestError(_OPAQUE if isinstance(getattr(model, "script", model), torch.jit.ScriptModule) else NO_GRID)
    return found or Layer("", (), 0)


def _requested(model: nn.Module, seen: Trace, name: str) -> Layer:
    """The layer the user named, if it can be used."""
    there = {layer.name: layer for layer in usable_layers(seen)}
    if name in there:
        return there[name]
    near = difflib.get_close_matches(name, there, n=3, cutoff=0.3) or list(there)[-3:]
    offer = f"; nearest: {', '.join(near)}" if near else "; this model has none that could be used"
    ran = next((layer for layer in seen.layers if layer.name == name), None)
    if ran is not None and ran.spatial:
        raise RequestError(f"the logits do not depend on the places of layer {name!r}, so it has no map{offer}")
    if ran is not None:
        raise RequestError(f"layer {name!r} returns {ran.shape}, not a grid of the picture{offer}")
    if name and name in dict(model.named_modules()):
        raise RequestError(f"layer {name!r} does not run, or returns no tensor{offer}")
    raise RequestError(f"no layer {name!r} in this model{offer}")


def usable_layers(seen: Trace) -> tuple[Layer, ...]:
    """The layers that `--layer` may name, in the order in which they finish."""
    spatial = tuple(layer for layer in seen.layers if layer.spatial)
    return tuple(layer for layer in spatial if layer.reached) or spatial
