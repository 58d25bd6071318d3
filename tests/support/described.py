"""Runs whose judge's texts are drawn: words that go with nothing but the answer, and one that may be planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.findings.frame import Frame
from core.queries import CueRow
from tests.support.made_runs import made_run

PLANTED = "photo credit"
CLASSES = 10


@dataclass(frozen=True)
class Texts:
    """How the texts of a world are drawn: the shares of the first group's and the other pictures that say PLANTED."""

    inside: float = 0.0
    outside: float = 0.0
    written: float = 1.0
    """Share of the pictures that the judge described."""


def described_world(seed: int, texts: Texts, *, n: int = 3000) -> tuple[Frame, list[CueRow]]:
    """A run with two groups of each answer, of which the first is a used cue."""
    run = made_run(seed, n=n, classes=CLASSES)
    rng = run.generator
    first = rng.random(n) < 0.4
    vocabulary = np.asarray([f"word{place}" for place in range(150)])
    usual = 1 / np.arange(1, 151)
    own = [rng.permutation(usual) + usual for _ in range(CLASSES)]  # each class has words of its own
    said = [rng.choice(vocabulary, 12, p=own[label] / own[label].sum()) for label in run.label]
    named = rng.random(n) < np.where(first & (run.label == 0), texts.inside, texts.outside)
    written = rng.random(n) < texts.written
    run.columns["description"] = np.asarray(
        [
            " ".join([*words, *([PLANTED] if there else [])]) if known else None
            for words, there, known in zip(said, named, written, strict=True)
        ],
        dtype=object,
    )
    run.columns["strategy"] = np.where(first, "1", "2").astype(object)
    return run.frame(), [_used(f"class{place}") for place in range(CLASSES)]


def _used(answer: str) -> CueRow:
    return CueRow(
        cue=f"{answer} 1", kind="strategy", answer=answer, words="", verdict="used", reason="",
        sql=f"prediction = '{answer}' AND strategy = '1'", n=0, wrong=None, wrong_rest=None, effect=0.3, low=0.2,
        high=0.4, placebo=0.0, p=0.001, tested=48, region=None, prototypes=(), examples=(),
    )  # fmt: skip
