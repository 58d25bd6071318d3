"""Second pass: the judge looks at the masked pictures, and its words become vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import core.judge.loading
import core.judge.url
from core import images, queries
from core.embedding import Embedder, load_embedder
from core.errors import ImageError, RequestError
from core.images.masking import ALPHA, BETA, masked_image
from core.judge.protocol import Judge
from core.judge.sampling import choose
from core.pipeline.journal import Journal
from core.pipeline.prefetch import ahead, chunks, decoding_threads
from core.pipeline.request import VERSIONS, RunRequest, fingerprint
from core.records import Failure, Fill, ImageEntry, Judgement, JudgeRequest, Row, View

LONG_SIDE = 448
"""The masked picture is at most this long: more pixels cost the judge time and tell it little."""

JUDGED_AT_ONCE = 4
"""How many of its batches the judge is handed together, so that a place that is done is filled again."""
TEXTS_PER_BATCH = 64


@dataclass(frozen=True)
class JudgeTodo:
    """The judge stage of one run: who judges, who embeds, and under which fingerprints."""

    judge: Judge
    embedder: Embedder
    fingerprints: dict[str, str]
    batch_size: int
    threads: int
    fill: Fill = "black"
    view: View = "masked"
    budget: int | None = None
    """Pictures to judge; None judges all."""


def load_judging(request: RunRequest, marks: Mapping[str, str], stack: ExitStack) -> JudgeTodo:
    """The judge and the embedder that a request names; `stack` closes the judge.

    Args:
        request: names files or a server, prompts and protocol.
        marks: the fingerprint of the attribution stage.
        stack: what ends with the run.

    Raises:
        RequestError: the judge cannot be loaded, or prompts and protocol do not fit each other.
    """
    judge = stack.enter_context(_open_judge(request))
    if judge.protocol != request.protocol:
        raise RequestError(
            f"{request.prompts} holds prompts of protocol {judge.protocol}: add --protocol {judge.protocol}"
        )
    embedder = load_embedder(device="cpu")
    # what masks the picture is part of the judge stage's fingerprint
    look = (ALPHA, BETA, request.fill, LONG_SIDE, *(() if request.view == "masked" else (request.view,)))
    judged = fingerprint("judge", VERSIONS["judge"], marks["attribution"], judge.fingerprint, look)
    embedded = fingerprint("embedding", VERSIONS["embedding"], judged, embedder.fingerprint)
    return JudgeTodo(
        judge=judge,
        embedder=embedder,
        fingerprints={"judge": judged, "embedding": embedded},
        batch_size=request.judge_batch_size or JUDGED_AT_ONCE * judge.batch_size,
        threads=decoding_threads(),
        fill=request.fill,
        view=request.view,
        budget=request.judge_budget,
    )


def _open_judge(request: RunRequest) -> Judge:
    """The judge in this process, or the one behind a server."""
    common: dict[str, Any] = {
        "protocol": request.protocol, "prompts": request.prompts, "fill": request.fill, "view": request.view
    }  # fmt: skip
    if request.vlm_url is not None:
        return core.judge.url.load_url_judge(request.vlm_url, model=request.vlm_model, **common)
    if request.vlm is None or request.mmproj is None:
        raise RequestError("--vlm and --mmproj belong together")
    return core.judge.loading.load_judge(
        vlm=request.vlm,
        mmproj=request.mmproj,
        device=request.device,
        batch_size=request.judge_batch_size,
        threads=request.threads,
        **common,
    )


@dataclass(frozen=True)
class Task:
    """A picture with what the first pass said of it; `map` is None where there is none, `reason` says why."""

    entry: ImageEntry
    prediction: str
    map: NDArray[np.float32] | None
    reason: str | None


def judge_pictures(
    entries: Sequence[ImageEntry], todo: JudgeTodo, *, journal: Journal, stop: Callable[[], bool]
) -> bool:
    """Judge every picture of the budget that has no judgement yet, embedding the words as they come.

    One whose label was not asked about is judged again: its label is another one now, or an older whylook judged it.

    The first pass must be published: maps and predictions are read from there, a batch at a time. Pictures come in a
    random order that is always the same, so that what is judged so far is a fair sample.

    Returns:
        False when `stop` ended it early.
    """
    if not embed_leftovers(entries, todo, journal=journal, stop=stop):
        return False
    # Failed judgements are tried again; abstentions are answers.
    judged = journal.store.done("judge", todo.fingerprints["judge"], include_failed=False)
    if todo.judge.protocol == "calibrated":
        judged -= queries.labels_not_asked(journal.store.reader(), journal.run)
    chosen = chosen_entries(entries, journal, budget=todo.budget)
    open_entries = [entry for entry in chosen if entry.image_id not in judged]
    done = len(chosen) - len(open_entries)
    journal.begin("judge", done=done, total=len(chosen))
    requests = ahead(
        lambda task: prepare_request(task, fill=todo.fill, view=todo.view),
        _tasks(open_entries, journal, size=todo.batch_size),
        threads=todo.threads,
        limit=2 * todo.batch_size,
    )
    with closing(requests):
        batches = chunks(requests, todo.batch_size)
        while not stop():
            with journal.timed("waiting for masked pictures"):
                batch = next(batches, None)
            if batch is None:
                journal.report(len(chosen), len(chosen))
                return True
            done += _judge_batch(batch, todo, journal=journal)
            journal.report(done, len(chosen))
            journal.publish_if_due()
    return False


def chosen_entries(entries: Sequence[ImageEntry], journal: Journal, *, budget: int | None) -> list[ImageEntry]:
    """The predicted pictures to judge, in the order in which to judge them."""
    rows = queries.fetch_rows(
        journal.store.reader(),
        "SELECT image_id, correct IS FALSE AS wrong FROM samples WHERE run = ? AND prediction IS NOT NULL",
        [journal.run],
    )
    here = {entry.image_id: entry for entry in entries}
    chosen = choose({row["image_id"]: row["wrong"] for row in rows}, budget)
    return [here[image_id] for image_id in chosen if image_id in here]


def _judge_batch(
    batch: Sequence[tuple[ImageEntry, JudgeRequest | Failure]], todo: JudgeTodo, *, journal: Journal
) -> int:
    """One batch to the judge and into shards; the number of pictures dealt with."""
    failures = [item for _, item in batch if isinstance(item, Failure)]
    requests = [item for _, item in batch if isinstance(item, JudgeRequest)]
    with journal.timed("judge"):
        judgements = todo.judge.judge(requests) if requests else []
    paths = {entry.image_id: entry.relative_paths[0] for entry, _ in batch}
    journal.write("judgements", judgements, fingerprint=todo.fingerprints["judge"])
    embed([(item.image_id, explanation(item)) for item in judgements], todo, journal=journal)
    failures += [
        Failure("judge", item.image_id, paths[item.image_id], item.reason or "no reason given")
        for item in judgements
        if item.state == "failed"
    ]
    journal.fail(failures)
    return len(batch)


def explanation(judgement: Judgement) -> str:
    """The judge's text of one picture, as it is searched."""
    return " ".join(part for part in (judgement.description, judgement.justification) if part).strip()


