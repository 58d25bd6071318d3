"""A judge behind an OpenAI-compatible server (llama-server, vLLM): the same questions, the same judgements.

A reply is JSON of a schema that the server is asked to enforce. The score distribution is read from the
log-probabilities at the score's digit; a server that gives none leaves only the digit: all probability is on it, the
entropy is 0, and `limits` says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import JudgeError, RequestError
from core.judge.asking import MAX_TEXT_TOKENS, Line, judgement
from core.judge.client import KEY_VARIABLE, PASSING, Client, RefusedError
from core.judge.names import ProtocolName
from core.judge.prompts import Prompts, load_prompts
from core.judge.protocol import Judge
from core.judge.url_questions import Dialect, Question, dialects, questions
from core.judge.url_replies import MALFORMED, read, tokens, whole
from core.records import Fill, Judgement, JudgeRequest, View

VERSION = 3
"""Raised when the same server and prompts would give other results."""
RETRIES, PAUSE = 4, 0.5
UNKNOWN = frozenset({400, 415, 422, 500, 501})
"""Statuses of a server that may just not understand a field of the request."""
TOKENS = 2 * MAX_TEXT_TOKENS + 48
WITHOUT_LOGPROBS = (
    "This judge's server gives no log-probabilities: each score is the digit it wrote, not the mean of a distribution."
)


def load_url_judge(
    url: str,
    *,
    model: str | None = None,
    protocol: ProtocolName = "calibrated",
    prompts: Path | None = None,
    fill: Fill = "black",
    view: View = "masked",
    concurrency: int = 8,
    timeout: float = 300.0,
) -> UrlJudge:
    """Reach a server and find out by one small question how it wants to be asked.

    Args:
        url: the server's address, with or without `/v1`. A key is taken from WHYLOOK_VLM_API_KEY only.
        model: the name the server gives the model; needed when it serves several.
        protocol: `calibrated`, or `paper` (arXiv 2508.20227).
        prompts: a user's own prompt file instead of the protocol's.
        fill: how the pictures to come are masked; the prompt says so.
        view: whether they come beside the whole picture; the prompt says so.
        concurrency: requests under way at once.
        timeout: seconds one attempt at a request may take.

    Raises:
        RequestError: no such server, no such model, no right to use it, or it takes no pictures.
    """
    texts = load_prompts(prompts or protocol, fill=fill, view=view)
    client = Client(url, timeout=timeout, retries=RETRIES, pause=PAUSE)
    try:
        served = _served(client, model)
        return UrlJudge(client, served, texts, concurrency=concurrency)
    except JudgeError as error:
        hint = f"; put a valid key into {KEY_VARIABLE}" if getattr(error, "status", 0) in (401, 403) else ""
        raise RequestError(f"{url}: {error}{hint}") from error


def _served(client: Client, model: str | None) -> Mapping[str, Any]:
    """The server's own entry for the model."""
    listed = client.get("models")
    given = listed.get("data") if isinstance(listed, dict) else None
    entries = [entry for entry in given if isinstance(entry, dict) and "id" in entry] if isinstance(given, list) else []
    names = [str(entry["id"]) for entry in entries]
    if model is None and len(entries) == 1:
        return dict(entries[0])
    if model is None:
        raise RequestError(f"{client.url} serves {', '.join(names) or 'no model'}: name one with --vlm-model")
    if model not in names:
        raise RequestError(f"{client.url} does not serve {model!r} but {', '.join(names) or 'no model'}")
    return dict(entries[names.index(model)])


