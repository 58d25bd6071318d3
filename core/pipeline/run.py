"""The pipeline: joins the stages into a run that can be killed, resumed and read while it works.

Knows: the order of the stages, their fingerprints, when a run is done. Does not know: how a stage works inside.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from core import images, queries
from core.attribution.methods import METHODS
from core.classifier.layers import earlier_layer
from core.classifier.loading import Classifier, load_classifier, stack_by_shape
from core.classifier.names import Precision
from core.classifier.precision import set_precision
from core.classifier.preprocess import seen_part
from core.classifier.streamline import streamline
from core.errors import ImageError, ModelError, RequestError, StoreError, WhylookError
from core.images.reading import PROBES, first_picture, probe_picture
from core.memory import give_back
from core.pipeline.auto import choose_method, choose_precision
from core.pipeline.explain import CAUSAL_SEED, EXPLAIN_STAGES, Todo, explain
from core.pipeline.journal import Journal
from core.pipeline.lanes import lanes_for
from core.pipeline.prefetch import decoding_threads
from core.pipeline.request import (
    VERSIONS,
    Progress,
    RunOutcome,
    RunRequest,
    RunState,
    fingerprint,
    listing_fingerprint,
    prediction_fingerprint,
    request_from_settings,
)
from core.records import CAUSAL_SAMPLE, ImageEntry
from core.store import Store, open_for_writing

if TYPE_CHECKING:
    from core.pipeline.judging import JudgeTodo

__all__ = ["Progress", "RunOutcome", "RunRequest", "RunState", "request_from_settings", "run"]

BATCH_SIZE = {"cpu": 16, "mps": 64, "cuda": 128}
"""Pictures of 224 x 224 at a time; of smaller ones more, up to LARGEST_BATCH."""
LARGEST_BATCH = 128
PROBED = 12
"""Pictures on which `auto` compares."""
ORDER_SEED = 0
"""Of the order in which pictures go through."""
_ONCE_ASKED = (3, 20)
"""Draws and seed of an earlier causal check, kept in the fingerprint of maps, so that old maps count."""
ROUNDS = 3
"""How often a run goes over its pictures at most: again where a shard turned out damaged that it had just written."""
_TRIED = 4
"""Pictures on which the classifier's speed is tried."""
PROBED_BYTES = 2**25
"""And their bytes at most: fewer pictures where the transform leaves them large."""


@dataclass(frozen=True)
class _Loaded:
    """Everything a run needs before it touches the store; `request` names a method where it asked for the best."""

    request: RunRequest
    scan: images.Scan
    classifier: Classifier
    probe: torch.Tensor | None
    fingerprints: dict[str, str]
    judging: JudgeTodo | None


