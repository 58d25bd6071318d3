"""The batched judge: many masked pictures through one GGUF vision-language model, side by side.

Pictures are encoded together, each is decoded once behind the shared instructions, every question branches off from
there, all branches advance by one llama.cpp call per token, and a finished picture's place is given to the next one.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from os.path import commonprefix
from types import TracebackType

import llama_cpp as llama
import numpy as np
import psutil
from numpy.typing import NDArray

from core.errors import JudgeError, RequestError
from core.judge.asking import MAX_TEXT_TOKENS, Line, Step, judgement, lines, read_score
from core.judge.llama_context import LlamaContext, cells
from core.judge.placing import Placer
from core.judge.prompts import MARKER, ChatTemplate, Prompts
from core.judge.protocol import Judge
from core.records import Judgement, JudgeRequest

VERSION = 1
"""Raised when the same files and prompts would give other results."""
MAX_BATCH = 16
MEMORY_SHARE = 0.25
"""Share of the free memory that the judge's context may take."""
SPARE = 64
"""Cells a sequence has beyond what the longest question takes: class names differ in length."""
LEAST_SHARED = 8
"""Tokens two questions must have in common to be worth decoding once."""
REFILL_SHARE = 4
"""One in so many places must be free before waiting pictures get in: pictures encoded together cost less."""


@dataclass
class Asked:
    """A picture being judged: its lines, and its place among those judged side by side."""

    request: JudgeRequest
    lines: list[Line]
    words: bool = True
    slot: int = -1

    @property
    def complete(self) -> bool:
        """Whether every line has its reply."""
        return not any(line.pending for line in self.lines)


