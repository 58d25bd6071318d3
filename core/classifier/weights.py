"""Weights from a file into a model, without running any code from that file."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.classifier.archive import check_regular, check_unpacked
from core.classifier.class_names import names_from
from core.classifier.pickles import PickleRefused, check_pickles
from core.classifier.sources import Source
from core.errors import MAX_REASON, RequestError, translate_errors

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
    check_regular(file, "weights file")
    if file.suffix.lower() == ".safetensors":
        try:
            return _without_prefix(load_file(file)), None
        except (SafetensorError, OSError) as error:
            told = _shown(str(error))
            raise RequestError(f"{file.name} is no safetensors file that can be read: {told}") from error
    check_unpacked(file)
    content = _unpickle(file)
    if not isinstance(content, Mapping):
        raise RequestError(f"{file.name} holds a {type(content).__name__}, expected a state dict")
    tensors: Mapping[object, object] = content
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            tensors = content[key]
            break
    state = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not state:
        raise RequestError(f"{file.name} holds no tensors: save model.state_dict()")
    return _without_prefix(state), _names_in(content)


def _unpickle(file: Path) -> object:
    """What a .pt file holds, if that is only data."""
    try:
        with warnings.catch_warnings(), translate_errors(f"{file.name} cannot be read", raises=RequestError):
            warnings.simplefilter("ignore")  # on newer pickle protocols; what matters is whether it loads
            check_pickles(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except RequestError as error:
        cause = error.__cause__
        told = str(cause)
        if isinstance(cause, PickleRefused):
            raise RequestError(
                f"{file.name} {told} and was refused; "
                "save model.state_dict() (or safetensors) instead of the whole model"
            ) from cause
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


def _names_in(content: Mapping[object, object]) -> list[str] | None:
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

    Values of another type are cast; where that may change them, a note says so.

    Raises:
        RequestError: names, shapes or kinds of tensor that do not fit, or values that are no numbers; the first.
    """
    problem, odd = _misfit(source.model, state)
    classes = _other_classes(source.model, state, odd)
    if source.rebuild is not None and classes is not None:
        source = replace(source, model=source.rebuild(classes))
        problem, odd = _misfit(source.model, state)
    if problem:
        raise RequestError(f"{file.name} does not fit the model: {problem}")
    _check_values(source.model, state, file)
    cast = _cast(source.model, state, file)
    with translate_errors(f"{file.name} does not fit the model", raises=RequestError):
        source.model.load_state_dict(dict(state), strict=False)
    notes = (note for note in source.notes if note != source.untrained)
    return replace(source, notes=(*notes, *cast), untrained="")


def _check_values(model: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse tensors that a model cannot be given: packed in another way, without values, or with NaN in them."""
    weights = {name for name, _ in model.named_parameters()}
    for name, value in state.items():
        odd = (
            "is quantised" if value.is_quantized
            else "is sparse" if value.layout != torch.strided
            else "is nested" if value.is_nested
            else "has no values (device meta)" if value.is_meta
            else "holds complex numbers" if value.is_complex()
            else ""
        )  # fmt: skip
        if odd:
            raise RequestError(
                f"{file.name} does not fit the model: {_shown(name)} {odd}; save plain tensors (dense, floating-point)"
            )
        if name in weights and value.is_floating_point() and bool(value.to(torch.float32).isnan().any()):
            raise RequestError(
                f"{file.name} holds values that are no numbers (NaN, first in {_shown(name)}): the training it comes "
                "from has diverged; name an earlier checkpoint"
            )


def _cast(model: nn.Module, state: Mapping[str, Tensor], file: Path) -> list[str]:
    """A sentence per pair of types that the model has otherwise than the file and that may change values."""
    found: dict[tuple[torch.dtype, torch.dtype], list[str]] = {}
    for name, own in model.state_dict().items():
        given = state.get(name)
        if isinstance(own, Tensor) and given is not None and not _holds(own.dtype, given.dtype):
            found.setdefault((given.dtype, own.dtype), []).append(name)
    return [
        f"{file.name} holds {len(names)} of the model's tensors as {_word(given)} where it has {_word(own)} (first: "
        f"{names[0]}): they were cast, and predictions may differ from those of the model they come from."
        for (given, own), names in found.items()
    ]


def _holds(own: torch.dtype, given: torch.dtype) -> bool:
    """Whether every value of the given type is one of the model's own type too."""
    if own == given or not (own.is_floating_point and given.is_floating_point):
        return own == given
    wide, narrow = torch.finfo(own), torch.finfo(given)
    return wide.max >= narrow.max and wide.eps <= narrow.eps


def _word(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _shown(text: str) -> str:
    """A name out of a file as it may stand in a message: no control characters, not endless."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)[:MAX_REASON]


def _misfit(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, list[str]]:
    """What does not fit, in words ("" when all does), and the names whose shapes differ."""
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    # Older checkpoints lack this counter, which only training uses.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in own]
    odd = [name for name in own if name in state and own[name].shape != state[name].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {len(own)} tensors are missing (first: {_shown(missing[0])})")
    if extra:
        parts.append(f"{len(extra)} are unknown to it (first: {_shown(extra[0])})")
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