def run(request: RunRequest, *, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> RunOutcome:
    """Explain a classifier over a folder of pictures, into a store.

    Rows of earlier runs with the same fingerprints are kept, not computed again. What is reported as done is on disk.

    Args:
        request: What to do.
        progress: Called after every batch.
        stop: Asked between batches; True ends the run cleanly, to be resumed by the same request.

    Raises:
        RequestError: The request is wrong, before anything is written.
        WhylookError: The run cannot continue (full disk, a classifier that never works); what was done is kept.
    """
    request.check()
    store = Store(request.store)
    if store.writer_alive():
        raise StoreError(f"another run is writing to {request.store}; wait for it or name another --store")
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        loaded = _load(request, seconds=seconds, stack=stack, progress=progress)
        request = loaded.request
        writer = stack.enter_context(open_for_writing(request.store))
        progress(Progress("checking the store", 0, 0))
        began = time.monotonic()
        writer.check()
        seconds["checking the store"] = time.monotonic() - began
        note, limits = (loaded.judging.judge.note, loaded.judging.judge.limits) if loaded.judging else (None, None)
        name = writer.begin_run(
            request.settings(), loaded.fingerprints, class_names=loaded.classifier.class_names, judge_note=note,
            judge_limits=limits,
        )  # fmt: skip
        journal = Journal(writer, name, progress=progress, seconds=seconds)
        for _ in range(ROUNDS):
            known = len(writer.damaged())
            state, counts = _round(loaded, journal, note=note, stop=stop)
            if state != "done" or len(writer.damaged()) == known:
                break
        card = queries.judge_card(store.reader(), name) if loaded.judging else None
        damaged = tuple(damage.sentence for damage in writer.damaged())
        writer.damage_is_said()
    said = [sentence for sentence in (note, limits, card and card.sentence) if sentence]
    warnings = (*loaded.scan.warnings, *loaded.classifier.notes, *said)
    return RunOutcome(name, state, counts, tuple(journal.failures), seconds, warnings, damaged)


def _round(
    loaded: _Loaded, journal: Journal, *, note: str | None, stop: Callable[[], bool]
) -> tuple[RunState, dict[str, int]]:
    """All that is not done yet, and the last publication; how it ended, and the counts."""
    state: RunState = "failed"
    try:
        journal.fail(loaded.scan.failures)
        state = "done" if _work(loaded.request, loaded, journal=journal, stop=stop) else "interrupted"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        # Whatever happened, readers see what was finished; a second error must not hide the first.
        with suppress(WhylookError) if state == "failed" else ExitStack():
            counts = _finish(loaded, journal, state=state, note=note)
    return state, counts


def _load(
    request: RunRequest, *, seconds: dict[str, float], stack: ExitStack, progress: Callable[[Progress], None]
) -> _Loaded:
    """Scan the folder, load the models, and say what each stage's results depend on."""
    began = time.monotonic()
    progress(Progress("reading the folder", 0, 0))
    scan = images.scan(request.images, metadata=request.metadata)
    _check_group(request.group, scan.entries)
    seconds["reading the folder"] = time.monotonic() - began
    began = time.monotonic()
    progress(Progress("loading models", 0, 0))
    classifier = load_classifier(
        request.classifier,
        weights=request.weights,
        classes=request.classes,
        labels=scan.labels,
        device=request.device,
        layer=request.layer,
        needs_layer=request.method not in METHODS or METHODS[request.method].needs != "model",
        probe=first_picture(scan.entries),
    )
    probe = _probe(classifier, scan.entries)
    if request.method == "auto":
        request, classifier = _with_method(request, classifier, _probes(classifier, scan.entries, progress))
    if probe is not None:
        read = earlier_layer(classifier.layers, classifier.layer) if classifier.layer else None
        several = probe.expand(max(1, min(_TRIED, PROBED_BYTES // probe.nbytes)), -1, -1, -1).to(classifier.device)
        streamline(classifier.model, several, keep=frozenset({classifier.layer, read.name if read else ""}))
    if request.precision == "auto":
        request, classifier = _with_precision(request, classifier, _probes(classifier, scan.entries, progress))
    set_precision(classifier.model, cast(Precision, request.precision), classifier.device)
    classifier.model.requires_grad_(False)
    marks = _explain_fingerprints(request, scan, classifier)
    judging = None if request.no_vlm else _load_judging(request, marks, stack)
    seconds["loading models"] = time.monotonic() - began
    return _Loaded(request, scan, classifier, probe, {**marks, **(judging.fingerprints if judging else {})}, judging)


def _check_group(group: str | None, entries: Sequence[ImageEntry]) -> None:
    known = dict.fromkeys(name for entry in entries for name in entry.metadata)
    if group is not None and group not in known:
        there = f"there are {', '.join(known)}" if known else "the pictures have no metadata"
        raise RequestError(f"--group names no column of the metadata: {group}; {there}")


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


def _explain_fingerprints(request: RunRequest, scan: images.Scan, classifier: Classifier) -> dict[str, str]:
    """One fingerprint per stage of the first pass; each holds that of the stage whose results it reads."""
    listed = listing_fingerprint(scan.entries)
    predicted = prediction_fingerprint(classifier.fingerprint, request.precision)
    labels = listed if request.question in ("label", "contrast") else None  # maps that depend on labels
    asked = (request.method, request.question, labels, classifier.layer, *_ONCE_ASKED)
    # what is cut or padded has its maps kept with the part of the picture that they are of
    cut = ("placed",) if seen_part(classifier.transform, (300, 200)) is not None else ()
    attributed = fingerprint("attribution", VERSIONS["attribution"], predicted, asked, *cut)
    checked = fingerprint("causal", VERSIONS["causal"], attributed, CAUSAL_SEED)
    return {"images": listed, "classifier": predicted, "attribution": attributed, "causal": checked}


def _load_judging(request: RunRequest, marks: Mapping[str, str], stack: ExitStack) -> JudgeTodo:
    """Imported here: a run without a judge needs neither llama.cpp nor transformers."""
    from core.pipeline.judging import load_judging

    return load_judging(request, marks, stack)


def in_random_order(entries: Sequence[ImageEntry]) -> list[ImageEntry]:
    """The pictures in an order that has nothing to do with folders or classes, the same at every attempt.

    So those that are done when a run is stopped are a random sample of all.
    """
    return sorted(entries, key=lambda entry: fingerprint(ORDER_SEED, entry.image_id))


def _work(request: RunRequest, loaded: _Loaded, *, journal: Journal, stop: Callable[[], bool]) -> bool:
    """Both passes; False when stopped."""
    entries = in_random_order(loaded.scan.entries)
    done: dict[str, set[str]] = {
        stage: journal.store.done(stage, loaded.fingerprints[stage]) for stage in EXPLAIN_STAGES
    }
    sample = CAUSAL_SAMPLE if request.causal_sample is None else request.causal_sample
    todo = Todo(
        fingerprints=loaded.fingerprints,
        done={**done, "causal": done["causal"] | _checked_before(journal, loaded.fingerprints["attribution"])},
        checked=frozenset(entry.image_id for entry in entries[:sample]),
        method=request.method,
        question=request.question,
        batch_size=request.batch_size or _batch_size(loaded),
        threads=decoding_threads(),
    )
    if not explain(entries, loaded.classifier, todo, journal=journal, stop=stop, probe=loaded.probe):
        return False
    if loaded.judging is None:
        return True
    from core.pipeline import judging, report_card  # here for the reason that _load_judging gives

    journal.publish()  # the judge's pass reads maps and predictions from the published store
    give_back()
    sample = request.card_sample
    if sample and not report_card.make_card(entries, loaded.judging, sample=sample, journal=journal, stop=stop):
        return False
    return judging.judge_pictures(entries, loaded.judging, journal=journal, stop=stop)


def _batch_size(loaded: _Loaded) -> int:
    """Pictures per batch where nobody says: of small ones more, for they take no more memory together."""
    usual = BATCH_SIZE.get(loaded.classifier.device.type, 32)
    if loaded.probe is None:
        return usual
    height, width = loaded.probe.shape[-2:]
    several = max(usual, min(LARGEST_BATCH, usual * 224 * 224 // max(1, height * width)))
    return several * lanes_for(loaded.classifier, loaded.request.method)


def _checked_before(journal: Journal, fingerprint: str) -> set[str]:
    """Pictures whose causal check stands beside their map, as versions until 0.1 wrote it; they need none again."""
    try:
        return queries.checked_maps(journal.store.reader(), fingerprint)
    except StoreError:  # nothing is published
        return set()


def _finish(loaded: _Loaded, journal: Journal, *, state: RunState, note: str | None) -> dict[str, int]:
    """Count, note the end and publish for the last time, so that the record says what readers see."""
    entries = {entry.image_id for entry in loaded.scan.entries}
    names = {"images": "pictures", "classifier": "predicted", "attribution": "attributed"}
    counts = {
        names[stage]: len(entries & journal.store.done(stage, mark))
        for stage, mark in loaded.fingerprints.items()
        if stage in names
    }
    if mark := loaded.fingerprints.get("judge"):
        asked, answered = (
            len(entries & journal.store.done("judge", mark, include_failed=all_)) for all_ in (True, False)
        )
        counts |= {"judged": answered, "abstained": 0, "judge failed": asked - answered}
    counts |= {"listed": len(entries), "failures": len(journal.failures)}
    journal.store.finish_run(journal.run, state, counts, judge_note=note, seconds=journal.unnoted())
    journal.report(len(entries) if state == "done" else counts["pictures"], len(entries), message=state)
    journal.publish_final()
    published = {**counts, **_published_counts(journal, judged="judge" in loaded.fingerprints)}
    if published != counts:
        journal.store.finish_run(journal.run, state, published, judge_note=note, seconds=journal.unnoted())
        journal.publish_final()
    return published


def _published_counts(journal: Journal, *, judged: bool) -> dict[str, int]:
    """What only the published store knows: the judge's states, and which failures of earlier attempts still stand."""
    found = queries.run_counts(journal.store.reader(), journal.run)
    states = {"judged": found.judged, "abstained": found.abstained, "judge failed": found.judge_failed}
    return {**(states if judged else {}), "failures": found.failures}