class LlamaJudge(Judge):
    """A judge in this process: one llama.cpp context."""

    def __init__(
        self, context: LlamaContext, prompts: Prompts, *, digests: Sequence[bytes], max_side: int,
        batch_size: int | None, timeout: float, memory_share: float = MEMORY_SHARE,
    ) -> None:  # fmt: skip
        """`digests` are the sha256 of both files: with the prompts they are the judge's fingerprint."""
        self._context, self._prompts, self.timeout = context, prompts, timeout
        self.protocol = prompts.protocol
        self.name = context.metadata("general.name") or context.text.stem
        self.note = context.metadata("whylook.knows")
        self.limits = None
        source = context.metadata("tokenizer.chat_template")
        if not source:
            raise RequestError(f"{context.text} has no chat template; use an instruction-tuned vision-language model")
        special = [context.metadata(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")]
        bos, eos = (_token_text(context, index) for index in special)
        self.template = ChatTemplate(source, bos, eos)
        before = self.template.split(prompts.instructions, "")[0] + MARKER
        self.placer = Placer(context, before, max_side=max_side)
        self._digits = [self._digit(digit) for digit in range(6)]
        self.fingerprint = _fingerprint(digests, prompts)
        self.batch_size = self._open(batch_size, memory_share)
        self._written: dict[int, bytes] = {}
        """Bytes of every token written so far."""

    def _digit(self, digit: int) -> int:
        tokens = self._context.continuation(str(digit))
        if len(tokens) != 1:
            raise RequestError(f"{self._context.text} has no single token for the digit {digit}; use another judge")
        return tokens[0]

    def _open(self, batch_size: int | None, memory_share: float) -> int:
        """Size the context by the largest picture, and the batch by the memory there is."""
        context, picture = self._context, self.placer.extent
        questions = [
            sum(
                MAX_TEXT_TOKENS if step.kind != "force" else len(context.continuation(step.text)) for step in line.steps
            )
            for line in lines(self._prompts, self.template, "a class name of some length", label="another such name")
        ]
        longest = picture.positions + max(questions)
        if longest > context.trained_context:
            raise RequestError(
                f"{context.text} has a context of {context.trained_context} tokens; a picture with its question takes "
                f"up to {longest}: use a judge with a larger context or shorter prompts"
            )
        most = picture.tokens + max(questions) + SPARE
        each = (context.cache.token * cells(most) + context.cache.sequence) * len(questions)
        room = int(memory_share * psutil.virtual_memory().available // max(each, 1))
        size = batch_size or max(1, min(MAX_BATCH, room))
        context.open_context(longest=most, sequences=1 + size * len(questions), image_tokens=picture.image)
        return size

    def judge(self, requests: Sequence[JudgeRequest], *, words: bool = True) -> list[Judgement]:
        """Judge masked pictures.

        Args:
            requests: masked pictures with the class names predicted for them; any number.
            words: False asks for the score alone, which is the same and comes sooner.

        Returns:
            One judgement per request, in the same order; a picture that goes wrong is `failed` with its reason.
        """
        start = time.perf_counter()
        asked = self.ask([request for request in requests if not request.abstain_reason], words=words)
        seconds = (time.perf_counter() - start) / max(len(asked), 1)
        answered = iter(asked)
        return [
            Judgement(request.image_id, "abstained", request.abstain_reason)
            if request.abstain_reason
            else judgement(request, next(answered).lines, self._prompts, seconds=seconds)
            for request in requests
        ]

    def ask(self, requests: Sequence[JudgeRequest], *, words: bool = True) -> list[Asked]:
        """Put the protocol's questions to every picture; the replies as they were read, in the same order."""
        asked = [Asked(request, self._lines(request, words=words), words) for request in requests]
        self._work(deque(asked), self.batch_size)
        return asked

    def _lines(self, request: JudgeRequest, *, words: bool) -> list[Line]:
        return lines(self._prompts, self.template, request.prediction, label=request.label, words=words)

    def _work(self, waiting: deque[Asked], size: int) -> None:
        """Ask until none waits, `size` pictures side by side; a slot is given to the next picture when it is free."""
        slots, active = list(range(size)), list[Asked]()
        while waiting or active:
            try:
                if waiting and len(slots) >= (max(1, size // REFILL_SHARE) if active else 1):
                    self._admit([waiting.popleft() for _ in range(min(len(slots), len(waiting)))], slots, active)
                self._step(active)
            except JudgeError as error:
                self._recover(active, str(error))
                slots, active = list(range(size)), []
            slots += [picture.slot for picture in active if picture.complete]
            active = [picture for picture in active if not picture.complete]

    def _admit(self, new: Sequence[Asked], slots: list[int], active: list[Asked]) -> None:
        """Give every line of the new pictures a sequence that holds the instructions and its own picture."""
        active += new
        self._context.set_deadline(self.timeout * len(active))
        for picture in new:
            picture.slot = slots.pop(0)
            for offset, line in enumerate(picture.lines):
                line.sequence = 1 + offset * self.batch_size + picture.slot  # like ones side by side
        ends = self.placer.place([(picture.lines[0].sequence, picture.request.masked) for picture in new])
        for picture, end in zip(new, ends, strict=True):
            for line in picture.lines:
                line.position, line.pending = end, self._context.continuation(line.steps.pop(0).text)
        self._branch(new)

    def _branch(self, new: Sequence[Asked]) -> None:
        """Let every line branch off its picture, and off the line before it where both begin with the same words."""
        shared: list[tuple[Line, Line, int]] = []
        for picture in new:
            for before, line in pairwise(picture.lines):
                common = len(commonprefix([before.pending[:-1], line.pending[:-1]]))
                if common >= LEAST_SHARED and not any(before is other for _, other, _ in shared):
                    shared.append((before, line, common))
                else:
                    self._context.branch(picture.lines[0].sequence, line.sequence)
        if shared:
            self._context.decode(
                [(before.sequence, before.pending[:common], before.position) for before, _, common in shared]
            )
        for before, line, common in shared:
            self._context.branch(before.sequence, line.sequence)
            for either in (before, line):
                either.position, either.pending = either.position + common, either.pending[common:]

    def _recover(self, active: Sequence[Asked], reason: str) -> None:
        """When a batch fails as a whole, ask each of its pictures alone, so that only the guilty one is lost."""
        late = self._context.late
        for picture in active:
            for line in picture.lines:
                self._context.free(line.sequence)
        if len(active) == 1 or late:
            for picture in active:
                picture.lines[0].failure = reason
            return
        for picture in active:
            picture.lines = self._lines(picture.request, words=picture.words)
            self._work(deque([picture]), 1)

    def _step(self, active: Sequence[Asked]) -> None:
        """Decode all open lines together and take each one's step at its logits."""
        open_lines = [line for picture in active for line in picture.lines if line.pending]
        logits = self._context.decode([(line.sequence, line.pending, line.position) for line in open_lines])
        likeliest = logits.argmax(axis=1).tolist()
        for line, values, token in zip(open_lines, logits, likeliest, strict=True):
            line.position += len(line.pending)
            line.pending = self.advance(line, values, token)
            if not line.pending:
                self._context.free(line.sequence)

    def advance(self, line: Line, logits: NDArray[np.float32], likeliest: int) -> list[int]:
        """Take the line's current step at these logits; the tokens to decode next, none when it is complete."""
        step = line.steps[0]
        if step.kind == "score":
            line.distribution, line.mass = read_score(logits, self._digits)
            line.steps.pop(0)
            if not line.steps:
                return []
            expected = int(line.distribution @ np.arange(6) + 0.5)
            return [self._digits[expected], *self._context.continuation(line.steps.pop(0).text)]
        return self._write(line, step, likeliest)

    def _write(self, line: Line, step: Step, token: int) -> list[int]:
        """Add one written token; the reply ends at a quotation mark and must be one line of plain text."""
        line.count += 1
        piece = self._written.get(token)
        if piece is None:
            piece = self._written[token] = self._context.piece(token)
        line.written += piece
        if b'"' not in piece:
            if self._context.is_end(token) or line.count > MAX_TEXT_TOKENS:
                line.failure = f"the {step.name} did not end"
            return [] if line.failure else [token]
        text = line.written[: line.written.index(b'"')].decode("utf-8", "replace").strip()
        if not text or not text.isprintable() or "\\" in text:
            line.failure = f"the {step.name} is empty or no plain text"
            return []
        line.texts[step.name] = text
        line.steps.pop(0)
        line.written, line.count = b"", 0
        return [token, *self._context.continuation(line.steps.pop(0).text)] if line.steps else []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model."""
        self._context.close()


def _token_text(context: LlamaContext, index: str | None) -> str:
    if index is None:
        return ""
    text = llama.llama_vocab_get_text(context.vocabulary, int(index))
    return text.decode("utf-8", "replace") if text else ""


def _fingerprint(digests: Sequence[bytes], prompts: Prompts) -> str:
    digest = hashlib.sha256(f"{VERSION} {prompts.fingerprint}".encode())
    for each in digests:
        digest.update(each)
    return digest.hexdigest()[:16]
