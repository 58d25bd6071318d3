"""What a SPEC names: a model with its preprocessing and, where it has them, its class names."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

from core.classifier.archive import check_regular, load_archive
from core.classifier.class_names import names_from
from core.classifier.names import SPECS
from core.classifier.preprocess import plain_transform
from core.classifier.torchscript import unroll
from core.errors import RequestError, one_line, translate_errors

_UNTRAINED = "No weights were given: this model is untrained and its predictions are chance."
_NO_TRANSFORM = "The model came without a transform: ImageNet mean and deviation, at each picture's own size."


@dataclass(frozen=True)
class Source:
    """What was opened. `known` marks names that are a general list; `rebuild` makes it for other classes."""

    model: nn.Module
    transform: Callable[[Image.Image], object]
    names: Sequence[str] | None = None
    known: bool = False
    code: bytes = b""
    rebuild: Callable[[int], nn.Module] | None = None
    notes: tuple[str, ...] = ()
    untrained: str = ""


def open_source(spec: str, *, weights: Path | None = None) -> Source:
    """Open what `spec` names; random weights come from a fixed seed, so that the same SPEC is the same model.

    The name of the file `weights`, which is not read here, tells which of torchvision's published weights it is.

    Raises:
        RequestError: the SPEC has no known form, or what it names is missing or fails.
    """
    kind, colon, name = spec.partition(":")
    file, _, function = spec.rpartition(":")
    openers: dict[str, Callable[[str], Source]] = {
        "torchvision": lambda name: _torchvision(name, weights),
        "timm": _timm,
        "hf": _hugging_face,
        "torchscript": _torchscript,
    }
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        if file.endswith(".py") and function:
            return _user_function(Path(file).expanduser(), function)
        if colon and name and kind in openers:
            return openers[kind](name)
    raise RequestError(f"--classifier {spec!r} has no form that is known: use {', '.join(SPECS)}")


def _torchvision(name: str, weights: Path | None) -> Source:
    """An architecture of torchvision with its weights' preprocessing and ImageNet's categories; no download."""
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
        raise RequestError(f"torchvision has no classifier {name!r}; nearest: {', '.join(near)}")
    recipe, assumed = _recipe(name, weights)
    # These two warn and take minutes over an initialisation that trained weights replace.
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    return Source(
        model=models.get_model(name, weights=None, **options),
        transform=recipe.transforms(),
        names=list(recipe.meta["categories"]),
        known=True,
        rebuild=lambda classes: models.get_model(name, weights=None, num_classes=classes, **options),
        notes=(_UNTRAINED, *assumed),
        untrained=_UNTRAINED,
    )


def _recipe(name: str, weights: Path | None) -> tuple[WeightsEnum, tuple[str, ...]]:
    """The published weights whose file this is; else the default ones and, with a file, a note that says so."""
    published = models.get_model_weights(name)
    for recipe in published:
        if weights is not None and weights.name == recipe.url.rpartition("/")[2]:
            return recipe, ()
    note = f"Preprocessing is that of torchvision's {published.DEFAULT}: the weights do not say what theirs is."
    return published.DEFAULT, (note,) if weights is not None else ()


def _timm(name: str) -> Source:
    """An architecture of timm with its own preprocessing; no download."""
    timm = _optional("timm", "pip install timm")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)
        raise RequestError(f"timm has no architecture {name!r}" + (f"; nearest: {', '.join(near)}" * bool(near)))
    with translate_errors(f"timm cannot make {name!r}", raises=RequestError):
        model = timm.create_model(name, pretrained=False)
        transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model), is_training=False)
    subset = timm.data.infer_imagenet_subset(model)
    return Source(
        model=model,
        transform=transform,
        names=timm.data.ImageNetInfo(subset).label_descriptions() if subset else None,
        known=subset is not None,
        rebuild=lambda classes: timm.create_model(name, pretrained=False, num_classes=classes),
        notes=(_UNTRAINED,),
        untrained=_UNTRAINED,
    )


class LogitsOnly(nn.Module):
    """A Hugging Face classifier as a plain one: pictures in, logits out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> Tensor:
        """Logits (B, K) of pictures (B, C, H, W)."""
        output = self.model(pixel_values=batch)
        logits: Tensor = output.logits if hasattr(output, "logits") else output[0]  # PP-LCNet gives no field a name
        return logits


