"""First pass over the pictures: decode, classify, attribute, and one shard per table and batch.

Knows: the order of the stages and what a failure of one picture means. Does not know: how maps and shards are made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from core.attribution.attention import attention_statistics
from core.attribution.attribute import BatchAttribution, attribute
from core.attribution.causal import causal_check
from core.attribution.features import Features, Sketcher
from core.attribution.names import Question
from core.classifier.layers import earlier_layer
from core.classifier.loading import Classifier, stack_by_shape
from core.classifier.predictions import label_indices, prediction_of, probabilities_of
from core.errors import ModelError
from core.memory import PICTURES_LEAST, NoRoom, free_memory, size_text
from core.pipeline.forwards import Forwards
from core.pipeline.in_flight import InFlight
from core.pipeline.journal import Clock, Journal
from core.pipeline.lanes import Lanes
from core.pipeline.prefetch import ahead, chunks
from core.pipeline.reading import MODEL_ERRORS, Prepared, failure_of, prepare, weight
from core.records import CAUSAL_DRAWS, Attribution, CausalCheck, Failure, ImageEntry, Prediction, Stage

WAITING_BYTES = 2**29
"""Prepared pictures that wait for the classifier take about this at most, and a batch half of it ..."""
WAITING_SHARE = 0.125
"""... and at most this share of what is free when the pass begins."""
CAUSAL_SEED = 20
CHECK_WORK, CLOSE_WORK = 1.5, 5.0
"""What a causal check costs, in pictures without one, with one draw and with all; for the time left alone."""
EXPLAIN_STAGES: tuple[Stage, ...] = ("images", "classifier", "attribution", "causal")


@dataclass(frozen=True)
class Todo:
    """Which pictures have rows already, per stage, and the fingerprints under which new rows are written.

    `checked` are the pictures that get the causal check, `close` those of them of which something is said singly.
    """

    fingerprints: dict[str, str]
    done: dict[str, set[str]]
    checked: frozenset[str]
    close: frozenset[str]
    method: str
    question: Question
    batch_size: int
    threads: int

    def missing(self, image_id: str) -> bool:
        """True when a stage of this pass has no row of the picture yet."""
        return image_id not in self.done["images"] or self.needs_model(image_id)

    def needs_model(self, image_id: str) -> bool:
        """True when the classifier has to see the picture."""
        return self.needs_check(image_id) or any(
            image_id not in self.done[stage] for stage in ("classifier", "attribution")
        )

    def needs_check(self, image_id: str) -> bool:
        """True when the causal check of the picture is wanted and not there."""
        return image_id in self.checked and image_id not in self.done["causal"]

    def work_of_check(self, image_id: str) -> float:
        """What the check of a picture will cost."""
        return (CLOSE_WORK if image_id in self.close else CHECK_WORK) if self.needs_check(image_id) else 0.0


@dataclass
class Results:
    """Rows of one batch, on their way to the shards."""

    predictions: list[Prediction] = field(default_factory=list)
    attributions: list[Attribution] = field(default_factory=list)
    checks: list[CausalCheck] = field(default_factory=list)
    features: list[dict[str, object]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Results) -> None:
        """Append another group's rows."""
        self.predictions += other.predictions
        self.attributions += other.attributions
        self.checks += other.checks
        self.features += other.features
        self.failures += other.failures


