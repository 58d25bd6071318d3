"""The few addresses of the Hugging Face hub that fetching a model needs, on this machine: listing, redirect, ranges."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds, how it misbehaves, and what it was asked."""

    repositories: dict[str, dict[str, bytes]]
    address: str = ""
    cut: dict[str, int] = field(default_factory=dict)
    """Bytes of a file after which the connection is closed, once."""
    stall: dict[str, int] = field(default_factory=dict)
    """Bytes of a file after which nothing more comes, once."""
    lies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Other values of `size` and `sha256` in the listing."""
    status: int = 200
    page: bytes | None = None
    """Answered instead of every listing."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """File names and Range headers."""
    stalled: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def listing(self, repository: str) -> bytes:
        """A model's page with the hashes of its files."""
        siblings = [{"rfilename": "README.md", "size": 3, "blobId": "0"}]
        for name, content in self.repositories[repository].items():
            lfs = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
            lfs |= self.lies.get(name, {})
            siblings.append({"rfilename": name, "size": lfs["size"], "blobId": "0", "lfs": lfs})
        return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()


@contextmanager
def hub_server(hub: Hub) -> Iterator[Hub]:
    """Serve it on the loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/")
            if path.startswith("api/models/"):
                content = hub.page or (hub.listing(path.removeprefix("api/models/")) if hub.status == 200 else b"{}")
                self._answer(hub.status, content)
            elif "/resolve/" in path:
                repository, _, rest = path.partition("/resolve/")
                self.send_response(302)
                self.send_header("Location", f"/cdn/{repository}/{rest.removeprefix(COMMIT + '/')}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                repository, _, name = path.removeprefix("cdn/").rpartition("/")
                self._file(name, hub.repositories[repository][name])

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 401:  # the hub's answer for what is not there, and for what is not for everyone
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(content)

        def _file(self, name: str, content: bytes) -> None:
            wanted = self.headers["Range"]
            hub.asked.append((name, wanted))
            begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            if wanted:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            stop = hub.stall.pop(name, None)
            end = stop or hub.cut.pop(name, len(content))
            self.wfile.write(content[begin:end])
            if stop:
                hub.stalled.set()
                hub.over.wait(30)
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.over.set()
            server.shutdown()
            thread.join()
