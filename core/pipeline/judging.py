"""Second pass: the judge looks at the masked pictures, and its words become vectors.

Knows: which pictures still lack a judgement, what the judge is shown. Does not know: prompts, llama.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import queries
from core.embedding import Embedder
from core.errors import ImageError
from core.judge import Judge, UrlJudge
from core.masking import Fill, masked_image
from core.pipeline.ahead import ahead, chunks
from core.pipeline.explain import read_picture
from core.pipeline.journal import Journal
from core.records import Failure, ImageEntry, Judgement, JudgeRequest

LONG_SIDE = 448
"""The masked picture is at most this long: more pixels cost the judge time and tell it little."""

ALPHA, BETA = 25.0, 0.4
FILL: Fill = "black"
"""The mask's settings (arXiv 2508.20227); part of the judge stage's fingerprint."""

TEXTS_PER_BATCH = 64


@dataclass(frozen=True)
class JudgeTodo:
    """The judge stage of one run: who judges, who embeds, and under which fingerprints."""

    judge: Judge | UrlJudge
    embedder: Embedder
    fingerprints: dict[str, str]
    batch_size: int
    threads: int


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
    """Judge every predicted picture that has no judgement yet, embedding the words as they come.

    The first pass must be published: maps and predictions are read from there, a batch at a time.

    Returns:
        False when `stop` ended it early.
    """
    if not embed_leftovers(entries, todo, journal=journal, stop=stop):
        return False
    # Failed judgements are tried again; abstentions are answers.
    judged = journal.store.done("judge", todo.fingerprints["judge"], include_failed=False)
    open_entries = [entry for entry in entries if entry.image_id not in judged]
    done = len(entries) - len(open_entries)
    journal.begin("judge", done=done, total=len(entries))
    requests = ahead(
        prepare_request,
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
                journal.report(len(entries), len(entries))
                return True
            done += _judge_batch(batch, todo, journal=journal)
            journal.report(done, len(entries))
            journal.publish_if_due()
    return False


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


def _rows(journal: Journal, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
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
    return str(found.get("attribution_reason") or "there is no attribution map of this picture")


def prepare_request(task: Task) -> tuple[ImageEntry, JudgeRequest | Failure]:
    """The masked picture at most LONG_SIDE long; called in threads."""
    image_id = task.entry.image_id
    try:
        picture = read_picture(task.entry)
    except ImageError as error:
        return task.entry, Failure("judge", image_id, task.entry.relative_paths[0], str(error))
    picture.thumbnail((LONG_SIDE, LONG_SIDE))
    pixels = np.asarray(picture, dtype=np.uint8)  # (H, W, 3)
    if task.map is None:
        return task.entry, JudgeRequest(image_id, np.zeros_like(pixels), task.prediction, task.reason)
    masked = masked_image(pixels, task.map, alpha=ALPHA, beta=BETA, fill=FILL)
    return task.entry, JudgeRequest(image_id, masked, task.prediction)
