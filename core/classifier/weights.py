"""Weights from a file into a model, without running any code from that file.

Knows: state dicts, safetensors, what people wrap them in. Does not know: where models come from.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.classifier.names import names_from
from core.classifier.sources import Source
from core.errors import RequestError
from core.foreign import Foreign

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.")
_NAME_KEYS = ("class_names", "classes", "categories", "class_to_idx", "idx_to_class")


def read_weights(file: Path) -> tuple[dict[str, Tensor], list[str] | None]:
    """The tensors of a weights file by name, and class names if it holds any.

    Accepts safetensors, plain state dicts, `{"state_dict": ...}` and the like, and a `module.` prefix. Pickles are read
    with `weights_only=True`: a file that carries code is refused, not run.

    Raises:
        RequestError: missing, damaged, carries code, or holds no tensors.
    """
    if not file.is_file():
        raise RequestError(f"no such weights file: {file}")
    if file.suffix.lower() == ".safetensors":
        try:
            return _without_prefix(load_file(file)), None
        except (SafetensorError, OSError) as error:
            raise RequestError(f"{file.name} is no safetensors file that can be read: {error}") from error
    content = _unpickle(file)
    if not isinstance(content, Mapping):
        raise RequestError(f"{file.name} holds a {type(content).__name__}, expected a state dict")
    tensors: Mapping[Any, Any] = content
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            tensors = content[key]
            break
    state = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not state:
        raise RequestError(f"{file.name} holds no tensors: save model.state_dict()")
    return _without_prefix(state), _names_in(content)


def _unpickle(file: Path) -> Any:
    """What a .pt file holds, if that is only data."""
    try:
        with warnings.catch_warnings(), Foreign(f"{file.name} cannot be read", raises=RequestError):
            warnings.simplefilter("ignore")  # on newer pickle protocols; what matters is whether it loads
            return torch.load(file, map_location="cpu", weights_only=True)
    except RequestError as error:
        cause = error.__cause__
        told = str(cause)
        if isinstance(cause, pickle.UnpicklingError) and ("global" in told.lower() or _is_pickle(file)):
            raise RequestError(
                f"{file.name} carries code or objects besides tensors and was refused; "
                "save model.state_dict() (or safetensors) instead of the whole model"
            ) from cause
        if "TorchScript" in told:
            raise RequestError(f"{file.name} is a TorchScript archive: use --classifier torchscript:{file}") from cause
        raise RequestError(f"{file.name} is no PyTorch weights file, or is damaged") from cause


def _is_pickle(file: Path) -> bool:
    """Whether the file is a bare pickle of protocol 2 or later: a list of instructions, not only data."""
    with file.open("rb") as stream:
        return stream.read(1) == b"\x80"


def _names_in(content: Mapping[Any, Any]) -> list[str] | None:
    """Class names that a checkpoint carries beside its tensors."""
    for key in _NAME_KEYS:
        if key in content:
            try:
                return names_from(content[key])
            except (ValueError, TypeError):
                continue
    return None


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as the bare model has them: DataParallel and torch.compile put a prefix before all of them."""
    names = dict(state)
    for _ in _PREFIXES:
        for prefix in _PREFIXES:
            if names and all(name.startswith(prefix) for name in names):
                names = {name.removeprefix(prefix): value for name, value in names.items()}
    return names


def apply_weights(source: Source, state: Mapping[str, Tensor], *, file: Path) -> Source:
    """The source with these weights in its model; the last layer is made anew where only the classes differ in number.

    Raises:
        RequestError: names or shapes that do not fit, with the first of them.
    """
    problem, odd = _misfit(source.model, state)
    classes = _other_classes(source.model, state, odd)
    if source.rebuild is not None and classes is not None:
        source = replace(source, model=source.rebuild(classes))
        problem, odd = _misfit(source.model, state)
    if problem:
        raise RequestError(f"{file.name} does not fit the model: {problem}")
    with Foreign(f"{file.name} does not fit the model", raises=RequestError):
        source.model.load_state_dict(dict(state), strict=False)
    return replace(source, notes=tuple(note for note in source.notes if note != source.untrained), untrained="")


def _misfit(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, list[str]]:
    """What does not fit, in words ("" when all does), and the names whose shapes differ."""
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    # Older checkpoints lack this counter, which only training uses.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in own]
    odd = [name for name in own if name in state and own[name].shape != state[name].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {len(own)} tensors are missing (first: {missing[0]})")
    if extra:
        parts.append(f"{len(extra)} are unknown to it (first: {extra[0]})")
    if odd:
        first = odd[0]
        shapes = f"{first} is {tuple(state[first].shape)}, not {tuple(own[first].shape)}"
        parts.append(f"{len(odd)} have another shape (first: {shapes})")
    return "; ".join(parts), odd


def _other_classes(model: nn.Module, state: Mapping[str, Tensor], odd: list[str]) -> int | None:
    """The number of classes in the file, if that is the only thing that differs."""
    own = model.state_dict()
    if not odd or any(own[name].shape[1:] != state[name].shape[1:] for name in odd):
        return None
    sizes = {int(state[name].shape[0]) for name in odd}
    return sizes.pop() if len(sizes) == 1 else None
