"""The pipeline: joins the stages into a run that can be killed, resumed and read while it works.

Knows: the order of the stages, their fingerprints, when a run is done. Does not know: how a stage works inside.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from core import images, queries
from core.addresses import address_of
from core.classifier.loading import Classifier
from core.classifier.preprocess import seen_part
from core.errors import RequestError, StoreError, WhylookError
from core.images.known_files import NAME as KNOWN_FILES
from core.images.known_files import KnownFiles
from core.images.reading import PROBES
from core.images.remote import fetch
from core.memory import give_back
from core.pipeline.blocks import Job
from core.pipeline.explain import CAUSAL_SEED, EXPLAIN_STAGES, Todo, explain
from core.pipeline.journal import Journal
from core.pipeline.loading import load_for
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
from core.records import CAUSAL_DRAWS, CAUSAL_SAMPLE, ImageEntry
from core.store import Store, open_for_writing

if TYPE_CHECKING:
    from core.pipeline.judging import JudgeTodo

__all__ = ["Progress", "RunOutcome", "RunRequest", "RunState", "request_from_settings", "run"]

ORDER_SEED = 0
"""Of the order in which pictures go through."""
_ONCE_ASKED = (3, 20)
"""Draws and seed of an earlier causal check, kept in the fingerprint of maps, so that old maps count."""
ROUNDS = 3
"""How often a run goes over its pictures at most: again where a shard turned out damaged that it had just written."""


@dataclass(frozen=True)
class _Loaded:
    """Everything a run needs before it touches the store; `request` names a method where it asked for the best."""

    request: RunRequest
    scan: images.Scan
    classifier: Classifier
    probe: torch.Tensor | None
    batch_size: int
    fingerprints: dict[str, str]
    judging: JudgeTodo | None
    known_files: KnownFiles


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
        loaded.known_files.save(request.store / KNOWN_FILES)
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
    fetched = None
    if address := address_of(request.images):
        fetched = fetch(
            address, request.store / "remote", progress=lambda n, of: progress(Progress("fetching pictures", n, of))
        )
        request = dataclasses.replace(request, images=fetched.file)
    known = KnownFiles(request.store / KNOWN_FILES)
    scan = images.scan(request.images, metadata=request.metadata, known=known)
    scan.warnings.extend(fetched.warnings if fetched else ())
    _check_group(request.group, scan.entries)
    seconds["reading the folder"] = time.monotonic() - began
    began = time.monotonic()
    progress(Progress("loading models", 0, 0))
    loaded = load_for(request, scan.entries, scan.labels, progress=progress)
    request, classifier = loaded.request, loaded.classifier
    marks = _explain_fingerprints(request, scan, classifier)
    judging = None if request.no_vlm else _load_judging(request, marks, stack)
    seconds["loading models"] = time.monotonic() - began
    return _Loaded(
        request,
        scan,
        classifier,
        loaded.probe,
        loaded.batch_size,
        {**marks, **(judging.fingerprints if judging else {})},
        judging,
        known,
    )


def _check_group(group: str | None, entries: Sequence[ImageEntry]) -> None:
    known = dict.fromkeys(name for entry in entries for name in entry.metadata)
    if group is not None and group not in known:
        there = f"there are {', '.join(known)}" if known else "the pictures have no metadata"
        raise RequestError(f"--group names no column of the metadata: {group}; {there}")


def _explain_fingerprints(request: RunRequest, scan: images.Scan, classifier: Classifier) -> dict[str, str]:
    """One fingerprint per stage of the first pass; each holds that of the stage whose results it reads."""
    listed = listing_fingerprint(scan.entries)
    predicted = prediction_fingerprint(classifier.fingerprint, request.precision)
    labels = listed if request.question in ("label", "contrast") else None  # maps that depend on labels
    asked = (request.method, request.question, labels, classifier.layer, *_ONCE_ASKED)
    # what is cut or padded has its maps kept with the part of the picture that they are of
    cut = ("placed",) if seen_part(classifier.transform, (300, 200)) is not None else ()
    attributed = fingerprint("attribution", VERSIONS["attribution"], predicted, asked, *cut)
    checked = fingerprint("causal", VERSIONS["causal"], attributed, CAUSAL_SEED, CAUSAL_DRAWS)
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
        close=frozenset(entry.image_id for entry in entries[: min(sample, CAUSAL_SAMPLE)]),
        method=request.method,
        question=request.question,
        batch_size=loaded.batch_size,
        threads=decoding_threads(),
    )
    if request.engine == "ray":
        from core.pipeline.cluster import pass_of  # here, for Ray is an extra

        explained = pass_of(
            "explain", entries, _job_parts(loaded), todo.done, todo.checked, todo.close, journal=journal, stop=stop
        )
    else:
        explained = explain(entries, loaded.classifier, todo, journal=journal, stop=stop, probe=loaded.probe)
    if not explained:
        return False
    if loaded.judging is None:
        return True
    from core.pipeline import judging, report_card  # here for the reason that _load_judging gives

    journal.publish()  # the judge's pass reads maps and predictions from the published store
    give_back()
    sample = request.card_sample
    if sample and not report_card.make_card(entries, loaded.judging, sample=sample, journal=journal, stop=stop):
        return False
    if request.engine == "ray":
        chosen = judging.chosen_entries(entries, journal, budget=loaded.judging.budget)
        judged = {
            "judge": journal.store.done("judge", loaded.fingerprints["judge"], include_failed=False),
            "embedding": journal.store.done("embedding", loaded.fingerprints["embedding"]),
        }
        return pass_of("judge", chosen, _job_parts(loaded), judged, journal=journal, stop=stop)
    return judging.judge_pictures(entries, loaded.judging, journal=journal, stop=stop)


def _job_parts(loaded: _Loaded) -> Job:
    """What workers on a cluster are told of this run."""
    return Job(
        request=loaded.request,
        fingerprints=loaded.fingerprints,
        labels=tuple(loaded.scan.labels),
        probes=tuple(loaded.scan.entries[:PROBES]),
    )


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