def embed(texts: Sequence[tuple[str, str]], todo: JudgeTodo, *, journal: Journal) -> None:
    """Vectors of (image_id, text) pairs; a picture without words has no vector."""
    spoken = [(image_id, text) for image_id, text in texts if text]
    if not spoken:
        return
    with journal.timed("embedding"):
        vectors = todo.embedder.embed([text for _, text in spoken])  # (N, 384)
    rows = [{"image_id": image_id, "vector": vector} for (image_id, _), vector in zip(spoken, vectors, strict=True)]
    journal.write("embeddings", rows, fingerprint=todo.fingerprints["embedding"])


def embed_leftovers(
    entries: Sequence[ImageEntry], todo: JudgeTodo, *, journal: Journal, stop: Callable[[], bool]
) -> bool:
    """Embed what an earlier attempt judged and then did not live to embed. False when stopped."""
    judged = journal.store.done("judge", todo.fingerprints["judge"], include_failed=False)
    judged -= journal.store.done("embedding", todo.fingerprints["embedding"])
    left = [entry.image_id for entry in entries if entry.image_id in judged]
    for ids in chunks(left, TEXTS_PER_BATCH):
        if stop():
            return False
        rows = _rows(journal, ids)
        embed(
            [
                (image_id, f"{row['description'] or ''} {row['justification'] or ''}".strip())
                for image_id, row in rows.items()
            ],
            todo,
            journal=journal,
        )
    return True


def _rows(journal: Journal, ids: Sequence[str]) -> dict[str, Row]:
    """Rows of `samples` by image."""
    rows = queries.pictures(journal.store.reader(), journal.run, ids=list(ids), limit=len(ids))
    return {str(row["image_id"]): row for row in rows}


def _tasks(entries: Sequence[ImageEntry], journal: Journal, *, size: int) -> Iterator[Task]:
    """What the first pass said, read as it is needed; pictures without a prediction have nothing to judge."""
    for some in chunks(entries, size):
        ids = [entry.image_id for entry in some]
        rows, maps = _rows(journal, ids), queries.maps(journal.store.reader(), journal.run, ids)
        for entry in some:
            row = rows.get(entry.image_id)
            if row is None or row["prediction"] is None:
                continue
            attention = maps.get(entry.image_id)
            reason = None if attention is not None else _why_no_map(journal, entry.image_id)
            yield Task(entry, str(row["prediction"]), attention, reason)


def _why_no_map(journal: Journal, image_id: str) -> str:
    """The attribution stage's reason, for the judge's abstention."""
    found = queries.sample(journal.store.reader(), journal.run, image_id)
    return found.attribution_reason or "there is no attribution map of this picture"


def prepare_request(task: Task, *, fill: Fill, view: View) -> tuple[ImageEntry, JudgeRequest | Failure]:
    """The picture as the judge is shown it; called in threads."""
    image_id, label = task.entry.image_id, task.entry.label
    try:
        pixels = small_picture(task.entry)
    except ImageError as error:
        return task.entry, Failure("judge", image_id, task.entry.relative_paths[0], str(error))
    if task.map is None:
        return task.entry, JudgeRequest(image_id, np.zeros_like(pixels), task.prediction, task.reason)
    masked = shown(pixels, task.map, fill=fill, view=view)
    return task.entry, JudgeRequest(image_id, masked, task.prediction, label=label)


def small_picture(entry: ImageEntry) -> NDArray[np.uint8]:
    """A picture (H, W, 3) at most LONG_SIDE long.

    Raises:
        ImageError: it cannot be read.
    """
    shown_small = images.Reader(side=LONG_SIDE)
    with images.opened(entry.path, image_id=entry.image_id, reader=lambda pixels: shown_small) as found:
        found.picture.thumbnail((LONG_SIDE, LONG_SIDE))
        return np.asarray(found.picture, dtype=np.uint8)


def shown(pixels: NDArray[np.uint8], map_: NDArray[np.float32], *, fill: Fill, view: View) -> NDArray[np.uint8]:
    """What the judge sees of a picture (H, W, 3) and its map (h, w): (H, W, 3), or (H, 2W, 3) side by side."""
    masked = masked_image(pixels, map_, alpha=ALPHA, beta=BETA, fill=fill)
    return np.concatenate([pixels, masked], axis=1) if view == "side-by-side" else masked
