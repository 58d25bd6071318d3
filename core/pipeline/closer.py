"""The causal check of one picture on demand, with more random regions than a run makes."""

from __future__ import annotations

from pathlib import Path

from core import queries
from core.attribution.attribute import attribute
from core.attribution.causal import DRAWS, CloserLook, closer_look
from core.classifier.predictions import label_indices
from core.errors import ImageError, RequestError
from core.images.reading import first_picture
from core.pipeline.reading import picture_and_input
from core.pipeline.request import request_from_settings
from core.pipeline.stored_run import classifier_of
from core.records import ImageEntry, Sample
from core.store import Store


def look_closer(store: Store, run: str, image_id: str, *, draws: int = DRAWS, device: str = "auto") -> CloserLook:
    """Check one picture of a run, and keep what is found in the store.

    Raises:
        QueryError: the run has no such picture.
        RequestError: it has no map, its file or the classifier is not that of the run any more.
        ModelError: the model raises.
    """
    record = queries.run(store.reader(), run)
    sample = queries.sample(store.reader(), record.name, image_id)
    if sample.map is None:
        raise RequestError(f"{sample.path} has no map to check: {sample.attribution_reason or 'it was not explained'}")
    request = request_from_settings(record.settings.kept, store=store.folder)
    entry = _entry(sample, request.images)
    labels_known = sorted(_labels(store, record.name))
    classifier = classifier_of(record, request, labels_known, first_picture([entry]), device=device)
    try:
        picture = picture_and_input(entry, classifier)[1]
    except ImageError as error:
        raise RequestError(f"{sample.path} is not the picture of the run any more: {error}") from error
    labels = label_indices([entry], classifier.class_names)
    answer = attribute(classifier, picture[None], method=request.method, question=request.question, labels=labels)
    found = closer_look(classifier, picture, answer.maps[0], int(answer.targets[0]), draws=draws)
    store.keep_closer_look(record.fingerprints["attribution"], image_id, vars(found))
    return found


def _labels(store: Store, run: str) -> set[str]:
    """The labels of a run's pictures: they decide how class names are read."""
    rows = queries.fetch_rows(
        store.reader(), "SELECT DISTINCT label FROM samples WHERE run = ? AND label IS NOT NULL", [run]
    )
    return {str(row["label"]) for row in rows}


def _entry(sample: Sample, images: Path) -> ImageEntry:
    """The picture's entry of the listing, by the first of its paths that is there."""
    folder = images if images.is_dir() else images.parent  # a list lies beside its pictures
    there = [name for name in sample.paths if (folder / name).is_file()]
    if not there:
        raise RequestError(f"{sample.path} is not in {folder} any more")
    return ImageEntry(sample.image_id, folder / there[0], tuple(sample.paths), sample.label)
