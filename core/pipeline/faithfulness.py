"""Faithfulness of a run's maps, measured on a sample of its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core import images, queries
from core.attribution.attention import rank_correlation
from core.attribution.attribute import attribute
from core.attribution.faithfulness import edges, energy_inside, faithfulness, pointing_game, randomised
from core.classifier.loading import Classifier, stack_by_shape
from core.classifier.predictions import label_indices
from core.classifier.streamline import streamline
from core.errors import ImageError, RequestError
from core.pipeline.reading import model_input
from core.pipeline.request import Progress, RunRequest
from core.pipeline.stored_run import open_run
from core.records import ImageEntry
from core.store import Store, open_for_writing

SAMPLE = 64
BATCH = 16


def check_faithfulness(
    store: Store,
    run: str,
    *,
    sample: int = SAMPLE,
    masks: Path | None = None,
    device: str = "auto",
    progress: Callable[[Progress], None] = lambda news: None,
) -> int:
    """Measure the faithfulness of a run's maps on `sample` of its pictures and keep the figures in the store.

    The sample is the pictures whose content hashes come first: the same whenever it is asked for.

    Args:
        store: the store that holds the run.
        run: its name.
        sample: pictures, at least two.
        masks: a table with columns path and mask (a picture file beside the table, object pixels not black).
        device: where the classifier runs.
        progress: called after every batch.

    Returns:
        How many pictures were measured.

    Raises:
        RequestError: the pictures or the classifier are not those of the run any more.
    """
    if sample < 2:
        raise RequestError(f"a sample needs two pictures or more, got {sample}")
    opened = open_run(store, run, device=device)
    record, request, classifier = opened.record, opened.request, opened.classifier
    entries = _sample(opened.scan, store, run, sample)
    objects = _object_masks(masks) if masks else {}
    *_, (_, drawn) = randomised(classifier.model)
    random = dataclasses.replace(classifier, model=drawn)
    rows: list[dict[str, object]] = []
    for some, batch in _batches(entries, classifier):
        if not rows:
            streamline(classifier.model, batch[:4].to(classifier.device), keep=frozenset({classifier.layer}))
        rows += _measure(some, batch, classifier, random, request, objects)
        progress(Progress("faithfulness", len(rows), len(entries)))
    with open_for_writing(store.folder) as writer:
        writer.write("faithfulness", rows, fingerprint=record.fingerprints["attribution"])
        writer.publish()
    return len(rows)


def _sample(scan: images.Scan, store: Store, run: str, count: int) -> list[ImageEntry]:
    """The first pictures, in the order of their hashes, that have a map."""
    mapped = queries.fetch_rows(
        store.reader(),
        "SELECT image_id FROM samples WHERE run = ? AND attention_area IS NOT NULL ORDER BY image_id LIMIT ?",
        [run, count],
    )
    wanted = {row["image_id"] for row in mapped}
    found = [entry for entry in scan.entries if entry.image_id in wanted]
    if len(found) < 2:
        raise RequestError(f"run {run} has too few pictures with a map, or they are not where they were")
    return found


def _batches(entries: Sequence[ImageEntry], classifier: Classifier) -> Iterator[tuple[list[ImageEntry], Tensor]]:
    """Pictures of one size as the model sees them; one that cannot be read any more is left out."""
    for start in range(0, len(entries), BATCH):
        some, tensors = [], []
        for entry in entries[start : start + BATCH]:
            try:
                tensors.append(model_input(entry, classifier))
            except ImageError:
                continue
            some.append(entry)
        for places, batch in stack_by_shape(tensors):
            yield [some[place] for place in places], batch


def _measure(
    entries: Sequence[ImageEntry],
    batch: Tensor,
    classifier: Classifier,
    random: Classifier,
    request: RunRequest,
    objects: Mapping[str, NDArray[np.bool_]],
) -> list[dict[str, object]]:
    """Rows of table `faithfulness` for pictures of one size; `random` is the classifier with drawn weights."""
    labels = label_indices(entries, classifier.class_names)
    answer, other = (
        attribute(each, batch, method=request.method, question=request.question, labels=labels)
        for each in (classifier, random)
    )
    figures = faithfulness(classifier, batch, answer.maps, answer.targets)
    likeness = [rank_correlation(*pair) for pair in zip(answer.maps, other.maps, strict=True)]
    drawn = edges(batch, answer.maps.shape[1:])
    rows = []
    for index, entry in enumerate(entries):
        row: dict[str, object] = {"image_id": entry.image_id, **vars(figures[index]), "randomised": likeness[index]}
        mask = next((objects[path] for path in entry.relative_paths if path in objects), None)
        if mask is not None:
            map_ = answer.maps[index].numpy()
            row |= {
                "energy_inside": energy_inside(map_, mask),
                "energy_inside_flat": float(mask.mean()),
                "energy_inside_edges": energy_inside(drawn[index].numpy(), mask),
                "pointing": float(pointing_game(map_, mask)),
            }
        rows.append(row)
    return rows


def _object_masks(table: Path) -> dict[str, NDArray[np.bool_]]:
    """Object masks (H, W) by the picture's path."""
    listed = images.read_table(table)
    found = {}
    for path, row in zip(listed.paths, listed.rows, strict=True):
        if row.get("mask") is None:
            raise RequestError(f"{table} needs a column mask with a picture file in every row")
        picture = images.decode(table.parent / str(row["mask"]))
        found[str(path)] = np.asarray(picture.convert("L")) > 0
    return found
