"""A finished run opened again: its request, its pictures and its classifier, as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from PIL import Image

from core import images, queries
from core.attribution.methods import METHODS
from core.classifier.loading import Classifier, load_classifier
from core.classifier.names import Precision
from core.classifier.precision import set_precision
from core.errors import RequestError
from core.images.reading import first_picture
from core.pipeline.request import RunRequest, prediction_fingerprint, request_from_settings
from core.records import Run
from core.store import Store


@dataclass(frozen=True)
class StoredRun:
    """What a run was made of, loaded."""

    record: Run
    request: RunRequest
    scan: images.Scan
    classifier: Classifier


def open_run(store: Store, run: str, *, device: str = "auto") -> StoredRun:
    """The run named `run` with its pictures listed and its classifier loaded.

    Raises:
        RequestError: the pictures or the classifier are not those of the run any more.
    """
    record = queries.run(store.reader(), run)
    request = request_from_settings(record.settings.kept, store=store.folder)
    scan = images.scan(request.images, metadata=request.metadata)
    classifier = classifier_of(record, request, scan.labels, first_picture(scan.entries), device=device)
    return StoredRun(record, request, scan, classifier)


def classifier_of(
    record: Run, request: RunRequest, labels: Sequence[str], probe: Image.Image | None, *, device: str
) -> Classifier:
    """The classifier of a run in the run's precision; `probe` is one of its pictures, by which the layer is chosen.

    Raises:
        RequestError: the classifier is not that of the run any more.
    """
    classifier = load_classifier(
        request.classifier, weights=request.weights, classes=request.classes, labels=labels, device=device,
        layer=request.layer, probe=probe, needs_layer=METHODS[request.method].needs != "model",
    )  # fmt: skip
    if prediction_fingerprint(classifier.fingerprint, request.precision) != record.fingerprints["classifier"]:
        raise RequestError(
            f"the classifier {request.classifier} is not the one of run {record.name} any more; run it again"
        )
    set_precision(classifier.model, cast(Precision, request.precision), classifier.device)
    return classifier
