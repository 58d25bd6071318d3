"""A judge behind an OpenAI-compatible server (llama-server, vLLM): the same questions, the same judgements.

Knows: how a question is put to such a server, how its reply is read. Does not know: HTTP, llama.cpp, DuckDB.

A reply is JSON of a schema that the server is asked to enforce. The score distribution is read from the
log-probabilities at the score's digit; a server that gives none leaves only the digit: all probability is on it, the
entropy is 0, and `limits` says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import JudgeError, RequestError
from core.judge.asking import MAX_TEXT_TOKENS, Line, judgement
from core.judge.client import KEY_VARIABLE, PASSING, Client, RefusedError
from core.judge.names import ProtocolName
from core.judge.prompts import Prompts, load_prompts
from core.judge.protocol import Judge
from core.records import Fill, Judgement, JudgeRequest, View

VERSION = 1
"""Raised when the same server and prompts would give other results."""
RETRIES, PAUSE = 4, 0.5
UNKNOWN = frozenset({400, 415, 422, 500, 501})
"""Statuses of a server that may just not understand a field of the request."""
TOP = 20
"""Alternatives asked for at each token; the most that OpenAI's API allows."""
TOKENS = 2 * MAX_TEXT_TOKENS + 48
WITHOUT_LOGPROBS = (
    "This judge's server gives no log-probabilities: each score is the digit it wrote, not the mean of a distribution."
)
TEXT_RULE = r'''text ::= "\"" [^"\\\x7F\x00-\x1F]+ "\""'''
SCORE_AT = re.compile(r'"score"\s*:\s*')


@dataclass(frozen=True)
class Question:
    """What is asked after the picture and the fields of the JSON reply, in their order."""

    text: str
    fields: tuple[str, ...]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply."""
        kinds = {"score": {"type": "integer", "enum": [0, 1, 2, 3, 4, 5]}}
        properties = {name: kinds.get(name, {"type": "string"}) for name in self.fields}
        return {
            "type": "object", "properties": properties, "required": list(self.fields), "additionalProperties": False
        }  # fmt: skip

    @property
    def grammar(self) -> str:
        """The reply in llama.cpp's grammar, letter for letter the frame that a judge in process is given."""
        fields = [f'"\\"{name}\\":" ' + ("[0-5]" if name == "score" else "text") for name in self.fields]
        return 'root ::= "{" ' + ' "," '.join(fields) + ' "}"\n' + TEXT_RULE


def questions(prompts: Prompts, prediction: str, *, words: bool = True) -> list[Question]:
    """What a protocol asks of one picture: each question is a request of its own; see `asking.lines`."""

    def ask(name: str, *fields: str, reverse: bool = False) -> Question:
        return Question(prompts.question(name, prediction=prediction, reverse=reverse), fields)

    if prompts.protocol == "paper":
        return [ask("explain", "description", "justification", "score")]
    if not words:
        return [ask("score", "score"), ask("score", "score", reverse=True)]
    return [
        ask("describe", "description"),
        ask("score", "score", "justification"),
        ask("score", "score", reverse=True),
    ]


@dataclass(frozen=True)
class Dialect:
    """Which of the ways to ask for JSON and log-probabilities a server understands."""

    form: Literal["grammar", "json_schema", "json_object"]
    extras: bool
    logprobs: bool

    def options(self, question: Question) -> dict[str, Any]:
        """The request's fields: llama.cpp's grammar, OpenAI's and vLLM's schema, or llama.cpp's older form of it."""
        schema = question.schema
        forms: dict[str, dict[str, Any]] = {
            "grammar": {"grammar": question.grammar},
            "json_schema": {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "strict": True, "schema": schema},
                }
            },
            "json_object": {"response_format": {"type": "json_object", "schema": schema}},
        }
        thinking = {"chat_template_kwargs": {"enable_thinking": False}} if self.extras else {}
        return forms[self.form] | thinking | ({"logprobs": True, "top_logprobs": TOP} if self.logprobs else {})


