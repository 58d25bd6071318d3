"""Runs the pipeline for the command line: the progress line, Ctrl+C, and what is said at the end.

Knows: signals and sentences. Does not know: stages.
"""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from core.commands.terminal import ProgressLine, printable, seconds_per_stage
from core.errors import WhylookError
from core.pipeline.request import RunOutcome, RunRequest
from core.pipeline.run import run

FAILURES_SHOWN = 5


class StopFlag:
    """Set by the first Ctrl+C or SIGTERM; the second one interrupts at once."""

    def __init__(self) -> None:
        """Not set."""
        self.raised = False

    def __call__(self) -> bool:
        """Whether to stop after this batch."""
        return self.raised

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True
        print("\nstopping after this batch (Ctrl+C again stops at once) …", file=sys.stderr, flush=True)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """A flag that Ctrl+C and SIGTERM raise; the old handlers come back afterwards."""
    flag = StopFlag()
    old = {number: signal.signal(number, flag.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def run_and_tell(request: RunRequest) -> int:
    """Run, show progress, say how it went; the exit code."""
    line = ProgressLine()
    with stop_on_signals() as flag:
        try:
            outcome = run(request, progress=line, stop=flag)
        except KeyboardInterrupt:
            line.close()
            print(how_to_go_on(request), file=sys.stderr)
            return 130
        except WhylookError:
            line.close()
            raise
    line.close()
    return tell(outcome, request)


def tell(outcome: RunOutcome, request: RunRequest) -> int:
    """Print the end of a run; the exit code."""
    for warning in outcome.warnings:
        print(f"note: {printable(warning)}", file=sys.stderr)
    for failure in outcome.failures[:FAILURES_SHOWN]:
        print(f"failed: {printable(failure.path)}: {failure.stage}: {printable(failure.reason)}", file=sys.stderr)
    if len(outcome.failures) > FAILURES_SHOWN:
        print(
            f"failed: {len(outcome.failures) - FAILURES_SHOWN:,} more, on the page Runs and in table failures",
            file=sys.stderr,
        )
    for sentence in outcome.damaged:
        print(f"damaged: {printable(sentence)}", file=sys.stderr)
    counted = {key: value for key, value in outcome.counts.items() if key != "listed"}
    print(f"run {outcome.run} {outcome.state}: " + " · ".join(f"{key} {value:,}" for key, value in counted.items()))
    print(seconds_per_stage(outcome.seconds))
    if outcome.state == "interrupted":
        print(how_to_go_on(request), file=sys.stderr)
        return 130
    return 1 if outcome.failures or outcome.damaged else 0


def how_to_go_on(request: RunRequest) -> str:
    """The command that resumes."""
    command = shlex.join(["whylook", "run", *request.arguments()])
    return f"stopped; everything finished is kept. To go on: {command}"
