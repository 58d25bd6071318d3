"""Lists at an address are fetched once, from a local server of files and one that speaks S3."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.addresses import address_of
from core.errors import RequestError
from core.images import scan
from core.images.remote import fetch
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from core.store import Store
from tests.support.tiny_world import make_folder, make_model


class Files(SimpleHTTPRequestHandler):
    """Serves a folder and notes what was asked for."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, *words: Any) -> None:
        pass


class Objects(BaseHTTPRequestHandler):
    """As much of S3 as reading an object takes: HEAD and GET of /bucket/key."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        file = self.folder / self.path.partition("?")[0].lstrip("/").partition("/")[2]
        data = file.read_bytes() if file.is_file() else b"<Error><Code>NoSuchKey</Code></Error>"
        self.send_response(200 if file.is_file() else 404)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sat, 01 Aug 2026 00:00:00 GMT")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures, a list of them with a column of its own, and one that is not there."""
    folder = make_folder(tmp_path / "pictures", per_class=4)
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    with (folder / "list.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "night"])
        writer.writerows([[path, path.partition("/")[0], len(path) % 2 == 0] for path in [*paths, "red/none.png"]])
    return folder


@pytest.fixture(params=["http", "s3"])
def served(
    request: pytest.FixtureRequest, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, list[str]]]:
    """The list's address, and the addresses that were asked for."""
    handler = (
        type("Here", (Objects,), {"folder": pictures})
        if request.param == "s3"
        else partial(Files, directory=str(pictures))
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place = f"http://127.0.0.1:{server.server_port}"
    for name, value in {"AWS_ENDPOINT_URL": place, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield ("s3://bucket/list.csv" if request.param == "s3" else f"{place}/list.csv"), server.asked  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_list_at_an_address_is_fetched_once_and_what_fails_is_said(
    served: tuple[str, list[str]], pictures: Path, tmp_path: Path
) -> None:
    address, asked = served
    told: list[tuple[int, int]] = []
    found = fetch(address, tmp_path / "remote", progress=lambda done, of: told.append((done, of)))
    scanned = scan(found.file)
    assert {entry.image_id for entry in scanned.entries} == {
        entry.image_id for entry in scan(pictures / "list.csv").entries
    }
    assert {entry.metadata["night"] for entry in scanned.entries} == {True, False}
    assert len(scanned.failures) == 1 and told == [(13, 13)]
    assert len(found.warnings) == 1 and "1 (first: " in found.warnings[0] and "none.png" in found.warnings[0]
    assert sum(path.endswith(".png") for path in asked) >= 12
    asked.clear()
    fetch(address, tmp_path / "remote", progress=lambda done, of: None)
    assert not [path for path in asked if path.endswith(".png") and "none" not in path], (
        "what is here is not fetched again"
    )
    assert not list((tmp_path / "remote").rglob("*.tmp"))


@pytest.mark.slow
def test_a_run_over_an_address_is_one_run_and_its_pictures_are_here(
    served: tuple[str, list[str]], tmp_path: Path
) -> None:
    request = RunRequest(
        Path(served[0]), f"{make_model(tmp_path)}:tiny", no_vlm=True, store=tmp_path / "store", device="cpu"
    )
    outcomes = [run(request, progress=lambda news: None, stop=lambda: False) for _ in range(2)]
    assert outcomes[0].run == outcomes[1].run and outcomes[1].counts["pictures"] == 12
    assert any("could not be fetched" in warning for warning in outcomes[0].warnings)
    (record,) = Store(tmp_path / "store").run_records()
    assert Path(record["settings"]["images"]).is_file()


def test_an_address_is_known_by_its_slashes() -> None:
    assert address_of(Path("https://host/a/list.csv")) == "https://host/a/list.csv"
    assert address_of(Path("S3://bucket/list.parquet")) == "s3://bucket/list.parquet"
    assert address_of(Path("/data/list.csv")) is None and address_of(Path("C:/data/list.csv")) is None


@pytest.mark.parametrize(
    ("address", "words"),
    [("https://127.0.0.1:9/list.csv", "cannot fetch"), ("nope://host/list.csv", "no kind of address"),
     ("https://host/folder", "neither a .csv nor a .parquet")],
)  # fmt: skip
def test_what_cannot_be_fetched_is_said(address: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        fetch(address, tmp_path, progress=lambda done, of: None)
