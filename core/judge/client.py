"""JSON over HTTP to an OpenAI-compatible server: time limits, retries with back-off, the key from the environment.

Knows: status codes, what is worth another try. Does not know: prompts, replies, pictures.
urllib, not httpx2 and tenacity: with the same promises on proxies and certificates they took 22 lines more.
"""

from __future__ import annotations

import email.message
import http.client
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any

from core.errors import JudgeError, RequestError

KEY_VARIABLE = "WHYLOOK_VLM_API_KEY"
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses of a server that is busy or starting: worth another try."""
LONGEST_PAUSE = 30.0
LONGEST_REPLY = 2**24
REFUSAL_LENGTH = 300


class RefusedError(JudgeError):
    """The server answered with an error status."""

    def __init__(self, status: int, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"the judge's server answers {status}: {message}")
        self.status, self.retry_after = status, retry_after


class UnreachableError(JudgeError):
    """No answer came: no connection, or the time limit."""


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key must not reach another server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: email.message.Message,
        newurl: str,
    ) -> None:  # fmt: skip
        """Leave the redirect as the error it then is."""


class Client:
    """A server's API under one address. Safe to use from several threads.

    Args:
        url: the server's address, with or without `/v1`.
        timeout: seconds one attempt may take.
        retries: further attempts after one that failed in passing.
        pause: seconds before the first of them; each further pause is twice as long, give or take.

    Raises:
        RequestError: the address is none, or holds a password.
    """

    def __init__(self, url: str, *, timeout: float, retries: int, pause: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if "@" in parts.netloc or parts.query:
            raise RequestError(f"the server's address must hold no key or password: put it into {KEY_VARIABLE}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(f"{url!r} is no address of a server; write http://HOST:PORT/v1")
        path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
        self._root = f"{parts.scheme}://{parts.netloc}{path}"
        self.url = f"{self._root}/v1"
        self._timeout, self._retries, self._pause = timeout, retries, pause
        self._opener = urllib.request.build_opener(_StayHere())
        self._away = False

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._ask(f"{self.url}/{path}", None, PASSING)

    def post(self, path: str, body: dict[str, Any], *, passing: frozenset[int] = PASSING, beside: bool = False) -> Any:
        """The server's JSON reply to a JSON body; an error status among `passing` is worth another try.

        `beside`: the path lies beside `/v1`, as llama-server's own do.

        Raises:
            RefusedError: an error status, after the retries where it may pass.
            UnreachableError: no answer, after the retries; without them while the server stays away.
        """
        return self._ask(f"{self._root if beside else self.url}/{path}", json.dumps(body).encode(), passing)

    def _ask(self, address: str, data: bytes | None, passing: frozenset[int]) -> Any:
        attempt = 0
        while True:
            try:
                reply = self._send(address, data)
            except RefusedError as error:
                if error.status not in passing or attempt == self._retries:
                    raise
                wait = error.retry_after
            except UnreachableError:
                if self._away or attempt == self._retries:
                    self._away = True
                    raise
                wait = None
            else:
                self._away = False
                return reply
            backed_off = self._pause * 2**attempt * random.uniform(0.75, 1.25)
            time.sleep(min(backed_off if wait is None else wait, LONGEST_PAUSE))
            attempt += 1

    def _send(self, address: str, data: bytes | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := _key():
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(address, data=data, headers=headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return json.loads(_body(answer, time.monotonic() + self._timeout))
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except TimeoutError as error:
            raise UnreachableError(f"the judge's server gave no answer within {self._timeout:g} s") from error
        except urllib.error.URLError as error:
            raise UnreachableError(f"the judge's server {self.url} cannot be reached: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"the connection to the judge's server broke: {error!r}") from error
        except (ValueError, RecursionError) as error:
            raise RefusedError(200, "no JSON; is this an OpenAI-compatible server?") from error


def _body(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole reply; a TimeoutError where it drips on past the deadline, a RefusedError where it is far too long."""
    data = bytearray()
    while chunk := answer.read1(2**16):
        data += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(data) > LONGEST_REPLY:
            raise RefusedError(200, f"more than {LONGEST_REPLY // 2**20} MB")
    return bytes(data)


def _key() -> str:
    """The key from the environment; empty where there is none.

    Raises:
        RequestError: it holds a character that no header may hold; the key itself is not shown.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    if not (key.isascii() and key.isprintable()):
        raise RequestError(f"{KEY_VARIABLE} holds a line break or another character that no key has: set it again")
    return key


def _refused(error: urllib.error.HTTPError) -> RefusedError:
    """The server's own words in one line, without the key should it repeat it; its status where the words hang."""
    try:
        text = " ".join(error.read(10_000).decode("utf-8", "replace").split())
    except (OSError, http.client.HTTPException):
        text = ""
    if key := _key():
        text = text.replace(key, "[key]")
    after = error.headers.get("Retry-After", "")
    return RefusedError(
        error.code, text[:REFUSAL_LENGTH] or str(error.reason), retry_after=float(after) if after.isdigit() else None
    )
