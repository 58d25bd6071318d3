"""The classifier of a run as it will compute: loaded, streamlined, with what `auto` stands for.

Knows: in which order that is settled. Does not know: stores, stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import torch

from core.attribution.methods import METHODS
from core.classifier.layers import earlier_layer
from core.classifier.loading import Classifier, load_classifier, stack_by_shape
from core.classifier.names import Precision
from core.classifier.precision import set_precision
from core.classifier.streamline import streamline
from core.errors import ImageError, ModelError, RequestError
from core.images.reading import PROBES, first_picture, probe_picture
from core.pipeline.auto import choose_method, choose_precision
from core.pipeline.lanes import lanes_for
from core.pipeline.request import Progress, RunRequest
from core.records import ImageEntry

PROBED = 12
"""Pictures on which `auto` compares."""
PROBED_BYTES = 2**25
"""And their bytes at most: fewer pictures where the transform leaves them large."""
BATCH_SIZE = {"cpu": 16, "mps": 64, "cuda": 128}
"""Pictures of 224 x 224 at a time; of smaller ones more, up to LARGEST_BATCH."""
LARGEST_BATCH = 128
_TRIED = 4
"""Pictures on which the classifier's speed is tried."""


@dataclass(frozen=True)
class Ready:
    """A classifier ready to compute; `request` names method and precision, `probe` is a picture (1, C, H, W)."""

    request: RunRequest
    classifier: Classifier
    probe: torch.Tensor | None

    @property
    def batch_size(self) -> int:
        """Pictures per batch: as asked, else what the device takes, and of small ones more."""
        if self.request.batch_size:
            return self.request.batch_size
        usual = BATCH_SIZE.get(self.classifier.device.type, 32)
        if self.probe is None:
            return usual
        height, width = self.probe.shape[-2:]
        several = max(usual, min(LARGEST_BATCH, usual * 224 * 224 // max(1, height * width)))
        return several * lanes_for(self.classifier, self.request.method)


def load_for(
    request: RunRequest,
    entries: Sequence[ImageEntry],
    labels: Sequence[str],
    *,
    progress: Callable[[Progress], None] = lambda news: None,
) -> Ready:
    """Load the classifier of a request, by the first of some pictures.

    Raises:
        RequestError: anything in the request that does not fit.
        ModelError: the model raises on a first picture.
    """
    classifier = load_classifier(
        request.classifier,
        weights=request.weights,
        classes=request.classes,
        labels=labels,
        device=request.device,
        layer=request.layer,
        needs_layer=request.method not in METHODS or METHODS[request.method].needs != "model",
        probe=first_picture(entries),
    )
    probe = _probe(classifier, entries)
    if request.method == "auto":
        request, classifier = _with_method(request, classifier, _probes(classifier, entries, progress))
    if probe is not None:
        read = earlier_layer(classifier.layers, classifier.layer) if classifier.layer else None
        several = probe.expand(max(1, min(_TRIED, PROBED_BYTES // probe.nbytes)), -1, -1, -1).to(classifier.device)
        streamline(classifier.model, several, keep=frozenset({classifier.layer, read.name if read else ""}))
    if request.precision == "auto":
        request, classifier = _with_precision(request, classifier, _probes(classifier, entries, progress))
    set_precision(classifier.model, cast(Precision, request.precision), classifier.device)
    classifier.model.requires_grad_(False)
    return Ready(request, classifier, probe)


def _probe(classifier: Classifier, entries: Sequence[ImageEntry]) -> torch.Tensor | None:
    """The first readable picture (1, C, H, W) as the classifier sees it; None without one of a usual size."""
    picture = first_picture(entries)
    try:
        probe = None if picture is None else classifier.transform(picture)[None]
    except ModelError:  # said for the pictures, one by one
        return None
    return probe if probe is not None and probe.ndim == 4 and probe.nbytes <= PROBED_BYTES else None


def _probes(
    classifier: Classifier, entries: Sequence[ImageEntry], progress: Callable[[Progress], None]
) -> torch.Tensor:
    """Readable pictures (B, C, H, W) of one size from all over the folder, which is sorted by class."""
    progress(Progress("choosing what auto means", 0, 0))
    tensors = []
    for entry in entries[:: max(1, len(entries) // PROBES)][:PROBES]:
        with suppress(ImageError):
            tensors.append(classifier.transform(probe_picture(entry)))
    if not tensors:
        raise RequestError("auto needs pictures that can be read; say --method gradcam --precision fp32")
    _, batch = max(stack_by_shape(tensors), key=lambda group: len(group[0]))
    return batch[: max(2, PROBED_BYTES // batch[0].nbytes)][:PROBED]


def _with_method(request: RunRequest, classifier: Classifier, probes: torch.Tensor) -> tuple[RunRequest, Classifier]:
    """What `--method auto` stands for here."""
    method, classifier, why = choose_method(classifier, probes)
    classifier = dataclasses.replace(classifier, notes=(*classifier.notes, why))
    return dataclasses.replace(request, method=method, layer=classifier.layer), classifier


def _with_precision(request: RunRequest, classifier: Classifier, probes: torch.Tensor) -> tuple[RunRequest, Classifier]:
    """What `--precision auto` stands for here."""
    precision, why = choose_precision(classifier, probes, method=request.method)
    return dataclasses.replace(request, precision=precision), dataclasses.replace(
        classifier, notes=(*classifier.notes, why)
    )
