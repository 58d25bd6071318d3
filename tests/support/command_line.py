"""The command line as a user types it, inside the test's own process: exit code, stdout, stderr.

An exception that escapes `main` fails the test, so a traceback can never pass for an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from core.commands.main import main


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


def whylook(capsys: pytest.CaptureFixture[str], *words: Any) -> Answer:
    """Run `whylook WORDS`."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    seen = capsys.readouterr()
    assert "Traceback" not in seen.out + seen.err
    return Answer(code, seen.out, seen.err)


def refusal(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line that a wrong request is answered with; progress may stand before it."""
    answer = whylook(capsys, *words)
    said = [line for line in answer.err.splitlines() if line.startswith("whylook")]
    assert (answer.code, answer.out, len(said)) == (2, "", 1), answer
    assert answer.err.splitlines()[-1] == said[0]
    return said[0]
