"""`whylook app`: whom it answers, and that nothing of it stays when it ends, however it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.commands import serve
from core.errors import RequestError
from core.sql.pool import remove_left_folders
from pages._gate import refusal
from tests.support import browsing
from tests.support.browsing import ask, handshake
from tests.support.store_factory import make_store

pytestmark = pytest.mark.slow
EVERY_KIND = (
    "/", "/slices", "/_stcore/health", "/_stcore/host-config", "/media/none.png", "/_stcore/upload_file/a/b",
    "/component/whylook_view/none.js", "/_stcore/bidi-components/x/y.js", "/favicon.png", "/nothing/here",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("serve") / "store", rows=12)[0].folder


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with browsing.served(folder) as address:
        yield int(address.rsplit(":", 1)[1])


@pytest.mark.parametrize("path", EVERY_KIND)
def test_a_foreign_host_or_origin_gets_nothing_on_any_path(port: int, path: str) -> None:
    own = f"127.0.0.1:{port}"
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1.evil:{port}", ""):
        assert ask(port, path, Host=host)[0] == 421, host
    for origin in ("http://localhost:9999", f"http://localhost:{port}", f"https://{own}", "null", "http://evil", ""):
        assert ask(port, path, Host=own, Origin=origin)[0] == 403, origin
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(port, path, method=method, Host=own, Origin="http://localhost:9999")[0] == 403, method


def test_its_own_pages_are_answered_under_both_names(port: int) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert ask(port, "/", Host=f"{name}:{port}")[0] == 200
        assert ask(port, "/", Host=f"{name}:{port}", Origin=f"http://{name}:{port}")[0] == 200
        assert handshake(port, Host=f"{name}:{port}", Origin=f"http://{name}:{port}") == 101


def test_no_answer_may_be_framed_sniffed_or_read_by_another_page(port: int) -> None:
    for path in EVERY_KIND:
        for host in (f"127.0.0.1:{port}", "evil.example"):
            _, headers = ask(port, path, Host=host)
            assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "access-control-allow-origin" not in headers


def test_a_websocket_must_come_from_the_apps_own_pages(port: int) -> None:
    own = f"127.0.0.1:{port}"
    for origin in ("http://localhost:9999", f"http://localhost:{port}", "null", "http://evil.example", None):
        assert handshake(port, Host=own, **({} if origin is None else {"Origin": origin})) == 403, origin
    assert handshake(port, Host=f"evil.example:{port}", Origin=f"http://evil.example:{port}") == 403


def test_another_site_may_link_to_a_page_and_ask_for_nothing_else(port: int) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    own = f"127.0.0.1:{port}"
    assert ask(port, "/slices", Host=own, **link)[0] == 200
    assert ask(port, "/slices", method="POST", Host=own, **link)[0] == 403
    for kind in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}):
        assert ask(port, "/media/none.png", Host=own, **{**link, **kind})[0] == 403


def test_two_hosts_in_one_request_are_refused_and_port_80_needs_no_number() -> None:
    def status(*headers: tuple[bytes, bytes]) -> int | None:
        scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": list(headers)}
        return refusal(scope, frozenset({"localhost:80", "localhost"}))

    assert status((b"host", b"localhost")) is None and status((b"host", b"localhost:80")) is None
    assert status((b"host", b"localhost"), (b"host", b"evil")) == 421
    assert status() == 421


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_the_app_its_workers_its_port_and_its_folders_end_with_it(
    browser: Any, folder: Path, tmp_path: Path, ending: int
) -> None:
    port = browsing.free_port()
    child = browsing.app_process(folder, port, TMPDIR=str(tmp_path))
    browsing.wait_until_up(child, port)
    worker = browsing.use_a_page_with_sql(browser, port, child.pid)
    family = psutil.Process(child.pid).children(recursive=True)
    assert worker in family and list(tmp_path.glob("whylook-*"))
    child.send_signal(ending)
    assert child.wait(timeout=30) == (-9 if ending == signal.SIGKILL else 0)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    assert not browsing.listens(port) and serve.free_port(port) == port
    until = time.monotonic() + 5
    while list(tmp_path.glob("whylook-*")) and time.monotonic() < until:
        time.sleep(0.1)
    assert list(tmp_path.glob("whylook-*")) == []


def test_folders_of_killed_workers_are_swept_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("whylook-sql-left", "whylook-sql-used", "whylook-sql-new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spill.tmp").write_text("x")
    for name in ("whylook-sql-left", "whylook-sql-used", "other"):
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "whylook-sql-link").symlink_to(tmp_path / "other")
    with subprocess.Popen(["sleep", "30"], cwd=tmp_path / "whylook-sql-used") as sleeper:
        remove_left_folders()
        sleeper.kill()
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"whylook-sql-used", "whylook-sql-new", "whylook-sql-link", "other"}
    assert (tmp_path / "other" / "spill.tmp").exists()


def test_a_port_that_was_just_left_is_free_and_one_that_is_listened_to_is_not() -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert serve.free_port(port) != port
        asking = socket.create_connection(("127.0.0.1", port))
        listening.accept()[0].close()  # closed from this side first: the port stays in TIME_WAIT
        asking.close()
    assert serve.free_port(port) == port


def test_a_killed_server_leaves_no_worker_and_no_folder(browser: Any, folder: Path, tmp_path: Path) -> None:
    port = browsing.free_port()
    child = browsing.app_process(folder, port, TMPDIR=str(tmp_path))
    browsing.wait_until_up(child, port)
    worker = browsing.use_a_page_with_sql(browser, port, child.pid)
    [server] = psutil.Process(child.pid).children()
    server.kill()
    assert child.wait(timeout=30) != 0
    _, alive = psutil.wait_procs([worker, server], timeout=15)
    assert alive == [] and list(tmp_path.glob("whylook-*")) == []


def test_signals_that_were_ignored_stay_ignored_and_the_others_come_back() -> None:
    before = {number: signal.getsignal(number) for number in serve.ENDINGS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with serve._interrupted_by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


def test_the_app_does_not_start_with_a_memory_limit_that_is_no_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", "lots")
    with pytest.raises(RequestError, match="WHYLOOK_MEMORY must be a size"):
        serve.serve(folder)
