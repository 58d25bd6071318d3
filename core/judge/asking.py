"""How one picture is asked: questions as steps that are decoded side by side until every reply is complete."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from core.judge import prompts as forms
from core.judge.prompts import ChatTemplate, Prompts
from core.records import Judgement, JudgeRequest

MAX_TEXT_TOKENS = 96
"""A description or justification longer than this has gone astray; it is recorded as failed."""
MIN_MASS = 0.05
"""Least probability on the digits 0-5 together; below it the judge has no score to give and abstains."""
MAX_DISAGREEMENT = 2.5
"""Largest difference of the expected scores under the two rubric orders; beyond it the passes contradict each other."""


@dataclass(frozen=True)
class Step:
    """`force`: tokens are given; `text`: the judge writes up to a quotation mark; `score`: one digit is read."""

    kind: Literal["force", "text", "score"]
    name: str = ""
    text: str = ""


@dataclass
class Line:
    """One question to one picture: its steps, and what has been read so far."""

    steps: list[Step]
    sequence: int = -1
    position: int = 0
    pending: list[int] = field(default_factory=list)
    """Tokens to decode next; empty when the reply is complete."""
    written: bytes = b""
    count: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    distribution: NDArray[np.float64] | None = None
    mass: float = 0.0
    failure: str | None = None
    label: bool = False
    """Whether it asks about the picture's label in the place of the prediction."""


def lines(
    prompts: Prompts, template: ChatTemplate, prediction: str, *, label: str | None = None, words: bool = True
) -> list[Line]:
    """The questions a protocol asks of one picture, as lines that share everything up to the picture.

    Without `words` only what decides the score is asked: the score is the same, and costs less. A `label` that is not
    the prediction is scored, too, by one token per rubric order; the paper's protocol knows no such question.
    """

    def asked(name: str, *, of: str = prediction, reverse: bool = False) -> str:
        return template.split(prompts.instructions, prompts.question(name, prediction=of, reverse=reverse))[1]

    def scored(of: str, *, about_label: bool = False) -> list[Line]:
        return [
            Line(
                [Step("force", text=asked("score", of=of, reverse=reverse) + forms.SCORE), Step("score")],
                label=about_label,
            )
            for reverse in (False, True)
        ]

    if prompts.protocol == "paper":
        return [Line([
            Step("force", text=asked("explain") + forms.DESCRIPTION), Step("text", "description"),
            Step("force", text=forms.AFTER_DESCRIPTION), Step("text", "justification"),
            Step("force", text=forms.AFTER_JUSTIFICATION), Step("score"),
        ])]  # fmt: skip
    scores = scored(prediction)
    of_label = scored(label, about_label=True) if label is not None and label != prediction else []
    if not words:
        return [*scores, *of_label]
    scores[0].steps += [Step("force", text=forms.JUSTIFICATION), Step("text", "justification")]
    described = Line([Step("force", text=asked("describe") + forms.DESCRIPTION), Step("text", "description")])
    return [described, *scores, *of_label]


def read_score(logits: NDArray[np.float32], digits: Sequence[int]) -> tuple[NDArray[np.float64], float]:
    """The score distribution at one position (mean of the distribution rather than its mode: arXiv 2503.03064).

    Args:
        logits: (vocabulary,).
        digits: token ids of "0" to "5".

    Returns:
        Probabilities of 0..5, (6,), normalised, and the mass they had among all tokens.
    """
    values = logits.astype(np.float64)  # by hand: scipy's softmax is slower at every size tried, 512 to 150,000
    values -= values.max()
    weights = np.exp(values)
    share = weights[list(digits)]
    mass = float(share.sum() / weights.sum())
    return share / max(float(share.sum()), 1e-300), mass


@dataclass(frozen=True)
class Reading:
    """What the lines of one picture add up to."""

    state: Literal["ok", "abstained", "failed"]
    reason: str | None
    description: str | None
    justification: str | None
    distribution: tuple[float, ...] | None
    rubric_shift: float | None = None


def read(asked: Sequence[Line], prompts: Prompts) -> Reading:
    """Join the replies to one picture: both rubric orders averaged, contradictions and empty replies refused."""
    texts = {name: text for line in asked for name, text in line.texts.items()}
    description, justification = texts.get("description"), texts.get("justification")

    def without_score(state: Literal["abstained", "failed"], reason: str) -> Reading:
        return Reading(state, reason, description, justification, None)

    failures = [line.failure for line in asked if line.failure]
    if failures:
        return without_score("failed", failures[0])
    scored = [line for line in asked if line.distribution is not None]
    mass = min(line.mass for line in scored)
    if not math.isfinite(mass):
        return without_score("failed", "the judge's numbers are not finite: its weights may be damaged")
    if mass < MIN_MASS:
        return without_score("abstained", f"the digits 0-5 have only {mass:.1%} of the probability")
    each = [line.distribution for line in scored if line.distribution is not None]
    means = [float(p @ np.arange(6)) for p in each]
    if max(means) - min(means) > MAX_DISAGREEMENT:
        return without_score(
            "abstained", f"the two rubric orders contradict each other: {means[0]:.1f} and {means[1]:.1f}"
        )
    if prompts.protocol == "paper":  # the paper takes the digit itself
        digit = int(np.argmax(each[0]))
        return Reading("ok", None, description, justification, tuple(float(value == digit) for value in range(6)))
    mean = np.mean(each, axis=0)
    shift = means[1] - means[0]
    return Reading("ok", None, description, justification, tuple(float(p) for p in mean), shift)


def judgement(request: JudgeRequest, asked: Sequence[Line], prompts: Prompts, *, seconds: float) -> Judgement:
    """The record of one picture from its lines: state, words, expected score, entropy and distribution."""
    reading = read([line for line in asked if not line.label], prompts)
    score = entropy = None
    if reading.distribution is not None:
        p = np.asarray(reading.distribution)
        score, entropy = float(p @ np.arange(6)), max(0.0, float(entr(p).sum()))
    label_asked, label_score = _of_label(request, asked, prompts) if reading.state == "ok" else (None, None)
    return Judgement(
        request.image_id, reading.state, reading.reason, reading.description, reading.justification, score, entropy,
        reading.distribution, seconds, reading.rubric_shift, label_asked, label_score,
    )  # fmt: skip


def _of_label(request: JudgeRequest, asked: Sequence[Line], prompts: Prompts) -> tuple[str | None, float | None]:
    """The label that was answered for and its expected score, None where the judge abstains.

    A question about the label that fails costs no more than its own answer: it is asked when the run is repeated.
    """
    of_label = [line for line in asked if line.label]
    reading = read(of_label, prompts) if of_label else None
    if reading is None or reading.state == "failed":
        return None, None
    found = reading.distribution
    return request.label, None if found is None else float(np.asarray(found) @ np.arange(6))