class Processor:
    """A Hugging Face image processor as a transform of one picture."""

    def __init__(self, processor: Callable[..., Mapping[str, Sequence[Tensor]]]) -> None:
        self.processor = processor

    def __call__(self, image: Image.Image) -> Tensor:
        """The picture as (C, H, W)."""
        tensor: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return tensor

    def __repr__(self) -> str:
        return f"Processor({self.processor!r})"


def _hugging_face(name: str) -> Source:
    """An image classifier from a folder or the hub's cache, from safetensors only and without code of its own."""
    transformers = _optional("transformers", "pip install transformers")
    folder = Path(name).expanduser()
    place = str(folder) if folder.is_dir() else name
    local = {"local_files_only": True, "trust_remote_code": False}  # nothing is asked of a server
    try:
        with translate_errors(f"hf:{name} cannot be loaded (safetensors only)", raises=RequestError):
            model = transformers.AutoModelForImageClassification.from_pretrained(place, use_safetensors=True, **local)
            processor = transformers.AutoImageProcessor.from_pretrained(place, **local)
    except RequestError as error:
        if folder.is_dir() or not isinstance(error.__cause__, OSError):
            raise
        raise RequestError(
            f"hf:{name} is no folder, nor the id of a model in the hub's cache on this machine, and nothing is fetched "
            "here: fetch it once with `hf download ID`"
        ) from error.__cause__
    try:
        names: list[str] | None = names_from(dict(model.config.id2label))
    except (ValueError, TypeError):
        names = None
    # The library invents LABEL_0, LABEL_1, ... where a checkpoint has no names.
    if names and all(name == f"LABEL_{index}" for index, name in enumerate(names)):
        names = None
    return Source(LogitsOnly(model), Processor(processor), names, known=names is not None)


def _torchscript(name: str) -> Source:
    """A TorchScript archive; its graph is run by torch's own interpreter, not by Python."""
    file = Path(name).expanduser()
    check_regular(file, "TorchScript file")
    model = load_archive(file)
    code = hashlib.sha256(file.read_bytes()).digest()
    return Source(unroll(model), plain_transform(), code=code, notes=(_NO_TRANSFORM,))


def _user_function(file: Path, function: str) -> Source:
    """What a function in the user's own file returns."""
    if not file.is_file():
        raise RequestError(f"no such file: {file}")
    code = file.read_bytes()
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)  # so that the file may import its neighbours
    try:
        with translate_errors(f"{file.name} cannot be imported", raises=RequestError):
            module = _import_file(file, code)
        maker = getattr(module, function, None)
        if not callable(maker):
            there = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            own = [name for name in there if getattr(vars(module)[name], "__module__", None) == module.__name__]
            offered = f"; it has: {', '.join(own[:8])}" + ", …" * (len(own) > 8) if own else "; it has none"
            raise RequestError(f"{file.name} has no function {function!r}{offered}")
        with translate_errors(f"{file.name}:{function} failed", raises=RequestError):
            made = maker()
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    return _from_made(made, f"{file.name}:{function}", code)


def _import_file(file: Path, code: bytes) -> ModuleType:
    """The file as a module, registered so that dataclasses and pickling inside it work."""
    name = f"whylook_user_{hashlib.sha256(code).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RequestError(f"{file.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_made(made: object, what: str, code: bytes) -> Source:
    """nn.Module, (nn.Module, transform) or (nn.Module, transform, class_names)."""
    parts: list[Any] = list(made) if isinstance(made, (tuple, list)) else [made]
    if not 1 <= len(parts) <= 3 or not isinstance(parts[0], nn.Module):
        raise RequestError(
            f"{what} returned {type(made).__name__}, expected an nn.Module, (nn.Module, transform) or "
            "(nn.Module, transform, class_names)"
        )
    model, transform, names = [*parts, None, None][:3]
    if transform is not None and not callable(transform):
        raise RequestError(f"{what} returned a {type(transform).__name__} as transform, expected something callable")
    if names is not None:
        try:
            names = names_from(names if isinstance(names, dict) else list(names))
        except (ValueError, TypeError) as error:
            raise RequestError(f"{what} returned class names that cannot be used: {error}") from error
    notes = (_NO_TRANSFORM,) if transform is None else ()
    return Source(model, transform or plain_transform(), names, code=code, notes=notes)


def _optional(package: str, remedy: str) -> ModuleType:
    """A package that not everyone has."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise RequestError(f"{package} is not installed here ({one_line(error)}): {remedy}") from error