def explain(
    entries: Sequence[ImageEntry],
    classifier: Classifier,
    todo: Todo,
    *,
    journal: Journal,
    stop: Callable[[], bool],
    probe: torch.Tensor | None = None,
    notes: Path | None = None,
    careful: bool = False,
) -> bool:
    """Run the pass over every picture that lacks a row.

    Memory holds two batches of inputs and the pictures that are being decoded, both within a budget, however large the
    folder and its pictures are. A picture on which an earlier attempt died is tried first and alone.

    Args:
        entries: the pictures, in the order in which they are looked at.
        classifier: the model.
        todo: what is there already.
        journal: where rows and progress go.
        stop: asked between batches.
        probe: a picture (1, C, H, W) on which copies of the classifier are tried; None: one thread at a time.
        notes: folder where the pictures at work are noted; None: the store's.
        careful: note every picture, not large ones alone, for one of them may kill the process.

    Returns:
        False when `stop` ended it early. What is written stays and is not done again.

    Raises:
        ModelError: No picture of the first batch got a prediction, and none has one from earlier: the classifier, not
            the pictures, is at fault.
    """
    missing = [entry for entry in entries if todo.missing(entry.image_id)]
    done = len(entries) - len(missing)
    journal.begin("pictures", done=done, total=len(entries))
    noted, forwards = InFlight(notes or journal.store.folder, careful=careful), Forwards(classifier, todo.method)
    with Lanes(classifier, todo.method, probe) as lanes:
        sketchers = [sketcher_of(classifier) for _ in range(lanes.count)]
        work = Work(classifier, todo, journal, noted, forwards, lanes, sketchers)
        return _work_through(work, missing, done=done, total=len(entries), stop=stop)


def _work_through(
    work: Work, missing: Sequence[ImageEntry], *, done: int, total: int, stop: Callable[[], bool]
) -> bool:
    """Every picture that lacks a row: first, and alone, those on which an attempt died; False when stopped."""
    todo, journal = work.todo, work.journal
    work.proven = bool(todo.done["classifier"])
    hopeless = [entry for entry in missing if work.notes.hopeless(entry.image_id)]
    journal.fail([work.notes.failure(entry) for entry in hopeless])
    suspects = [entry for entry in missing if work.notes.deaths(entry.image_id) and entry not in hopeless]
    others = [entry for entry in missing if not work.notes.deaths(entry.image_id)]
    done += len(hopeless)
    to_check, checked = sum(todo.work_of_check(entry.image_id) for entry in missing), 0.0
    passes = [*(([entry], 1, 1) for entry in suspects), (others, todo.batch_size, todo.threads)]
    for some, batch_size, threads in [step for step in passes if step[0]]:
        with closing(work.batches(some, batch_size=batch_size, threads=threads)) as batches:
            while not stop():
                with journal.timed("waiting for pictures"):
                    batch = next(batches, None)
                if batch is None:
                    break
                journal.beside("decoding", sum(item.seconds for item in batch))
                work.explain_batch(batch)
                done += len(batch)
                checked += sum(todo.work_of_check(item.entry.image_id) for item in batch)
                journal.report(done, total, more=(checked, to_check - checked))
                journal.publish_if_due()
            else:
                return False
    return True