class UrlJudge(Judge):
    """A judge on a server."""

    def __init__(self, client: Client, served: Mapping[str, Any], prompts: Prompts, *, concurrency: int) -> None:
        self._client, self._prompts, self._model = client, prompts, str(served["id"])
        self.protocol = prompts.protocol
        self.name = Path(self._model).name or self._model
        self.batch_size = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")
        try:
            self._dialect = self._find_dialect(dialects(continues=self._continues()))
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            raise
        self.note = None  # a server does not say what its model was trained on
        self.limits = None if self._dialect.logprobs else WITHOUT_LOGPROBS
        described = {key: value for key, value in served.items() if key in ("id", "root", "meta", "max_model_len")}
        identity = [VERSION, client.url, described, prompts.fingerprint, self._dialect.form, self._dialect.logprobs]
        self.fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def _continues(self) -> bool:
        """Whether the server goes on with a reply that was begun: llama-server shows the prompt that it makes of it.

        Others may add a turn instead, or do not say.
        """
        begun = '{"score":'
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": begun}]
        asked = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
        try:
            shown = self._client.post("apply-template", asked, passing=PASSING - UNKNOWN, beside=True)
        except RefusedError:
            return False
        return isinstance(shown, dict) and str(shown.get("prompt")).endswith(begun)

    def _find_dialect(self, ways: Sequence[Dialect]) -> Dialect:
        """The first way of asking that the server accepts and follows."""
        picture = _data_url(np.zeros((64, 64, 3), np.uint8))
        question = questions(self._prompts, "cow")[-1]
        part = question.part(question.fields[0])
        accepted: Dialect | None = None
        refusal: RefusedError | None = None
        for dialect in ways:
            try:
                asked = part if dialect.form == "begun" else question
                choice = self._choice(picture, asked, dialect, passing=PASSING - UNKNOWN)
            except RefusedError as error:
                if error.status not in UNKNOWN:
                    raise
                refusal = refusal or error
                continue
            try:
                given = replace(dialect, logprobs=bool(tokens(choice)))
                failure = read(choice, asked).failure
            except MALFORMED as error:
                raise JudgeError(_malformed(error)) from error
            if not failure:
                return given
            accepted = accepted or given
        if accepted is None:
            raise refusal or JudgeError("it answers nothing")
        return accepted

    def judge(self, requests: Sequence[JudgeRequest], *, words: bool = True) -> list[Judgement]:
        """Judge masked pictures; see `Judge.judge`."""
        start = time.perf_counter()
        asked = [request for request in requests if not request.abstain_reason]
        pictures = [self._pool.submit(_data_url, request.masked) for request in asked]
        replies = [
            [
                self._pool.submit(self._reply, picture.result(), question)
                for question in questions(self._prompts, request.prediction, label=request.label, words=words)
            ]
            for request, picture in zip(asked, pictures, strict=True)
        ]
        lines = {
            id(request): [reply.result() for reply in group] for request, group in zip(asked, replies, strict=True)
        }
        seconds = (time.perf_counter() - start) / max(len(asked), 1)
        return [
            judgement(request, lines[id(request)], self._prompts, seconds=seconds)
            if id(request) in lines
            else Judgement(request.image_id, "abstained", request.abstain_reason)
            for request in requests
        ]

    def _reply(self, picture: str, question: Question) -> Line:
        try:
            line = (
                self._by_parts(picture, question) if self._dialect.form == "begun" else self._at_once(picture, question)
            )
        except JudgeError as error:
            line = Line([], failure=str(error))
        except MALFORMED as error:
            line = Line([], failure=_malformed(error))
        line.label = question.label
        return line

    def _at_once(self, picture: str, question: Question) -> Line:
        return read(self._choice(picture, question, self._dialect), question)

    def _by_parts(self, picture: str, question: Question) -> Line:
        """Each field behind those before it; the server keeps what it has read of the picture and the question."""
        line, reply = Line([]), ""
        for name in question.fields:
            part = question.part(name, after=reply)
            choice = self._choice(picture, part, self._dialect)
            found, reply = read(choice, part), str(choice["message"]["content"])
            if found.failure:
                return found
            line.texts |= found.texts
            if found.distribution is not None:
                line.distribution, line.mass = found.distribution, found.mass
        return line

    def _choice(
        self, picture: str, question: Question, dialect: Dialect, *, passing: frozenset[int] = PASSING
    ) -> dict[str, Any]:
        """The server's first choice for one picture and question."""
        content = [  # with the line breaks of a judge in process: llama-server sets none beside a picture
            {"type": "text", "text": f"{self._prompts.instructions}\n"},
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": f"\n{question.text}"},
        ]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if question.begun:
            messages.append({"role": "assistant", "content": question.begun})
        body = {
            "model": self._model, "messages": messages, "temperature": 0, "seed": 0,
            "max_tokens": MAX_TEXT_TOKENS if question.begun else TOKENS,
            **dialect.options(question),
        }  # fmt: skip
        reply = self._client.post("chat/completions", body, passing=passing)
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not choices or not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise JudgeError("the judge's server answers without a reply")
        return whole(choices[0], question.begun) if question.begun else dict(choices[0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what was not begun yet; replies under way are waited for."""
        self._pool.shutdown(cancel_futures=True)


def _malformed(error: BaseException) -> str:
    return f"the judge's server replies in another shape than OpenAI's: {type(error).__name__}: {str(error)[:80]}"


def _data_url(rgb: NDArray[np.uint8]) -> str:
    """The picture as PNG in a data URL: servers fetch nothing."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
