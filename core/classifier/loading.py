"""A classifier ready to run: the model, its preprocessing, its class names and its target layer.

Knows: how to load what a SPEC names and to check that the parts fit each other. Does not know: attributions, folders,
DuckDB. Loading runs the model once, so that what does not fit is said before the first picture and not after hours.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.classifier.class_names import fit_class_names
from core.classifier.layers import Layer, Trace, choose_layer, trace, usable_layers
from core.classifier.layouts import Layout
from core.classifier.preprocess import Preprocess
from core.classifier.sources import Source, open_source
from core.classifier.weights import apply_weights, read_weights
from core.errors import ModelError, RequestError

VERSION = 1
"""Part of every fingerprint: raise it when predictions of the same model would change."""

# Where no picture is given, the first of these sides that the model accepts stands for all.
_PROBE_SIDES = (224, 32, 64, 28, 96, 112, 128, 160, 256, 299, 384)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier.

    `model` is in eval mode on `device`; `transform` turns an RGB picture into a tensor (C, H, W) on the CPU and raises
    `ModelError` where it cannot; `layer` is the dotted name of the target layer, `layout` says how its output lies on
    the picture, and `layers` are all that could be one; `fingerprint` hashes weights, class names, preprocessing and
    the user's code, but not the layer; `notes` are sentences about what had to be assumed.
    """

    spec: str
    model: nn.Module
    transform: Callable[[Image.Image], Tensor]
    class_names: tuple[str, ...]
    layer: str
    device: torch.device
    fingerprint: str
    notes: tuple[str, ...] = ()
    layout: Layout = Layout()
    layers: tuple[Layer, ...] = ()


def load_classifier(
    spec: str,
    *,
    weights: Path | None = None,
    classes: Path | None = None,
    labels: Sequence[str] = (),
    device: str = "auto",
    layer: str | None = None,
    probe: Image.Image | None = None,
    needs_layer: bool = True,
) -> Classifier:
    """Load what `spec` names and check it against the labels of the pictures.

    Args:
        spec: `torchvision:NAME`, `timm:NAME`, `hf:FOLDER_OR_ID`, `torchscript:FILE` or `FILE.py:FUNCTION`.
        weights: a state dict (.pt, .pth, .th; no code in it) or .safetensors file.
        classes: a text file with one class name per line, or JSON, in the order of the logits.
        labels: the sorted label names of the pictures.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        layer: the target layer, found automatically where it is None.
        probe: a picture of the kind to come; the target layer is chosen at its size.
        needs_layer: False for methods that only ask the model: a model without a target layer then has "" as `layer`.

    Raises:
        RequestError: anything in the request that does not fit, named, with a remedy.
        ModelError: the model raises on a first picture.
    """
    where = resolve_device(device)
    source = open_source(spec, weights=weights)
    stored_names: Sequence[str] | None = None
    if weights is not None:
        state, stored_names = read_weights(weights)
        source = apply_weights(source, state, file=weights)
    model = source.model.to(where).eval()
    transform = Preprocess(source.transform, dtype=_precision(model))
    seen = _first_run(model, transform, where, probe)
    target = choose_layer(model, seen, requested=layer, needed=needs_layer)
    names, notes = fit_class_names(
        seen.classes, file=classes, own=source.names or stored_names, labels=labels, known=source.known
    )
    return Classifier(
        spec=spec,
        model=model,
        transform=transform,
        class_names=names,
        layer=target.name,
        device=where,
        fingerprint=_fingerprint(model, names, transform, source),
        notes=(*source.notes, *notes),
        layout=target.layout or Layout(),
        layers=usable_layers(seen),
    )


def resolve_device(name: str) -> torch.device:
    """The device that `name` asks for; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        RequestError: it is no device, or this machine has none of that kind.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise RequestError(f"device must be auto, cpu, cuda, cuda:N or mps, got {name!r}")
    if name.startswith("cuda"):
        present = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= present:
            raise RequestError(
                f"device {name} asked for, but torch finds {present} CUDA devices here; use --device cpu"
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise RequestError("device mps asked for, but torch finds none here; use --device cpu")
    return torch.device(name)


def stack_by_shape(tensors: Sequence[Tensor]) -> list[tuple[list[int], Tensor]]:
    """Pictures (C, H, W) of mixed sizes as batches (B, C, H, W) of one size each, with their places in the input."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, tensor in enumerate(tensors):
        places.setdefault(tuple(tensor.shape), []).append(place)
    return [(group, torch.stack([tensors[place] for place in group])) for group in places.values()]


def _precision(model: nn.Module) -> torch.dtype:
    """The floating-point type of most of the weights."""
    sizes: Counter[torch.dtype] = Counter()
    for weight in model.parameters():
        if weight.is_floating_point():
            sizes[weight.dtype] += weight.numel()
    return sizes.most_common(1)[0][0] if sizes else torch.float32


def _first_run(model: nn.Module, transform: Preprocess, device: torch.device, probe: Image.Image | None) -> Trace:
    """Run the model once on the probe, or on noise of the first size it accepts."""
    pictures = [probe] if probe is not None else [_noise(side) for side in _PROBE_SIDES]
    first_error: ModelError | None = None
    tried: set[tuple[int, ...]] = set()
    for picture in pictures:
        tensor = transform(picture)
        if tuple(tensor.shape) in tried:
            continue
        tried.add(tuple(tensor.shape))
        try:
            return trace(model, tensor[None].to(device))
        except ModelError as error:
            first_error = first_error or error
    raise first_error or ModelError("the model could not be tried")


def _noise(side: int) -> Image.Image:
    """A square picture of seeded noise."""
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _fingerprint(model: nn.Module, names: Sequence[str], transform: Preprocess, source: Source) -> str:
    """Hash of everything that decides a prediction; the same model loaded twice has the same."""
    digest = hashlib.sha256(f"classifier {VERSION} {type(model).__qualname__}".encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(getattr(value, 'shape', ()))} {getattr(value, 'dtype', '')}".encode())
        if isinstance(value, Tensor):
            data = value.detach().cpu().contiguous()
            digest.update(data.reshape(-1).view(torch.uint8).numpy().data if data.numel() else b"")
        else:
            digest.update(repr(value).encode())
    digest.update(repr(tuple(names)).encode("utf-8", "surrogatepass"))
    digest.update(_ADDRESS.sub("", repr(transform)).encode("utf-8", "surrogatepass"))
    digest.update(source.code)
    return digest.hexdigest()[:32]
