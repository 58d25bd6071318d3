"""An app for others: opened to other machines by an explicit word alone, and read-only, where nothing is kept."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import streamlit as st

from core.commands import serve
from core.commands.main import main
from core.errors import RequestError, StoreError
from core.store import Store
from pages import _launch, _sign_in
from pages._gate import FOREIGN_HOST, FOREIGN_ORIGIN, own_hosts, refusal
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store

PAGES = ("summary", "slices", "search", "sample", "labels", "compare", "present", "runs")


def request(host: str, origin: str | None = None, kind: str = "websocket") -> dict[str, object]:
    headers = [(b"host", host.encode()), *([(b"origin", origin.encode())] if origin else [])]
    return {"type": kind, "method": "GET", "headers": headers}


@pytest.mark.parametrize("words", [["--host", "0.0.0.0"], ["--name", "team.example"]])
def test_other_machines_are_let_in_by_an_explicit_word_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["app", "--store", str(tmp_path), *words]) == 2
    assert "say --share" in capsys.readouterr().err


def test_a_shared_app_is_served_under_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(serve, "serve", lambda store, **options: asked.update(options) or 0)
    given = argparse.Namespace(
        store=tmp_path, port=None, host="0.0.0.0", name=["team.example"], share=True, read_only=True
    )
    assert serve.app(given) == 0
    assert asked["host"] == "0.0.0.0" and asked["read_only"] is True
    assert isinstance(asked["names"], list) and asked["names"][0] == "team.example" and len(asked["names"]) > 1


def test_the_gate_knows_the_names_and_a_proxy_may_speak_https_for_them() -> None:
    hosts = own_hosts(8501, ["team.example"])
    for host in ("team.example", "team.example:8501"):
        for origin in (f"http://{host}", f"https://{host}"):
            assert refusal(request(host, origin), hosts) is None
        assert refusal(request(host, "https://evil.example"), hosts) == FOREIGN_ORIGIN
        assert refusal(request(host), hosts) == FOREIGN_ORIGIN
    assert refusal(request("evil.example", "http://evil.example"), hosts) == FOREIGN_HOST
    assert refusal(request("127.0.0.1:8501", "https://127.0.0.1:8501"), hosts) == FOREIGN_ORIGIN
    assert refusal(request("team.example:8501", "http://team.example:8501"), own_hosts(8501)) == FOREIGN_HOST


def test_a_frozen_store_keeps_nothing_and_is_read_as_before(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=12)
    store.save_slice("mine", "SELECT * FROM samples")
    before = (store.folder / "saved.json").read_bytes()
    store.freeze()
    row = store.reader().execute("SELECT image_id FROM samples").fetchall()[0][0]
    for change in (
        lambda: store.save_slice("other", "SELECT 1"),
        lambda: store.delete_slice("mine"),
        lambda: store.undo("slices"),
        lambda: store.tag([row], "odd"),
        lambda: store.name_run(run, "name"),
        lambda: store.keep_look(run, "key"),
        lambda: store.save_findings(run, []),
    ):
        with pytest.raises(StoreError, match="read-only"):
            change()
    assert (store.folder / "saved.json").read_bytes() == before and len(Store(store.folder).slices()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_a_read_only_app_shows_and_offers_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    files = {path: path.read_bytes() for path in store.folder.rglob("*.json*")}
    monkeypatch.setenv("WHYLOOK_READ_ONLY", "1")
    monkeypatch.setattr(st, "get_option", lambda name: "127.0.0.1" if name == "server.address" else None)
    app = opened(monkeypatch, page, store.folder, run=run)
    assert not app.exception and not app.error
    assert "Read-only" in words_on(app)
    offered = [button.label for button in app.button if button.label != "Start another run"]  # which leads to Runs
    assert not [label for label in offered if label.startswith(("Keep", "Start", "Check this", "Look closer"))]
    assert {path: path.read_bytes() for path in store.folder.rglob("*.json*")} == files
    with pytest.raises(RequestError, match="read-only"):
        _launch.start_beside("discover", run)


def test_a_shared_app_asks_for_a_sign_in_where_a_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _sign_in.needs_sign_in()  # this machine alone
    monkeypatch.setenv("WHYLOOK_SHARED", "1")
    monkeypatch.setattr(st, "secrets", {})
    assert not _sign_in.needs_sign_in()
    monkeypatch.setattr(st, "secrets", {"auth": {"client_id": "x"}})
    monkeypatch.setattr(st, "user", argparse.Namespace(is_logged_in=True))
    assert not _sign_in.needs_sign_in()
    monkeypatch.setattr(st, "user", argparse.Namespace(is_logged_in=False))
    assert _sign_in.needs_sign_in()
