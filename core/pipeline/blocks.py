"""What a worker on a cluster does: a pass of a run over one block of pictures, with the code of a run on one machine.

Knows: how a worker loads its models and what it hands back. Does not know: Ray, other workers, the run's record.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from core.attribution.names import Question
from core.errors import RequestError
from core.memory import keep_freed_memory
from core.pipeline.explain import Todo, explain
from core.pipeline.journal import Journal
from core.pipeline.loading import load_for
from core.pipeline.prefetch import decoding_threads
from core.pipeline.request import Progress, RunRequest, prediction_fingerprint
from core.records import Failure, ImageEntry
from core.store.block_writer import BlockWriter

Pass = Literal["explain", "judge"]
NOTES = "workers"
"""Folder in the store where workers note what they work on; cleared when a run begins and ends."""


@dataclass(frozen=True)
class Job:
    """What every worker is told: `request` names method and precision, never auto; `probes` are the first pictures."""

    request: RunRequest
    fingerprints: Mapping[str, str]
    labels: tuple[str, ...]
    probes: tuple[ImageEntry, ...]
    kind: Pass = "explain"
    run: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Block:
    """Some pictures of a pass; `done` are those with rows by stage, `checked` those that get a causal check.

    `close` are those of them that get all draws.
    """

    number: int
    entries: tuple[ImageEntry, ...]
    done: Mapping[str, frozenset[str]]
    checked: frozenset[str] = frozenset()
    close: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Told:
    """What a worker says of a block: rows are in shards."""

    pictures: int
    failures: tuple[Failure, ...]
    seconds: Mapping[str, float]


class Worker:
    """Holds the models of one pass and works through blocks, one at a time."""

    def __init__(self, job: Job) -> None:
        """Load the models.

        Raises:
            RequestError: the classifier here is not the one that the run began with.
        """
        keep_freed_memory()
        torch.set_num_threads(job.threads)
        self._job = job
        self._stack = ExitStack()
        if job.kind == "judge":
            from core.pipeline.judging import load_judging  # a run without a judge needs no llama.cpp

            self._judging = load_judging(job.request, job.fingerprints, self._stack)
            return
        loaded = load_for(job.request, job.probes, job.labels)
        self._ready = loaded
        mark = prediction_fingerprint(loaded.classifier.fingerprint, loaded.request.precision)
        if mark != job.fingerprints["classifier"]:
            raise RequestError(
                f"the classifier {job.request.classifier} is another one on a worker: every machine must see the "
                "same files and packages"
            )

    def ready(self) -> bool:
        """Answers once the models are loaded."""
        return True

    def work(self, block: Block, attempt: int) -> Told:
        """One pass over a block. From the second attempt on every picture is noted: one of them may kill workers."""
        writer = BlockWriter(self._job.request.store, block.done)
        seconds: dict[str, float] = {}
        journal = Journal(writer, self._job.run, progress=_nobody, seconds=seconds)
        if self._job.kind == "judge":
            from core.pipeline.judging import judge_pictures

            judge_pictures(block.entries, self._judging, journal=journal, stop=_never)
        else:
            notes = self._job.request.store / NOTES / f"block-{block.number:06d}"
            notes.mkdir(parents=True, exist_ok=True)
            explain(
                block.entries, self._ready.classifier, self._todo(block), journal=journal, stop=_never,
                probe=self._ready.probe, notes=notes, careful=attempt > 1,
            )  # fmt: skip
            shutil.rmtree(notes, ignore_errors=True)
        return Told(len(block.entries), tuple(journal.failures), seconds)

    def _todo(self, block: Block) -> Todo:
        """The block's part of what a run on one machine would keep in mind."""
        question: Question = self._job.request.question
        return Todo(
            fingerprints=dict(self._job.fingerprints),
            done={stage: set(ids) for stage, ids in block.done.items()},
            checked=block.checked,
            close=block.close,
            method=self._job.request.method,
            question=question,
            batch_size=self._ready.batch_size,
            threads=decoding_threads(),
        )


def notes_of(store: Path) -> Path:
    """Where the workers of a store note what they work on."""
    return store / NOTES


def _never() -> bool:
    return False


def _nobody(news: Progress) -> None:
    """The driver reports."""
