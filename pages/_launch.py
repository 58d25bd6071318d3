"""Starts, watches and stops runs as separate processes, so that a run outlives the page and the app.

Knows: `python -m core run`, process ids, the log file beside the store. Does not know: how a run works.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import streamlit as st

from core.errors import RequestError
from core.pipeline.request import RunRequest
from pages._shared import store, store_folder

ROOT = Path(__file__).resolve().parent.parent
LOG = "app-run.log"


@st.cache_resource(show_spinner=False)
def _children(folder: str) -> list[subprocess.Popen[bytes]]:
    return []


def may_start() -> bool:
    """Whether this app may start processes: only when it listens on this machine alone."""
    return str(st.get_option("server.address") or "") in ("127.0.0.1", "localhost", "::1")


def start(request: RunRequest) -> None:
    """Starts a run and returns at once; its words go to the log beside the store.

    Raises:
        RequestError: The request is wrong, the app is open to other machines, or a run already writes to this store.
    """
    if not may_start():
        raise RequestError(
            "this app is reachable from other machines, so it starts no runs: use whylook run in a terminal"
        )
    if busy():
        raise RequestError("a run is already writing to this store: wait for it, or cancel it first")
    request.check()
    folder = store_folder()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "core", "run", *request.arguments()]
    with (folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))},
        )
    _children(str(folder)).append(child)


def busy() -> bool:
    """Whether a run works on this store, or one that was started here has not yet got that far."""
    return store().writer_alive() or _child() is not None


def _child() -> subprocess.Popen[bytes] | None:
    children = _children(str(store_folder()))
    for child in children:
        if child.poll() is None:
            return child
    return None


def last_exit() -> int | None:
    """Exit code of the last run started here; None while it works or when there was none."""
    children = _children(str(store_folder()))
    return children[-1].poll() if children else None


def cancel() -> None:
    """Asks the run to stop after its current batch, as Ctrl+C does. Only ever signals a whylook run."""
    child = _child()
    if child is not None:
        child.send_signal(signal.SIGINT)
        return
    progress = store().progress() or {}
    pid = progress.get("pid")
    if progress.get("alive") and isinstance(pid, int) and _is_run(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        return
    raise RequestError("no run is working on this store, so there is nothing to cancel")


def _is_run(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        words = psutil.Process(pid).cmdline()
        return any("whylook" in Path(word).name or word in ("core", "core.commands.main") for word in words) or str(
            ROOT / "core"
        ) in " ".join(words)
    return False


def log_tail(lines: int = 12) -> str:
    """Last lines of what the run said; a progress line that rewrites itself counts as its last state."""
    file = store_folder() / LOG
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
