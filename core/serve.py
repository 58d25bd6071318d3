"""Starts the Streamlit app as a child process and says where it is.

Knows: ports, the app's file, the environment it reads. Does not know: what the pages show.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from core.errors import RequestError

HOST = "127.0.0.1"
FIRST_PORT = 8501
PORTS_TRIED = 50
START_SECONDS = 60.0
ROOT = Path(__file__).resolve().parent.parent


def free_port(first: int = FIRST_PORT) -> int:
    """The first port from `first` on that nothing listens to on this machine.

    Raises:
        RequestError: All of them are taken.
    """
    for port in range(first, min(65536, first + PORTS_TRIED)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RequestError(f"ports {first} to {first + PORTS_TRIED - 1} are all taken: name another one with --port")


def app_command(port: int) -> list[str]:
    """The command that serves the app on `port`, on this machine only.

    Raises:
        RequestError: app.py or Streamlit is not installed beside core.
    """
    app = ROOT / "app.py"
    if not app.is_file():
        raise RequestError(
            f"the app's file is missing: {app}; install whylook from its source folder (pip install -e .)"
        )
    options = {"server.address": HOST, "server.port": str(port), "server.headless": "true"}
    options["browser.gatherUsageStats"] = "false"
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(app), *words]


def serve(store: Path, *, port: int | None = None, tell: Callable[[str], None] = print) -> int:
    """Serve the app until it ends or Ctrl+C; the app's exit code.

    Raises:
        RequestError: It does not start.
    """
    chosen = free_port(port) if port is not None else free_port()
    if port is not None and chosen != port:
        tell(f"port {port} is taken, so the app is on {chosen}")
    environment = {**os.environ, "WHYLOOK_STORE": str(store.resolve())}
    child = subprocess.Popen(app_command(chosen), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_until_up(child, chosen)
        tell(f"the app is open on http://{HOST}:{chosen} (Ctrl+C ends it)")
        return child.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(child)


def _wait_until_up(child: subprocess.Popen[bytes], port: int) -> None:
    """Return once the app answers."""
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if child.poll() is not None:
            raise RequestError(f"the app ended at once (exit code {child.returncode}); the lines above say why")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RequestError(f"the app did not answer within {START_SECONDS:.0f} s")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop the app, gently first."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
