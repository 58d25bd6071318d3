"""First pass over the pictures: decode, classify, attribute, and one shard per table and batch.

Knows: the order of the stages and what a failure of one picture means. Does not know: how maps and shards are made.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from core import images
from core.attribution import BatchAttribution, CausalEffect, Question, attribute, causal_check, statistics
from core.classifier import Classifier, stack_by_shape
from core.errors import ImageError, ModelError
from core.pipeline.ahead import ahead, chunks
from core.pipeline.journal import Journal
from core.records import Attribution, Failure, ImageEntry, Prediction

MODEL_ERRORS = (ModelError, torch.OutOfMemoryError)
"""What the stages raise when a user's model or transform fails: recorded for the picture, never a traceback."""

PROBES = 20
"""Pictures among which one that can be read is looked for."""
CAUSAL_DRAWS = 3
CAUSAL_SEED = 20


@dataclass(frozen=True)
class Todo:
    """Which pictures have rows already, per stage, and the fingerprints under which new rows are written."""

    fingerprints: dict[str, str]
    done: dict[str, set[str]]
    method: str
    question: Question
    batch_size: int
    threads: int

    def missing(self, image_id: str) -> bool:
        """True when a stage of this pass has no row of the picture yet."""
        return any(image_id not in self.done[stage] for stage in ("images", "classifier", "attribution"))

    def needs_model(self, image_id: str) -> bool:
        """True when the classifier has to see the picture."""
        return any(image_id not in self.done[stage] for stage in ("classifier", "attribution"))


@dataclass(frozen=True)
class Prepared:
    """One decoded picture: its row for table `images`, its input (C, H, W), or why there is none."""

    entry: ImageEntry
    row: dict[str, object] | None = None
    tensor: torch.Tensor | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    """What decoding, thumbnail and preprocessing took, in a thread."""


@dataclass
class Results:
    """Rows of one batch, on their way to the shards."""

    predictions: list[Prediction] = field(default_factory=list)
    attributions: list[Attribution] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Results) -> None:
        """Append another group's rows."""
        self.predictions += other.predictions
        self.attributions += other.attributions
        self.failures += other.failures


def explain(
    entries: Sequence[ImageEntry], classifier: Classifier, todo: Todo, *, journal: Journal, stop: Callable[[], bool]
) -> bool:
    """Run the pass over every picture that lacks a row.

    Memory holds two batches of inputs and, per thread, one full-size picture, however large the folder is.

    Returns:
        False when `stop` ended it early. What is written stays and is not done again.

    Raises:
        ModelError: No picture of the first batch got a prediction: the classifier, not the pictures, is at fault.
    """
    missing = [entry for entry in entries if todo.missing(entry.image_id)]
    done = len(entries) - len(missing)
    journal.begin("pictures", done=done, total=len(entries))
    prepared = ahead(
        lambda entry: prepare(entry, classifier, model=todo.needs_model(entry.image_id)),
        missing,
        threads=todo.threads,
        limit=2 * todo.batch_size,
    )
    proven = False
    with closing(prepared):
        batches = chunks(prepared, todo.batch_size)
        while not stop():
            with journal.timed("waiting for pictures"):
                batch = next(batches, None)
            if batch is None:
                return True
            journal.beside("decoding", sum(item.seconds for item in batch))
            proven = _explain_batch(batch, classifier, todo, journal=journal, proven=proven)
            done += len(batch)
            journal.report(done, len(entries))
            journal.publish_if_due()
    return False


def _explain_batch(
    batch: Sequence[Prepared], classifier: Classifier, todo: Todo, *, journal: Journal, proven: bool
) -> bool:
    """One batch through the model and into shards; True once the classifier has predicted anything."""
    rows = [item.row for item in batch if item.row is not None and item.entry.image_id not in todo.done["images"]]
    journal.write("images", rows, fingerprint=todo.fingerprints["images"])
    inputs = [item for item in batch if item.tensor is not None]
    results = Results(failures=[item.failure for item in batch if item.failure is not None])
    for indices, stacked in stack_by_shape([item.tensor for item in inputs if item.tensor is not None]):
        group = [inputs[i] for i in indices]
        results.add(classify_and_attribute(group, stacked, classifier, todo, journal=journal))
    predictions = [row for row in results.predictions if row.image_id not in todo.done["classifier"]]
    attributions = [row for row in results.attributions if row.image_id not in todo.done["attribution"]]
    journal.write("predictions", predictions, fingerprint=todo.fingerprints["classifier"])
    journal.write("attributions", attributions, fingerprint=todo.fingerprints["attribution"])
    journal.fail(results.failures)
    blamed = [failure for failure in results.failures if failure.stage == "classifier"]
    if not proven and blamed and not results.predictions:
        raise ModelError(f"the classifier failed on every picture of the first batch: {blamed[0].reason}")
    return proven or bool(results.predictions)


def prepare(entry: ImageEntry, classifier: Classifier, *, model: bool) -> Prepared:
    """Decode one picture; called in threads, so the full-size picture is dropped before this returns."""
    began = time.monotonic()
    prepared = _prepare(entry, classifier, model=model)
    return replace(prepared, seconds=time.monotonic() - began)


