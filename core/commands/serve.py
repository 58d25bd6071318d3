"""Starts the app as a child process, says where it is, and ends it however this process ends."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import RequestError
from core.memory import free_memory
from core.store import Store

HOST = "127.0.0.1"
FIRST_PORT = 8501
PORTS_TRIED = 50
START_SECONDS = 60.0
END_SECONDS = 5.0
ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
ROOT = Path(__file__).resolve().parents[2]


def app(arguments: argparse.Namespace) -> int:
    """Open the app on a store."""
    Store(arguments.store)  # a store of a newer version is refused here, in words
    return serve(arguments.store, port=arguments.port)


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from `first` on that nothing listens to on this machine.

    Raises:
        RequestError: All of them are taken.
    """
    for port in range(first, min(65536, first + PORTS_TRIED)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name != "nt":  # there it would share a port that is listened to
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RequestError(f"ports {first} to {first + PORTS_TRIED - 1} are all taken: name another one with --port")


def app_command(port: int) -> list[str]:
    """The command that serves the app on `port`, on this machine only.

    Raises:
        RequestError: app.py is not installed beside core.
    """
    app = ROOT / "app.py"
    if not app.is_file():
        raise RequestError(
            f"the app's file is missing: {app}; install whylook from its source folder (pip install -e .)"
        )
    return [sys.executable, "-m", "pages._server", str(port)]


def serve(store: Path, *, port: int | None = None, tell: Callable[[str], None] = print) -> int:
    """Serve the app until it ends, or until Ctrl+C, SIGTERM or SIGHUP end both; the app's exit code, 0 after a signal.

    Raises:
        RequestError: It does not start, or WHYLOOK_MEMORY is no size.
    """
    free_memory()
    chosen = free_port(port) if port is not None else free_port()
    if port is not None and chosen != port:
        tell(f"port {port} is taken, so the app is on {chosen}")
    with _interrupted_by_signals():
        child = start_app(store, chosen)
        try:
            _wait_until_up(child, chosen)
            tell(f"the app is open on http://{HOST}:{chosen} (Ctrl+C ends it)")
            return child.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(child)


def start_app(store: Path, port: int) -> subprocess.Popen[bytes]:
    """The app's process. Its standard input is a pipe that nothing is written to: when it closes, the app ends.

    Raises:
        RequestError: app.py is not installed beside core.
    """
    return subprocess.Popen(
        app_command(port),
        cwd=ROOT,
        env={**os.environ, "WHYLOOK_STORE": str(store.resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl+C reaches the app through this process alone
    )


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt as Ctrl+C does; the old handlers come back afterwards.

    What this process was told to ignore stays ignored: `nohup whylook app &` outlives its terminal.
    """
    old = {number: signal.getsignal(number) for number in ENDINGS}
    old = {number: handler for number, handler in old.items() if handler is not signal.SIG_IGN}
    for number in old:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set by Python


def _wait_until_up(child: subprocess.Popen[bytes], port: int) -> None:
    """Return once the app answers."""
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if child.poll() is not None:
            raise RequestError(f"the app ended at once (exit code {child.returncode}); the lines above say why")
        try:
            with straight.open(f"http://{HOST}:{port}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RequestError(f"the app did not answer within {START_SECONDS:.0f} s")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop the app, gently first; a second Ctrl+C does not leave it behind."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child.stdin:
        child.stdin.close()
