"""Commands that run the pipeline, run and demo: the progress line, Ctrl+C, and what is said at the end."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from core.commands.serve import serve
from core.commands.terminal import ProgressLine, printable, seconds_per_stage
from core.errors import WhylookError
from core.pipeline.options import options_of
from core.pipeline.request import RunOutcome, RunRequest
from core.pipeline.run import run

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
FAILURES_SHOWN = 5


def explain(arguments: argparse.Namespace) -> int:
    """Explain a classifier over a folder of images."""
    options = {item.name: getattr(arguments, item.name) for item in options_of(RunRequest)}
    return run_and_tell(RunRequest(**options), quiet=arguments.quiet)


def demo(arguments: argparse.Namespace) -> int:
    """The demo world from images to the open app."""
    request = RunRequest(
        images=DEMO / "evaluation",
        classifier=f"{DEMO / 'classifier.py'}:demo_classifier",
        vlm=None if arguments.no_vlm else DEMO / "judge" / "judge.gguf",
        mmproj=None if arguments.no_vlm else DEMO / "judge" / "judge-mmproj.gguf",
        no_vlm=arguments.no_vlm,
        device=arguments.device,
        store=arguments.store,
    )
    code = run_and_tell(request, quiet=arguments.quiet)
    if code not in (0, 1) or arguments.no_app:
        return code
    return serve(arguments.store, port=arguments.port)


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


def run_and_tell(request: RunRequest, *, quiet: bool = False) -> int:
    """Run, show progress, say how it went; the exit code."""
    line = ProgressLine(quiet=quiet)
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
