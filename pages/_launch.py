"""Starts, watches and stops runs and discovery as separate processes, so that they outlive the page and the app.

Knows: `python -m core`, process ids, the log files beside the store. Does not know: how a run works.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Literal

import psutil
import streamlit as st

from core.errors import RequestError
from core.pipeline.request import RunRequest
from pages._shared import read_only, store, store_folder

ROOT = Path(__file__).resolve().parent.parent
LOG = "app-run.log"
PATIENCE_SECONDS = 2.5
"""For a batch to end after Cancel."""
Beside = Literal["discover", "map"]
"""Commands that look further into a finished run, started by the app and watched by their log."""
LOGS: dict[Beside, str] = {"discover": "app-discovery.log", "map": "app-map.log"}
BUSY: dict[Beside, str] = {
    "discover": "causes are being looked for in this store: wait for that, or cancel it on the Summary page",
    "map": "a map is being drawn in this store: wait for that, or cancel it on the Slices page",
}
_DONE = re.compile(r"([\d,]+) of ([\d,]+)")


@st.cache_resource(show_spinner=False)
def _children(folder: str, log: str) -> list[subprocess.Popen[bytes]]:
    return []


def may_start() -> bool:
    """Whether this app may start processes: only when it listens on this machine alone, and is not read-only."""
    return not read_only() and str(st.get_option("server.address") or "") in ("127.0.0.1", "localhost", "::1")


def start(request: RunRequest) -> None:
    """Starts a run and returns at once; its words go to the log beside the store.

    Raises:
        RequestError: The request is wrong, the app is open to other machines, or something already works on this store.
    """
    _check_free("runs", "whylook run")
    request.check()
    store_folder().mkdir(parents=True, exist_ok=True)
    _spawn(["run", *request.arguments()], LOG)


def start_beside(command: Beside, run: str) -> None:
    """Starts to look for causes in a finished run, or to draw its map, and returns at once.

    Raises:
        RequestError: The app is open to other machines, or something already works on this store.
    """
    _check_free("processes", f"whylook {command}")
    _spawn([command, "--store", str(store_folder()), "--run", run], LOGS[command])


def ask(words: Sequence[str], *, patience: float = 300) -> None:
    """Runs a command that answers soon, and waits for it.

    Raises:
        RequestError: The app is open to other machines, the command failed (its last words), or it took too long.
    """
    if not may_start():
        raise RequestError(f"{_why_not()}: use whylook {words[0]} in a terminal")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "core", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=patience, env=_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise RequestError(f"no answer within {patience:.0f} s: use whylook {words[0]} in a terminal") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RequestError(said[-1].removeprefix("whylook: ") if said else f"it ended with code {done.returncode}")


def _environment() -> dict[str, str]:
    """Where a process finds whylook, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def _why_not() -> str:
    return "this app is read-only" if read_only() else "this app is reachable from other machines, so it starts nothing"


def _check_free(what: str, command: str) -> None:
    if not may_start():
        raise RequestError(f"{_why_not()} (no {what}): use {command} in a terminal")
    if busy():
        raise RequestError("a run is already writing to this store: wait for it, or cancel it first")
    for other, words in BUSY.items():
        if at_work(other):
            raise RequestError(words)


def _spawn(words: Sequence[str], log: str) -> None:
    folder = store_folder()
    with (folder / log).open("wb") as sink:
        child = subprocess.Popen(
            [sys.executable, "-m", "core", *words],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    _children(str(folder), log).append(child)


def busy() -> bool:
    """Whether a run works on this store, or one that was started here has not yet got that far."""
    return store().writer_alive() or _child() is not None


def at_work(command: Beside) -> str | None:
    """The run in which a command started here works now; None where none does."""
    child = _child(LOGS[command])
    return str(child.args[-1]) if child and isinstance(child.args, list) else None


def _child(log: str = LOG) -> subprocess.Popen[bytes] | None:
    children = _children(str(store_folder()), log)
    for child in children:
        if child.poll() is None:
            return child
    return None


def last_exit(log: str = LOG) -> int | None:
    """Exit code of the last process started here; None while it works or when there was none."""
    children = _children(str(store_folder()), log)
    return children[-1].poll() if children else None


def problem_of(command: Beside, run: str) -> str:
    """How a command ended that was started here last, when not well and about this run; else nothing."""
    children = _children(str(store_folder()), LOGS[command])
    last = children[-1] if children else None
    if last is None or last.poll() in (None, 0) or not isinstance(last.args, list) or last.args[-1] != run:
        return ""
    if last.returncode in (130, -signal.SIGINT):
        return "It was stopped before its end, so nothing of it was kept."
    said = log_tail(1, log=LOGS[command]).removeprefix("whylook: ")
    return said or f"It ended with exit code {last.returncode} and said nothing."


def cancel_beside(command: Beside) -> None:
    """Stops a command started here; nothing of it is kept."""
    if child := _child(LOGS[command]):
        child.send_signal(signal.SIGINT)


def said_last(command: Beside) -> tuple[str, float]:
    """The last line that a command said, and the share of its work that this names as done."""
    said = log_tail(1, log=LOGS[command]) or "starting …"
    found = _DONE.search(said)
    done, total = (int(number.replace(",", "")) for number in found.groups()) if found else (0, 0)
    return said, min(1.0, done / total) if total else 0.0


def cancel() -> None:
    """Asks the run to stop after its current batch, as Ctrl+C does, and ends it where that takes too long.

    What is finished is on disk at any moment, so an end by force loses the batch in hand only. Only ever signals a
    whylook run.
    """
    child, progress = _child(), store().progress() or {}
    pid = child.pid if child is not None else progress.get("pid")
    if not isinstance(pid, int) or child is None and not (progress.get("alive") and _is_run(pid)):
        raise RequestError("no run is working on this store, so there is nothing to cancel")
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        process.send_signal(signal.SIGINT)
        Thread(target=_end, args=(process,), daemon=True).start()


def _end(process: psutil.Process) -> None:
    """Ends a process that does not end by itself in time, with its children."""
    try:
        process.wait(timeout=PATIENCE_SECONDS)
    except psutil.TimeoutExpired:
        with contextlib.suppress(psutil.Error):
            for each in [*process.children(recursive=True), process]:
                each.kill()


def _is_run(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        words = psutil.Process(pid).cmdline()
        return any("whylook" in Path(word).name or word in ("core", "core.commands.main") for word in words) or str(
            ROOT / "core"
        ) in " ".join(words)
    return False


def log_tail(lines: int = 12, *, log: str = LOG) -> str:
    """Last lines of what a process said; a progress line that rewrites itself counts as its last state."""
    file = store_folder() / log
    try:
        text = file.read_bytes()[-20_000:].decode(errors="replace")
    except OSError:
        return ""
    said = [line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n")]
    return "\n".join([line for line in said if line.strip()][-lines:])


def wait_for_start(seconds: float = 1.0) -> None:
    """Gives a new process a moment, so that the page already shows it or its first error."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not store().writer_alive() and _child() is not None:
        time.sleep(0.05)
