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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
    host, names = arguments.host or HOST, arguments.name or []
    if (arguments.host or names) and not arguments.share:
        raise RequestError(
            "--host and --name open the app to other machines, and whoever reaches it sees every picture: say --share, "
            "too, and see README.md on how people sign in"
        )
    if arguments.share and host not in (HOST, "localhost"):
        names = [*names, *own_names(host)]
    return serve(arguments.store, port=arguments.port, host=host, names=names, read_only=arguments.read_only)


def own_names(host: str) -> list[str]:
    """What other machines may call this one that listens at `host`."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    name = socket.gethostname()
    found = {name, socket.getfqdn()}
    with suppress(OSError):
        found |= {str(item[4][0]) for item in socket.getaddrinfo(name, None, socket.AF_INET)}
    return sorted(found)


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


def app_command(port: int, host: str = HOST, names: Sequence[str] = ()) -> list[str]:
    """The command that serves the app on `port`, for this machine only unless `host` and `names` say otherwise.

    Raises:
        RequestError: app.py is not installed beside core.
    """
    app = ROOT / "app.py"
    if not app.is_file():
        raise RequestError(
            f"the app's file is missing: {app}; install whylook from its source folder (pip install -e .)"
        )
    return [sys.executable, "-m", "pages._server", str(port), host, *names]


def serve(
    store: Path,
    *,
    port: int | None = None,
    host: str = HOST,
    names: Sequence[str] = (),
    read_only: bool = False,
    tell: Callable[[str], None] = print,
) -> int:
    """Serve the app until it ends, or until Ctrl+C, SIGTERM or SIGHUP end both; the app's exit code, 0 after a signal.

    Raises:
        RequestError: It does not start, or WHYLOOK_MEMORY is no size.
    """
    free_memory()
    chosen = free_port(port) if port is not None else free_port()
    if port is not None and chosen != port:
        tell(f"port {port} is taken, so the app is on {chosen}")
    with _interrupted_by_signals():
        child = start_app(store, chosen, host=host, names=names, read_only=read_only)
        try:
            near = HOST if host in ("0.0.0.0", "::", "localhost") else host
            _wait_until_up(child, near, chosen)
            said = "to look only, " if read_only else ""
            places = " and ".join(f"http://{name}:{chosen}" for name in dict.fromkeys([near, *names]))
            tell(
                f"the app is open, {said}on {places} (Ctrl+C ends it)"
                if said
                else f"the app is open on {places} (Ctrl+C ends it)"
            )
            return child.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(child)


def start_app(
    store: Path, port: int, *, host: str = HOST, names: Sequence[str] = (), read_only: bool = False
) -> subprocess.Popen[bytes]:
    """The app's process. Its standard input is a pipe that nothing is written to: when it closes, the app ends.

    Raises:
        RequestError: app.py is not installed beside core.
    """
    return subprocess.Popen(
        app_command(port, host, names),
        cwd=ROOT,
        env={
            **os.environ,
            "WHYLOOK_STORE": str(store.resolve()),
            "WHYLOOK_READ_ONLY": "1" if read_only else "",
            "WHYLOOK_SHARED": "1" if names else "",
        },
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


def _wait_until_up(child: subprocess.Popen[bytes], host: str, port: int) -> None:
    """Return once the app answers."""
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not reach this machine
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if child.poll() is not None:
            raise RequestError(f"the app ended at once (exit code {child.returncode}); the lines above say why")
        try:
            with straight.open(f"http://{host}:{port}/_stcore/health", timeout=1):
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