def _prepare(entry: ImageEntry, classifier: Classifier, *, model: bool) -> Prepared:
    """The row and the input of one picture, or its failure."""
    try:
        picture = read_picture(entry)
    except ImageError as error:
        return Prepared(entry, failure=Failure("images", entry.image_id, entry.relative_paths[0], str(error)))
    row: dict[str, object] = {
        "image_id": entry.image_id,
        "path": entry.relative_paths[0],
        "paths": list(entry.relative_paths),
        "label": entry.label,
        "width": picture.width,
        "height": picture.height,
        "thumbnail": images.thumbnail(picture),
        "metadata": dict(entry.metadata),
    }
    if not model:
        return Prepared(entry, row)
    try:
        return Prepared(entry, row, classifier.transform(picture))
    except MODEL_ERRORS as error:
        return Prepared(entry, row, failure=_failure("classifier", entry, error))


def read_picture(entry: ImageEntry) -> Image.Image:
    """Decode the picture and make sure that it still holds the bytes it was listed with.

    Raises:
        ImageError: It cannot be decoded, or it changed since the folder was scanned.
    """
    try:
        with entry.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    if not content.startswith(entry.image_id):
        raise ImageError("the file changed while the run was reading the folder: start the run again")
    return images.decode(entry.path)


def first_picture(entries: Sequence[ImageEntry]) -> Image.Image | None:
    """A picture that can be decoded, among the first few: the classifier's target layer is chosen at its size."""
    for entry in entries[:PROBES]:
        with suppress(ImageError):
            return read_picture(entry)
    return None


def classify_and_attribute(
    group: Sequence[Prepared], batch: torch.Tensor, classifier: Classifier, todo: Todo, *, journal: Journal
) -> Results:
    """Forward, map and causal check of pictures of one shape; `batch` is (B, C, H, W).

    A batch that raises is halved until the picture at fault stands alone; that also answers a device out of memory.
    """
    try:
        with journal.timed("classifier and map"):
            labels = label_indices([item.entry for item in group], classifier.class_names)
            answer = attribute(classifier, batch, method=todo.method, question=todo.question, labels=labels)
    except MODEL_ERRORS as error:
        if len(group) == 1:
            return Results(failures=[_failure("classifier", group[0].entry, error)])
        middle, results = len(group) // 2, Results()
        for half in (slice(None, middle), slice(middle, None)):
            results.add(classify_and_attribute(group[half], batch[half], classifier, todo, journal=journal))
        return results
    results = Results()
    probabilities = softmax(answer.logits.double().numpy())  # (B, K)
    for i, item in enumerate(group):
        error_text = answer.errors[i]
        if error_text is not None:
            failure = Failure("classifier", item.entry.image_id, item.entry.relative_paths[0], error_text)
            results.failures.append(failure)
            continue
        results.predictions.append(predict(item.entry, probabilities[i], classifier.class_names))
        if answer.reasons[i] is not None:
            results.attributions.append(Attribution(item.entry.image_id, "abstained", answer.reasons[i], None))
    mapped = [i for i in range(len(group)) if answer.errors[i] is None and answer.reasons[i] is None]
    if mapped:
        _attributions(mapped, group, batch, answer, classifier, results=results, journal=journal)
    return results


def label_indices(entries: Sequence[ImageEntry], class_names: Sequence[str]) -> torch.Tensor:
    """Class index (B,) of each picture's label, -1 where it has none that the classifier knows."""
    places = {name: index for index, name in enumerate(class_names)}
    return torch.tensor([places.get(entry.label or "", -1) for entry in entries])


def _attributions(
    mapped: Sequence[int],
    group: Sequence[Prepared],
    batch: torch.Tensor,
    answer: BatchAttribution,
    classifier: Classifier,
    *,
    results: Results,
    journal: Journal,
) -> None:
    """Statistics and causal check of the rows that have a map; one whose check fails keeps its map and is recorded."""
    index = torch.as_tensor(list(mapped))
    before = answer.logits[index].softmax(dim=1).gather(1, answer.targets[index, None])[:, 0]
    effects: Sequence[CausalEffect | None]
    try:
        with journal.timed("causal check"):
            effects = causal_check(
                classifier,
                batch[index],
                answer.maps[index],
                answer.targets[index],
                draws=CAUSAL_DRAWS,
                seed=CAUSAL_SEED,
                before=before,
            )
    except MODEL_ERRORS as error:
        if len(mapped) > 1:
            middle = len(mapped) // 2
            for half in (mapped[:middle], mapped[middle:]):
                _attributions(half, group, batch, answer, classifier, results=results, journal=journal)
            return
        results.failures.append(_failure("attribution", group[mapped[0]].entry, error))
        effects = [None]
    for i, effect in zip(mapped, effects, strict=True):
        row = answer.maps[i].numpy().copy()  # (h, w)
        figures = {
            **statistics(row),
            "attention_agreement": answer.agreement[i],
            **(vars(effect) if effect is not None else {}),
        }
        results.attributions.append(Attribution(group[i].entry.image_id, "ok", None, row, **figures))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (B, K) of logits (B, K); a row without finite logits gives NaN."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def predict(entry: ImageEntry, probabilities: NDArray[np.float64], class_names: Sequence[str]) -> Prediction:
    """What is said of one picture; `probabilities` has shape (K,)."""
    best = int(probabilities.argmax())
    others = np.delete(probabilities, best)
    known = entry.label is not None and entry.label in class_names
    return Prediction(
        image_id=entry.image_id,
        prediction=class_names[best],
        confidence=float(probabilities[best]),
        margin=float(probabilities[best] - others.max()) if others.size else 1.0,
        label_probability=float(probabilities[class_names.index(str(entry.label))]) if known else None,
        probabilities=probabilities.astype(np.float32),
    )


def _failure(stage: Literal["classifier", "attribution"], entry: ImageEntry, error: BaseException) -> Failure:
    """A failure whose reason is one line, whatever the exception said."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return Failure(stage, entry.image_id, entry.relative_paths[0], reason)
