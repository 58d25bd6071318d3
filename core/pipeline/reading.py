"""From an entry of the listing to what the stages need: its row and the classifier's input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from PIL import Image

from core import images
from core.classifier.loading import Classifier
from core.classifier.preprocess import Preprocess, seen_part
from core.errors import ImageError, ModelError
from core.memory import picture_budget
from core.pipeline.in_flight import InFlight
from core.placing import Part
from core.records import Failure, ImageEntry

MODEL_ERRORS = (ModelError, torch.OutOfMemoryError)
"""What the stages raise when a user's model or transform fails: recorded for the picture, never a traceback."""

NOTED_BYTES = 2**28
"""Pictures that need more to be decoded are noted while they are, so that one that kills the process is known."""

_THUMBNAIL = 224
_UNTRIED = 2**21
"""Up to so many pixels (2 megapixels) it does not matter whether the transform makes pictures small."""
_RESIZED, _WHOLE = 8, 40
"""Bytes per pixel that a transform takes which resizes first, and one that makes floats of the whole picture."""


@dataclass(frozen=True)
class Prepared:
    """One decoded picture: its row for table `images`, its input (C, H, W), or why there is none."""

    entry: ImageEntry
    row: dict[str, object] | None = None
    tensor: torch.Tensor | None = None
    failure: Failure | None = None
    seen: Part | None = None
    """The part of the picture that the input shows; None: the whole."""
    seconds: float = 0.0
    """What decoding, thumbnail and preprocessing took, in a thread."""


def weight(prepared: Prepared) -> int:
    """Bytes of its input."""
    return 0 if prepared.tensor is None else prepared.tensor.nbytes


def prepare(entry: ImageEntry, classifier: Classifier, *, model: bool, notes: InFlight) -> Prepared:
    """Decode one picture; called in threads, so the full-size picture is dropped before this returns."""
    began = time.monotonic()
    try:
        prepared = _prepare(entry, classifier, model=model, notes=notes)
    except ImageError as error:
        prepared = Prepared(entry, failure=Failure("images", entry.image_id, entry.relative_paths[0], str(error)))
    return replace(prepared, seconds=time.monotonic() - began)


def _prepare(entry: ImageEntry, classifier: Classifier, *, model: bool, notes: InFlight) -> Prepared:
    """The row and the input of one picture.

    Raises:
        ImageError: it cannot be read.
    """
    with images.opened(
        entry.path, image_id=entry.image_id, reader=_reader(classifier), hold=lambda price: _noted(entry, price, notes)
    ) as found:
        row: dict[str, object] = {
            "image_id": entry.image_id,
            "path": entry.relative_paths[0],
            "paths": list(entry.relative_paths),
            "label": entry.label,
            "width": found.size[0],
            "height": found.size[1],
            "thumbnail": images.thumbnail(found.picture, side=_THUMBNAIL),
            "near_hash": images.difference_hash(found.picture),
            "metadata": dict(entry.metadata),
            **vars(images.properties(found.picture)),
        }
        if not model:
            return Prepared(entry, row)
        try:
            tensor = classifier.transform(found.picture)
            return Prepared(entry, row, tensor, seen=seen_part(classifier.transform, found.picture.size))
        except MODEL_ERRORS as error:
            return Prepared(entry, row, failure=failure_of("classifier", entry, error))


def model_input(entry: ImageEntry, classifier: Classifier) -> torch.Tensor:
    """One picture as the classifier sees it (C, H, W), the same as in a run.

    Raises:
        ImageError: it cannot be decoded, or it changed since the folder was scanned.
        ModelError: the transform fails.
    """
    return picture_and_input(entry, classifier)[1]


def picture_and_input(entry: ImageEntry, classifier: Classifier) -> tuple[Image.Image, torch.Tensor]:
    """One picture in RGB, and as the classifier sees it (C, H, W); errors as of `model_input`."""
    with images.opened(entry.path, image_id=entry.image_id, reader=_reader(classifier)) as found:
        return found.picture, classifier.transform(found.picture)


@contextmanager
def _noted(entry: ImageEntry, price: int, notes: InFlight) -> Iterator[None]:
    """The memory of a picture, and a note of it while it is decoded, where it is large or all are noted."""
    to_note = notes.careful or price > NOTED_BYTES
    with picture_budget().hold(price), notes.working([entry.image_id] if to_note else []):
        yield


def _reader(classifier: Classifier) -> Callable[[int], images.Reader]:
    """What thumbnail and classifier make of a picture of so many pixels."""

    def reader(pixels: int) -> images.Reader:
        transform = classifier.transform
        side = transform.side if pixels > _UNTRIED and isinstance(transform, Preprocess) else None
        return images.Reader(max(side, _THUMBNAIL) if side else None, _RESIZED if side else _WHOLE)

    return reader


def failure_of(
    stage: Literal["classifier", "attribution", "causal"], entry: ImageEntry, error: BaseException
) -> Failure:
    """A failure whose reason is one line, whatever the exception said."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return Failure(stage, entry.image_id, entry.relative_paths[0], reason)