DIALECTS = tuple(
    Dialect(form, extras, logprobs)
    for logprobs in (True, False)
    for form in get_args(get_type_hints(Dialect)["form"])
    for extras in (True, False)
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
    entries = [one for one in listed.get("data", []) if "id" in one] if isinstance(listed, dict) else []
    names = [str(one["id"]) for one in entries]
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
            self._dialect = self._find_dialect()
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            raise
        self.note = None  # a server does not say what its model was trained on
        self.limits = None if self._dialect.logprobs else WITHOUT_LOGPROBS
        described = {key: value for key, value in served.items() if key in ("id", "root", "meta", "max_model_len")}
        identity = [VERSION, client.url, described, prompts.fingerprint, self._dialect.logprobs]
        self.fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def _find_dialect(self) -> Dialect:
        """The first way of asking that the server accepts and follows."""
        picture = _data_url(np.zeros((64, 64, 3), np.uint8))
        question = questions(self._prompts, "cow")[-1]
        accepted: Dialect | None = None
        refusal: RefusedError | None = None
        for dialect in DIALECTS:
            try:
                choice = self._choice(picture, question, dialect, passing=PASSING - UNKNOWN)
            except RefusedError as error:
                if error.status not in UNKNOWN:
                    raise
                refusal = refusal or error
                continue
            given = replace(dialect, logprobs=bool(_tokens(choice)))
            if not _read(choice, question).failure:
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
                for question in questions(self._prompts, request.prediction, words=words)
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
            return _read(self._choice(picture, question, self._dialect), question)
        except JudgeError as error:
            return Line([], failure=str(error))

    def _choice(
        self, picture: str, question: Question, dialect: Dialect, *, passing: frozenset[int] = PASSING
    ) -> dict[str, Any]:
        """The server's first choice for one picture and question."""
        content = [
            {"type": "text", "text": self._prompts.instructions},
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": question.text},
        ]
        body = {
            "model": self._model, "messages": [{"role": "user", "content": content}], "temperature": 0, "seed": 0,
            "max_tokens": TOKENS, **dialect.options(question),
        }  # fmt: skip
        reply = self._client.post("chat/completions", body, passing=passing)
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not choices or not isinstance(choices[0], dict):
            raise JudgeError("the judge's server answers without a reply")
        return dict(choices[0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what was not begun yet; replies under way are waited for."""
        self._pool.shutdown(cancel_futures=True)


def _data_url(rgb: NDArray[np.uint8]) -> str:
    """The picture as PNG in a data URL: servers fetch nothing."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _read(choice: Mapping[str, Any], question: Question) -> Line:
    """A reply as a line: texts, distribution and mass, or why it cannot be used."""
    content = str((choice.get("message") or {}).get("content") or "")
    if choice.get("finish_reason") == "length":
        return Line([], failure="the reply did not end")
    try:
        values = json.loads(content[content.find("{") : content.rfind("}") + 1])
    except ValueError:
        return Line([], failure=f"the reply is no JSON: {content[:80]!r}")
    line = Line([])
    for name in question.fields:
        value = values.get(name)
        if name == "score":
            if type(value) is not int or not 0 <= value <= 5:
                return Line([], failure=f"the score is no digit from 0 to 5: {value!r}")
            line.distribution, line.mass = _distribution(choice, value)
            continue
        text = " ".join(value.split()) if isinstance(value, str) else ""
        if not text or not text.isprintable():
            return Line([], failure=f"the {name} is empty or no plain text")
        line.texts[name] = text
    return line


def _tokens(choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reply's tokens with their alternatives, none when the server gives no log-probabilities."""
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [token for token in tokens if isinstance(token.get("top_logprobs"), list)]


def _distribution(choice: Mapping[str, Any], digit: int) -> tuple[NDArray[np.float64], float]:
    """Probabilities of 0..5, (6,), at the score's digit and the mass they had; all on the digit without logprobs."""
    tokens = _tokens(choice)
    matches = list(SCORE_AT.finditer("".join(str(token["token"]) for token in tokens)))
    if not matches:
        return np.eye(6)[digit], 1.0
    place, start = matches[-1].end(), 0
    for token in tokens:
        before = str(token["token"])[: max(place - start, 0)]
        start += len(str(token["token"]))
        if start > place:
            return _digits(token["top_logprobs"], before)
    return np.eye(6)[digit], 1.0


def _digits(alternatives: Sequence[Mapping[str, Any]], before: str) -> tuple[NDArray[np.float64], float]:
    """Sum up the alternatives that read `before` and a digit."""
    share = np.zeros(6)
    for one in alternatives:
        text = str(one["token"])
        rest = text.removeprefix(before).strip() if text.startswith(before) else text.strip()
        if rest in tuple("012345"):
            share[int(rest)] += np.exp(float(one["logprob"]))
    mass = float(share.sum())
    return share / max(mass, 1e-300), mass
