"""An OpenAI-compatible server that answers whatever a test wants: errors, rubbish, nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], Any]
"""Status, headers and body."""


def completion(content: str, **more: Any) -> Answer:
    """A reply as the API frames it; `more` beside its message."""
    return 200, {}, {"choices": [{"message": {"content": content}, "finish_reason": "stop", **more}]}


@contextmanager
def misbehaving(
    answer: Callable[[dict[str, Any], int], Answer],
    models: tuple[str, ...] = ("tiny",),
    *,
    listed: Any = None,
    continues: bool | None = None,
) -> Iterator[str]:
    """A server whose n-th reply to a question is `answer(body, n)`, and its list of models `listed`, if given.

    `continues`: whether the prompt that it shows of a reply that was begun goes on with it; None shows none.
    """
    count, lock = iter(range(10**6)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {}, listed or {"data": [{"id": name} for name in models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/apply-template":
                prompt = "<user>?<assistant>" + body["messages"][-1]["content"] + "<end><assistant>" * (not continues)
                self.reply(*((200, {}, {"prompt": prompt}) if continues is not None else (404, {}, {})))
                return
            with lock:
                number = next(count)
            self.reply(*answer(body, number))

        def reply(self, status: int, headers: dict[str, str], value: Any) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