@dataclass
class Work:
    """One pass at work; `proven` once the classifier has predicted anything, in this attempt or in an earlier one."""

    classifier: Classifier
    todo: Todo
    journal: Journal
    notes: InFlight
    forwards: Forwards
    lanes: Lanes
    sketchers: list[Sketcher | None]
    proven: bool = False

    def batches(
        self, entries: Sequence[ImageEntry], *, batch_size: int, threads: int
    ) -> Generator[list[Prepared], None, None]:
        """The pictures, decoded and prepared by threads, in batches that are also bounded in bytes."""
        most = waiting_bytes()
        prepared = ahead(
            lambda entry: prepare(
                entry, self.classifier, model=self.todo.needs_model(entry.image_id), notes=self.notes
            ),
            entries,
            threads=threads,
            limit=2 * batch_size,
            weigh=weight,
            most=most,
        )
        with closing(prepared):
            yield from chunks(prepared, batch_size, weigh=weight, most=most // 2)

    def explain_batch(self, batch: Sequence[Prepared]) -> None:
        """One batch through the model and into shards."""
        todo, journal = self.todo, self.journal
        rows = [item.row for item in batch if item.row is not None and item.entry.image_id not in todo.done["images"]]
        journal.write("images", rows, fingerprint=todo.fingerprints["images"])
        inputs = [item for item in batch if item.tensor is not None]
        results = Results(failures=[item.failure for item in batch if item.failure is not None])
        no_room: list[Failure] = []
        for indices, stacked in stack_by_shape([item.tensor for item in inputs if item.tensor is not None]):
            group = [inputs[i] for i in indices]
            try:
                size, noted = self.forwards.batch_size(stacked)
            except NoRoom as error:
                no_room += [_no_room(item.entry, stacked, error) for item in group]
                continue
            for start in range(0, len(group), size):
                part = group[start : start + size]
                to_note = noted or self.notes.careful
                with self.notes.working([item.entry.image_id for item in part] if to_note else []):
                    results.add(self._side_by_side(part, stacked[start : start + size]))
        predictions = [row for row in results.predictions if row.image_id not in todo.done["classifier"]]
        attributions = [row for row in results.attributions if row.image_id not in todo.done["attribution"]]
        journal.write("predictions", predictions, fingerprint=todo.fingerprints["classifier"])
        features = [row for row in results.features if row["image_id"] not in todo.done["attribution"]]
        journal.write("features", features, fingerprint=todo.fingerprints["attribution"])  # a map vouches for them
        journal.write("attributions", attributions, fingerprint=todo.fingerprints["attribution"])
        journal.write("checks", results.checks, fingerprint=todo.fingerprints["causal"])
        journal.fail([*results.failures, *no_room])
        suspect = any(self.notes.deaths(item.entry.image_id) for item in batch)  # tried alone: says nothing of others
        self.notes.forget([item.entry.image_id for item in batch])
        blamed = [failure for failure in results.failures if failure.stage == "classifier"]
        if not (self.proven or suspect) and blamed and not results.predictions:
            raise ModelError(f"the classifier failed on every picture of the first batch: {blamed[0].reason}")
        self.proven = self.proven or bool(results.predictions)

    def _side_by_side(self, group: Sequence[Prepared], batch: torch.Tensor) -> Results:
        """One batch (B, C, H, W) of one shape, in as many parts as there are lanes."""
        began, results = time.monotonic(), Results()
        parts = [(group[part], batch[part], Clock()) for part in self.lanes.parts(batch)]
        work = self.lanes.each if self.lanes.worth_it(batch) else self.lanes.in_turn
        for found in work(self._explain_part, parts):
            results.add(found)
        self.journal.share(time.monotonic() - began, [clock for *_, clock in parts])
        return results

    def _explain_part(
        self, classifier: Classifier, lane: int, part: tuple[Sequence[Prepared], torch.Tensor, Clock]
    ) -> Results:
        """What one lane does."""
        group, batch, clock = part
        return classify_and_attribute(group, batch, classifier, self.todo, clock=clock, sketcher=self.sketchers[lane])


def sketcher_of(classifier: Classifier) -> Sketcher | None:
    """What keeps the features of this classifier's pictures; None where it has no layer to read."""
    if not classifier.layer:
        return None
    early = earlier_layer(classifier.layers, classifier.layer)
    grid = next(
        (layer.layout.grid for layer in classifier.layers if layer.name == classifier.layer and layer.layout), None
    )
    size = grid or classifier.layout.grid
    if min(size) < 1:
        return None
    return Sketcher(size, early=early.name if early else "", layout=early.layout if early else None)


def _features(image_id: str, features: Features, place: int) -> dict[str, object]:
    """A row of table `features`."""
    kept = {name: getattr(features, name)[place].numpy().tobytes() for name in ("pooled", "places", "detail")}
    return {"image_id": image_id, **kept, "cell": features.cells[place].tolist()}


def waiting_bytes() -> int:
    """Bytes of prepared pictures that may wait for the classifier."""
    return int(min(WAITING_BYTES, max(PICTURES_LEAST, WAITING_SHARE * free_memory())))


def _no_room(entry: ImageEntry, batch: torch.Tensor, error: NoRoom) -> Failure:
    """Why a picture of this batch (B, C, H, W) was not shown to the model."""
    height, width = batch.shape[-2:]
    reason = (
        f"{width:,} x {height:,} pixels need about {size_text(error.needed)} in the classifier, which may take "
        f"{size_text(error.free)} here: give the model a transform that resizes, or the process more memory"
    )
    return Failure("classifier", entry.image_id, entry.relative_paths[0], reason)


def classify_and_attribute(
    group: Sequence[Prepared],
    batch: torch.Tensor,
    classifier: Classifier,
    todo: Todo,
    *,
    clock: Clock,
    sketcher: Sketcher | None = None,
) -> Results:
    """Forward, map and causal check of pictures of one shape; `batch` is (B, C, H, W).

    A batch that raises is halved until the picture at fault stands alone; that also answers a device out of memory.
    """
    try:
        with clock.timed("classifier and map"):
            labels = label_indices([item.entry for item in group], classifier.class_names)
            answer = attribute(
                classifier, batch, method=todo.method, question=todo.question, labels=labels, sketcher=sketcher
            )
    except MODEL_ERRORS as error:
        if len(group) == 1:
            return Results(failures=[failure_of("classifier", group[0].entry, error)])
        middle, results = len(group) // 2, Results()
        for half in (slice(None, middle), slice(middle, None)):
            some = classify_and_attribute(group[half], batch[half], classifier, todo, clock=clock, sketcher=sketcher)
            results.add(some)
        return results
    results = Results()
    probabilities = probabilities_of(answer.logits)  # (B, K)
    for i, item in enumerate(group):
        error_text = answer.errors[i]
        if error_text is not None:
            failure = Failure("classifier", item.entry.image_id, item.entry.relative_paths[0], error_text)
            results.failures.append(failure)
            continue
        results.predictions.append(prediction_of(item.entry, probabilities[i], classifier.class_names))
        if answer.reasons[i] is not None:
            results.attributions.append(Attribution(item.entry.image_id, "abstained", answer.reasons[i], None))
        if answer.features is not None:
            results.features.append(_features(item.entry.image_id, answer.features, i))
    for i in range(len(group)):
        if answer.errors[i] is None and answer.reasons[i] is None:
            row = answer.maps[i].numpy().copy()  # (h, w)
            figures: dict[str, Any] = {**attention_statistics(row), "attention_agreement": answer.agreement[i]}
            image_id = group[i].entry.image_id
            results.attributions.append(Attribution(image_id, "ok", None, row, seen=group[i].seen, **figures))
    wanted = [i for i, item in enumerate(group) if answer.errors[i] is None and todo.needs_check(item.entry.image_id)]
    results.checks += [
        CausalCheck(group[i].entry.image_id, None, None) for i in wanted if answer.reasons[i] is not None
    ]
    mapped = [i for i in wanted if answer.reasons[i] is None]
    with clock.timed("causal check"):
        for close in (True, False):
            places = [i for i in mapped if (group[i].entry.image_id in todo.close) == close]
            if places:
                draws = CAUSAL_DRAWS if close else 1
                _check(places, group, batch, answer, classifier, draws=draws, results=results)
    return results


def _check(
    mapped: Sequence[int],
    group: Sequence[Prepared],
    batch: torch.Tensor,
    answer: BatchAttribution,
    classifier: Classifier,
    *,
    draws: int,
    results: Results,
) -> None:
    """Causal check of the pictures that have a map; one whose check fails is recorded."""
    index = torch.as_tensor(list(mapped))
    before = answer.logits[index].softmax(dim=1).gather(1, answer.targets[index, None])[:, 0]
    try:
        effects = causal_check(
            classifier,
            batch[index],
            answer.maps[index],
            answer.targets[index],
            draws=draws,
            seed=CAUSAL_SEED,
            before=before,
        )
    except MODEL_ERRORS as error:
        if len(mapped) > 1:
            middle = len(mapped) // 2
            for half in (mapped[:middle], mapped[middle:]):
                _check(half, group, batch, answer, classifier, draws=draws, results=results)
            return
        results.failures.append(failure_of("causal", group[mapped[0]].entry, error))
        return
    for i, effect in zip(mapped, effects, strict=True):
        results.checks.append(CausalCheck(group[i].entry.image_id, **vars(effect)))
