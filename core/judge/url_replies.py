"""How a server's reply is read: its texts, and the score distribution from the log-probabilities at the digit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.judge.asking import Line
from core.judge.url_questions import Question

ROUNDING = 1e-3
"""By how much a log-probability may exceed 0."""
MALFORMED = (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
"""What reading a reply of another shape than OpenAI's raises; a RecursionError where JSON is nested without end."""
SCORE_AT = re.compile(r'"score"\s*:\s*')


def read(choice: Mapping[str, Any], question: Question) -> Line:
    """A reply as a line: texts, distribution and mass, or why it cannot be used."""
    content = str((choice.get("message") or {}).get("content") or "")
    if choice.get("finish_reason") == "length":
        return Line([], failure="the reply did not end")
    try:
        values = json.loads(content[content.find("{") : content.rfind("}") + 1])
    except (ValueError, RecursionError):
        return Line([], failure=f"the reply is no JSON: {content[:80]!r}")
    line = Line([])
    for name in question.fields:
        value = values.get(name)
        if name == "score":
            if type(value) is not int or not 0 <= value <= 5:
                return Line([], failure=f"the score is no digit from 0 to 5: {value!r}")
            line.distribution, line.mass = _distribution(choice, value)
            continue
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if not text or not text.isprintable():
            return Line([], failure=f"the {name} is empty or no plain text")
        line.texts[name] = text
    return line


def whole(choice: Mapping[str, Any], begun: str) -> dict[str, Any]:
    """A choice as one JSON object: what it was begun with set before text and tokens, unless the server does it."""
    message = choice.get("message") or {}
    content, given = str(message.get("content") or ""), tokens(choice)
    if not content.startswith(begun):
        content = begun + content
    if given and not "".join(str(token["token"]) for token in given).startswith(begun):
        given = [{"token": begun, "top_logprobs": []}, *given]
    return {**choice, "message": {**message, "content": content + "}"}, "logprobs": {"content": given}}


def tokens(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reply's tokens with their alternatives, none when the server gives no log-probabilities."""
    given = (choice.get("logprobs") or {}).get("content") or []
    return [token for token in given if isinstance(token.get("top_logprobs"), list)]


def _distribution(choice: Mapping[str, Any], digit: int) -> tuple[NDArray[np.float64], float]:
    """Probabilities of 0..5, (6,), at the score's digit and the mass they had; all on the digit without logprobs."""
    given = tokens(choice)
    matches = list(SCORE_AT.finditer("".join(str(token["token"]) for token in given)))
    if not matches:
        return np.eye(6)[digit], 1.0
    place, start = matches[-1].end(), 0
    for token in given:
        before = str(token["token"])[: max(place - start, 0)]
        start += len(str(token["token"]))
        if start > place:
            return _digits(token["top_logprobs"], before)
    return np.eye(6)[digit], 1.0


def _digits(alternatives: Sequence[Mapping[str, Any]], before: str) -> tuple[NDArray[np.float64], float]:
    """Sum up the alternatives that read `before` and a digit."""
    share = np.zeros(6)
    for alternative in alternatives:
        text = str(alternative["token"])
        rest = text.removeprefix(before).strip() if text.startswith(before) else text.strip()
        if rest in tuple("012345"):
            logprob = float(alternative["logprob"])
            if not logprob <= ROUNDING:  # NaN too
                raise ValueError(f"a log-probability of {logprob}")
            share[int(rest)] += np.exp(logprob)
    mass = float(share.sum())
    return share / max(mass, 1e-300), mass
