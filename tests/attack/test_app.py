"""Attacks on the app: hundreds of foreign requests, hostile words typed into every field, ends in the midst of work."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import ask, handshake
from tests.support.hostile import NAMES, make_hostile_store
from tests.support.store_factory import make_store

PATHS = (
    "/", "//", "/slices?sql=SELECT+1", "/_stcore/health", "/_stcore/host-config", "/_stcore/metrics", "/_stcore/stream",
    "/_stcore/upload_file/a/b", "/_stcore/agent/mcp", "/_stcore/bidi-components/a/b.js", "/media/a.png",
    "/component/a/b.js", "/static/index.html", "/app/static/a", "/favicon.png", "/auth/login", "/oauth2callback",
    "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/nothing?x=" + "y" * 4000,
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_hostile_store(tmp_path_factory.mktemp("attack") / "store", rows=48)


@pytest.fixture(scope="module")
def address(filled: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(filled[0].folder) as served:
        yield served


def foreign_hosts(port: int) -> list[str]:
    return [
        "", "evil.example", f"evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1", f"127.0.0.1:{port}0",
        f"127.0.0.1.evil.example:{port}", f"evil@127.0.0.1:{port}", f"127.0.0.1:{port}@evil.example",
        f"127.0.0.1:{port}/", f"127.0.0.1:{port}#", f"127.0.0.1:{port}, evil", f"[::1]:{port}", f"0.0.0.0:{port}",
        f"127.1:{port}", f"2130706433:{port}", f"localhost.:{port}", f"localhost.evil.example:{port}", "null", "*",
    ]  # fmt: skip


def foreign_origins(port: int) -> list[str]:
    return [
        "", "null", "*", "file://", "http://evil.example", "http://localhost", "http://127.0.0.1",
        "http://localhost:9999", "http://127.0.0.1:1", f"https://127.0.0.1:{port}", f"http://localhost:{port}",
        f"http://127.0.0.1:{port}.evil.example", f"http://evil@127.0.0.1:{port}", f"http://127.0.0.1:{port}/",
        f"http://127.0.0.1:{port} http://evil.example", f"ws://127.0.0.1:{port}", f"http://[::1]:{port}",
        f"chrome-extension://127.0.0.1:{port}", f"//127.0.0.1:{port}", f"127.0.0.1:{port}",
    ]  # fmt: skip


def test_no_foreign_request_is_answered_on_any_path_by_any_method(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    own, tried = f"127.0.0.1:{port}", 0
    for path, host in product(PATHS, foreign_hosts(port)):
        assert ask(port, path, method=METHODS[tried % len(METHODS)], Host=host)[0] == 421, (path, host)
        tried += 1
    for path, origin in product(PATHS, foreign_origins(port)):
        method = METHODS[tried % len(METHODS)]
        assert ask(port, path, method=method, Host=own, Origin=origin)[0] == 403, (path, origin)
        tried += 1
    for origin in foreign_origins(port):
        for path in ("/_stcore/stream", "/stream", "/"):
            assert handshake(port, path, Host=own, Origin=origin) == 403, (path, origin)
            tried += 1
    for host in foreign_hosts(port):
        assert handshake(port, Host=host, Origin=f"http://{host}") in (400, 403), host
        tried += 1
    assert handshake(port, Host=own, Origin=f"http://{own}") == 101
    assert tried > 850


def test_broken_requests_leave_the_app_answering(address: str) -> None:
    port, generator = int(address.rsplit(":", 1)[1]), random.Random(0)
    good = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    for _ in range(200):
        sent = bytearray(good)
        for _ in range(generator.randint(1, 6)):
            sent[generator.randrange(len(sent))] = generator.randrange(256)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
            stream.sendall(bytes(sent[: generator.randint(1, len(sent))]))
    long = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: {'y' * 500_000}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(long)
    two = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(two)
        assert stream.recv(100).split()[1] in (b"400", b"421")
    assert ask(port, "/_stcore/health", Host=f"127.0.0.1:{port}")[0] == 200


@browsing.NEEDED[1]
def test_hostile_words_in_the_address_and_in_every_field_run_nothing_and_reach_nobody(
    browser: Any, address: str, filled
) -> None:
    outside: set[tuple[str, int]] = set()
    with browsing.watched_page(browser, address, width=800) as page:
        for name in NAMES:
            value = quote(name, safe="")
            for path in ("", "slices", "search", "sample", "runs"):
                names = ("run", "sql", "q", "image", "within", "as", "view", "sort", "by", "threshold", "new")
                page.goto(f"{address}/{path}?" + "&".join(f"{name}={value}" for name in names))
                page.get_by_role("heading", level=1).first.wait_for()
                page.wait_for_timeout(200)
                assert page.title() == "whylook" and browsing.wide(page) == [], (path, name)
                assert page.locator(".katex, img[src=x], iframe, [data-testid=stException]").count() == 0
            outside |= browsing.connections(address)
        for name in NAMES:
            page.goto(f"{address}/slices?run={filled[1]}")
            editor = page.get_by_role("textbox", name="SELECT over samples")
            editor.fill(name)
            editor.press("Control+Enter")
            page.locator("[data-testid=stAlertContentError]").first.wait_for()
            assert page.title() == "whylook" and browsing.wide(page) == [], name
    assert outside == set()


@browsing.NEEDED[1]
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_midst_of_long_queries_leaves_nothing(browser: Any, tmp_path: Path, ending: int) -> None:
    folder, temporary = make_store(tmp_path / "store", rows=60)[0].folder, tmp_path / "tmp"
    temporary.mkdir()
    slow = quote(
        "SELECT count(*) FROM samples a, samples b, samples c, samples d, samples e WHERE a.score + b.score > 9"
    )
    for wait in (0.2, 0.8):
        port = browsing.free_port()
        child = browsing.app_process(folder, port, TMPDIR=str(temporary))
        browsing.wait_until_up(child, port)
        with browser.new_context() as context:
            pages = [context.new_page() for _ in range(3)]
            for number, page in enumerate(pages):
                page.goto(f"http://127.0.0.1:{port}/slices?sql={slow}%20%2B%20{number}")
            until = time.monotonic() + browsing.PATIENCE
            while not any(temporary.glob("whylook-*")):
                assert time.monotonic() < until
                time.sleep(0.05)
            time.sleep(wait)
            family = psutil.Process(child.pid).children(recursive=True)
            child.send_signal(ending)
            child.wait(timeout=30)
            _, alive = psutil.wait_procs(family, timeout=15)
            assert alive == []
        until = time.monotonic() + 5
        while any(temporary.glob("whylook-*")) and time.monotonic() < until:
            time.sleep(0.1)
        assert list(temporary.glob("whylook-*")) == []
        assert not browsing.listens(port)
