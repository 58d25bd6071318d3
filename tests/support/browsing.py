"""A real browser and a served app, for tests: Chromium, the app on a free port, the state in its address."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PATIENCE = 120
"""Seconds: a busy machine may be slow, but nothing takes this long unless it is broken."""
NEEDED = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed"),
]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def app_process(folder: Path, port: int, **environment: str) -> subprocess.Popen[bytes]:
    """`whylook app` on a store."""
    command = [sys.executable, "-m", "core", "app", "--store", str(folder), "--port", str(port)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=as_from_a_terminal,
    )


def as_from_a_terminal() -> None:
    """In a child: what tests in the background are told to ignore is not ignored, so that it can be tried."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The app on a store, at the address it gives; ended afterwards."""
    port = free_port()
    child = app_process(folder, port)
    try:
        wait_until_up(child, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(timeout=PATIENCE)


def wait_until_up(child: subprocess.Popen[bytes], port: int) -> None:
    """Returns once the app listens."""
    until = time.monotonic() + PATIENCE
    while not listens(port):
        assert time.monotonic() < until, "the app did not start"
        assert child.poll() is None, "the app ended at once"
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def ask(port: int, path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of one request; the header Host is sent as it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def handshake(port: int, path: str = "/_stcore/stream", **headers: str) -> int:
    """Status that a request for a websocket is answered with: 101 where it is opened."""
    words = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    lines = {**words, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "streamlit", **headers}
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as stream:
        stream.sendall(request.encode() + b"\r\n")
        return int(stream.recv(4096).split()[1])


def use_a_page_with_sql(browser: Any, port: int, pid: int) -> psutil.Process:
    """Opens Slices, so that a process for user SQL comes into being below `pid`, and gives it."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/slices")
        page.locator("a.card").first.wait_for(timeout=PATIENCE * 1000)
    family = psutil.Process(pid).children(recursive=True)
    return next(process for process in family if "core.sql.worker" in process.cmdline())


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched_page(browser: Any, address: str, *, width: int = 1280) -> Iterator[Any]:
    """A page that fails its test on a script error, on a request to anywhere else and on a traceback."""
    context = browser.new_context(viewport={"width": width, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE * 1000)
    problems: list[str] = []
    outside: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: outside.append(request.url))
    yield opened
    assert not problems, problems
    foreign = [url for url in outside if not url.startswith((address, "data:", "blob:", "about:"))]
    foreign = [url for url in foreign if not url.startswith(address.replace("http", "ws"))]
    assert not foreign, f"the page asked the network for {foreign[:3]}"
    assert opened.locator("[data-testid=stException]").count() == 0
    context.close()


def settled(page: Any) -> None:
    """Waits until the script of the page has ended, as a reader does before a click: what is drawn anew moves."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def downloaded(page: Any, button: Any) -> Any:
    """The file behind a button of a page that stands still."""
    button.wait_for()
    settled(page)
    with page.expect_download() as found:
        button.click()
    return found.value


def wide(page: Any) -> list[str]:
    """Parts of the page that are wider than their place, so that it scrolls sideways."""
    parts = "html, body, [data-testid=stMain], [data-testid=stMainBlockContainer], [data-testid=stSidebarUserContent]"
    script = """parts => [...document.querySelectorAll(parts)]
        .filter(part => part.clientWidth && part.scrollWidth > part.clientWidth)
        .map(part => `${part.dataset.testid || part.tagName}: ${part.scrollWidth} > ${part.clientWidth}`)"""
    found: list[str] = page.evaluate(script, parts)
    return found


def app_processes(address: str) -> list[psutil.Process]:
    """The process that listens at an address, and its children."""
    port = urlparse(address).port
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(item.status == "LISTEN" and item.laddr.port == port for item in process.net_connections("inet")):
                return [process, *process.children(recursive=True)]
    return []


def connections(address: str, *, of: psutil.Process | None = None) -> set[tuple[str, int]]:
    """Whom the app's processes speak to, apart from whoever came to the app's own port."""
    port, found = urlparse(address).port, set()
    for process in [of] if of else app_processes(address):
        with suppress(psutil.Error):
            pairs = [item for item in process.net_connections("inet") if item.raddr]
            found |= {(item.raddr.ip, item.raddr.port) for item in pairs if item.laddr.port != port}
    return found


def state(page: Any) -> tuple[str, dict[str, str]]:
    """The page in the address and its query."""
    parts = urlparse(page.url)
    return parts.path.strip("/"), {name: values[0] for name, values in parse_qs(parts.query).items()}


def wait_for(page: Any, name: str, /, **wanted: str) -> dict[str, str]:
    """Waits until the address is that page with these words in its query, and gives the query."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        path, query = state(page)
        if path == name and all(value in query.get(key, "") for key, value in wanted.items()):
            return query
        page.wait_for_timeout(100)
    raise AssertionError(f"expected {name} with {wanted}, the address is {page.url}")
