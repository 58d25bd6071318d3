"""The batched judge: many masked pictures through one GGUF vision-language model, side by side.

Knows: batches, sequences, deadlines, what a reply becomes. Does not know: DuckDB, where pictures come from.

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
class _Asked:
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
        self, native: LlamaContext, prompts: Prompts, *, digests: Sequence[bytes], max_side: int,
        batch_size: int | None, timeout: float, memory_share: float = MEMORY_SHARE,
    ) -> None:  # fmt: skip
        """`digests` are the sha256 of both files: with the prompts they are the judge's fingerprint."""
        self._native, self._prompts, self._timeout = native, prompts, timeout
        self.protocol = prompts.protocol
        self.name = native.metadata("general.name") or native.text.stem
        self.note = native.metadata("whylook.knows")
        self.limits = None
        source = native.metadata("tokenizer.chat_template")
        if not source:
            raise RequestError(f"{native.text} has no chat template; use an instruction-tuned vision-language model")
        special = [native.metadata(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")]
        bos, eos = (_token_text(native, index) for index in special)
        self._template = ChatTemplate(source, bos, eos)
        before = self._template.split(prompts.instructions, "")[0] + MARKER
        self._placer = Placer(native, before, max_side=max_side)
        self._digits = [self._digit(digit) for digit in range(6)]
        self.fingerprint = _fingerprint(digests, prompts)
        self.batch_size = self._open(batch_size, memory_share)
        self._written: dict[int, bytes] = {}
        """Bytes of every token written so far."""

    def _digit(self, digit: int) -> int:
        tokens = self._native.continuation(str(digit))
        if len(tokens) != 1:
            raise RequestError(f"{self._native.text} has no single token for the digit {digit}; use another judge")
        return tokens[0]

    def _open(self, batch_size: int | None, memory_share: float) -> int:
        """Size the context by the largest picture, and the batch by the memory there is."""
        native, picture = self._native, self._placer.extent
        questions = [
            sum(len(native.continuation(step.text)) if step.kind == "force" else MAX_TEXT_TOKENS for step in line.steps)
            for line in lines(self._prompts, self._template, "a class name of some length")
        ]
        longest = picture.positions + max(questions)
        if longest > native.trained_context:
            raise RequestError(
                f"{native.text} has a context of {native.trained_context} tokens; a picture with its question takes up "
                f"to {longest}: use a judge with a larger context or shorter prompts"
            )
        most = picture.tokens + max(questions) + SPARE
        each = native.bytes_per_token * cells(most) * len(questions)
        room = int(memory_share * psutil.virtual_memory().available // max(each, 1))
        size = batch_size or max(1, min(MAX_BATCH, room))
        native.open_context(longest=most, sequences=1 + size * len(questions), image_tokens=picture.image)
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
        asked = {index: self._asked(one, words=words) for index, one in enumerate(requests) if not one.abstain_reason}
        self._work(deque(asked.values()), self.batch_size)
        seconds = (time.perf_counter() - start) / max(len(asked), 1)
        return [
            judgement(request, asked[index].lines, self._prompts, seconds=seconds)
            if index in asked
            else Judgement(request.image_id, "abstained", request.abstain_reason)
            for index, request in enumerate(requests)
        ]

    def _asked(self, request: JudgeRequest, *, words: bool = True) -> _Asked:
        return _Asked(request, lines(self._prompts, self._template, request.prediction, words=words), words)

    def _work(self, waiting: deque[_Asked], size: int) -> None:
        """Ask until none waits, `size` pictures side by side; a slot is given to the next picture when it is free."""
        slots, active = list(range(size)), list[_Asked]()
        while waiting or active:
            try:
                if waiting and len(slots) >= (max(1, size // REFILL_SHARE) if active else 1):
                    self._admit([waiting.popleft() for _ in range(min(len(slots), len(waiting)))], slots, active)
                self._step(active)
            except JudgeError as error:
                self._recover(active, str(error))
                slots, active = list(range(size)), []
            slots += [one.slot for one in active if one.complete]
            active = [one for one in active if not one.complete]

    def _admit(self, new: Sequence[_Asked], slots: list[int], active: list[_Asked]) -> None:
        """Give every line of the new pictures a sequence that holds the instructions and its own picture."""
        active += new
        self._native.set_deadline(self._timeout * len(active))
        for one in new:
            one.slot = slots.pop(0)
            for offset, line in enumerate(one.lines):
                line.sequence = 1 + offset * self.batch_size + one.slot  # like ones beside each other: one step for all
        ends = self._placer.place([(one.lines[0].sequence, one.request.masked) for one in new])
        for one, end in zip(new, ends, strict=True):
            for line in one.lines:
                line.position, line.pending = end, self._native.continuation(line.steps.pop(0).text)
        self._branch(new)

    def _branch(self, new: Sequence[_Asked]) -> None:
        """Let every line branch off its picture, and off the line before it where both begin with the same words."""
        shared: list[tuple[Line, Line, int]] = []
        for one in new:
            for before, line in pairwise(one.lines):
                common = len(commonprefix([before.pending[:-1], line.pending[:-1]]))
                if common >= LEAST_SHARED and not any(before is other for _, other, _ in shared):
                    shared.append((before, line, common))
                else:
                    self._native.branch(one.lines[0].sequence, line.sequence)
        if shared:
            self._native.decode(
                [(before.sequence, before.pending[:common], before.position) for before, _, common in shared]
            )
        for before, line, common in shared:
            self._native.branch(before.sequence, line.sequence)
            for either in (before, line):
                either.position, either.pending = either.position + common, either.pending[common:]

    def _recover(self, active: Sequence[_Asked], reason: str) -> None:
        """When a batch fails as a whole, ask each of its pictures alone, so that only the guilty one is lost."""
        late = self._native.late
        for one in active:
            for line in one.lines:
                self._native.free(line.sequence)
        if len(active) == 1 or late:
            for one in active:
                one.lines[0].failure = reason
            return
        for one in active:
            one.lines = self._asked(one.request, words=one.words).lines
            self._work(deque([one]), 1)

    def _step(self, active: Sequence[_Asked]) -> None:
        """Decode all open lines together and take each one's step at its logits."""
        open_lines = [line for one in active for line in one.lines if line.pending]
        logits = self._native.decode([(line.sequence, line.pending, line.position) for line in open_lines])
        likeliest = logits.argmax(axis=1).tolist()
        for line, values, token in zip(open_lines, logits, likeliest, strict=True):
            line.position += len(line.pending)
            line.pending = self._next(line, values, token)
            if not line.pending:
                self._native.free(line.sequence)

    def _next(self, line: Line, logits: NDArray[np.float32], likeliest: int) -> list[int]:
        """Take the line's current step at these logits; the tokens to decode next, none when it is complete."""
        step = line.steps[0]
        if step.kind == "score":
            line.distribution, line.mass = read_score(logits, self._digits)
            line.steps.pop(0)
            if not line.steps:
                return []
            expected = int(line.distribution @ np.arange(6) + 0.5)
            return [self._digits[expected], *self._native.continuation(line.steps.pop(0).text)]
        return self._write(line, step, likeliest)

    def _write(self, line: Line, step: Step, token: int) -> list[int]:
        """Add one written token; the reply ends at a quotation mark and must be one line of plain text."""
        line.count += 1
        piece = self._written.get(token)
        if piece is None:
            piece = self._written[token] = self._native.piece(token)
        line.written += piece
        if b'"' not in piece:
            if self._native.is_end(token) or line.count > MAX_TEXT_TOKENS:
                line.failure = f"the {step.name} did not end"
            return [] if line.failure else [token]
        text = line.written[: line.written.index(b'"')].decode("utf-8", "replace").strip()
        if not text or not text.isprintable() or "\\" in text:
            line.failure = f"the {step.name} is empty or no plain text"
            return []
        line.texts[step.name] = text
        line.steps.pop(0)
        line.written, line.count = b"", 0
        return [token, *self._native.continuation(line.steps.pop(0).text)] if line.steps else []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model."""
        self._native.close()


def _token_text(native: LlamaContext, index: str | None) -> str:
    import llama_cpp

    if index is None:
        return ""
    text = llama_cpp.llama_vocab_get_text(native.vocabulary, int(index))
    return text.decode("utf-8", "replace") if text else ""


def _fingerprint(digests: Sequence[bytes], prompts: Prompts) -> str:
    digest = hashlib.sha256(f"{VERSION} {prompts.fingerprint}".encode())
    for one in digests:
        digest.update(one)
    return digest.hexdigest()[:16]
