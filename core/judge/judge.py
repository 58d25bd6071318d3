"""The batched judge: many masked pictures through one GGUF vision-language model, side by side.

Knows: batches, sequences, deadlines, what a reply becomes. Does not know: DuckDB, where pictures come from.

Per batch: pictures are encoded together, each is decoded once behind the shared instructions, every question branches
off from there, and all branches advance by one llama.cpp call per token.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil
from numpy.typing import NDArray

from core.errors import JudgeError, RequestError
from core.judge.asking import MAX_TEXT_TOKENS, Line, Step, lines, read, read_score
from core.judge.native import Native
from core.judge.prompts import MARKER, ChatTemplate, Prompts, Protocol, load_prompts
from core.records import Judgement, JudgeRequest

VERSION = 1
"""Raised when the same files and prompts would give other results."""
MAX_SIDE = 448
MAX_BATCH = 16
MEMORY_SHARE = 0.25
"""Share of the free memory that the judge's context may take."""


def load_judge(
    *,
    vlm: Path,
    mmproj: Path,
    protocol: Protocol = "calibrated",
    prompts: Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    timeout: float = 300.0,
) -> Judge:
    """Load a GGUF vision-language model.

    Args:
        vlm: the text model's GGUF file.
        mmproj: its projector's GGUF file.
        protocol: `calibrated`, or `paper` (arXiv 2508.20227).
        prompts: a user's own prompt file instead of the protocol's.
        device: `cpu`, or `auto`, `cuda`, `mps` to offload where this build of llama.cpp can.
        batch_size: pictures judged side by side; None takes what the memory allows, at most 16.
        threads: CPU threads; None takes all cores.
        timeout: seconds after which a picture's reply counts as failed, times the pictures of a batch.

    Raises:
        RequestError: a file is missing, truncated, no GGUF, or the two do not belong together.
    """
    texts = load_prompts(prompts or protocol)
    native = Native(vlm, mmproj, gpu=device != "cpu", threads=threads or os.cpu_count() or 1)
    try:
        return Judge(native, texts, vlm=vlm, mmproj=mmproj, batch_size=batch_size, timeout=timeout)
    except BaseException:
        native.close()
        raise


class Judge:
    """A loaded judge. Use it as a context manager, or call `close`."""

    def __init__(
        self, native: Native, prompts: Prompts, *, vlm: Path, mmproj: Path, batch_size: int | None, timeout: float
    ) -> None:
        self._native, self._prompts, self._timeout = native, prompts, timeout
        self.protocol = prompts.protocol
        self.name = native.metadata("general.name") or vlm.stem
        self.knows = native.metadata("whylook.knows")
        """A sentence from the GGUF when the judge knows one world only, else None."""
        source = native.metadata("tokenizer.chat_template")
        if not source:
            raise RequestError(f"{vlm} has no chat template; use an instruction-tuned vision-language model")
        special = [native.metadata(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")]
        bos, eos = (_token_text(native, index) for index in special)
        self._template = ChatTemplate(source, bos, eos)
        self._before = self._template.split(prompts.instructions, "")[0] + MARKER
        self._digits = [self._digit(digit) for digit in range(6)]
        self.fingerprint = _fingerprint(vlm, mmproj, prompts)
        self.batch_size = self._open(batch_size)
        self._quotes: dict[int, bytes] = {}

    def _digit(self, digit: int) -> int:
        tokens = self._native.tokenize(str(digit), special=False)
        if len(tokens) != 1:
            raise RequestError(f"{self.name} has no single token for the digit {digit}; use another judge")
        return tokens[0]

    def _open(self, batch_size: int | None) -> int:
        """Size the context by the largest picture, and the batch by the memory there is."""
        picture = self._native.picture_tokens(self._before, np.zeros((MAX_SIDE, MAX_SIDE, 3), np.uint8))
        asked = lines(self._prompts, self._template, "a class name of some length")
        questions = sum(
            len(self._native.tokenize(step.text)) if step.kind == "force" else MAX_TEXT_TOKENS
            for line in asked
            for step in line.steps
        )
        each = picture + questions + 64 * len(asked)
        room = int(MEMORY_SHARE * psutil.virtual_memory().available // max(self._native.bytes_per_token * each, 1))
        size = batch_size or max(1, min(MAX_BATCH, room))
        self._native.open_context(tokens=size * each + 512, sequences=1 + size * len(asked))
        return size

    def judge(self, requests: Sequence[JudgeRequest]) -> list[Judgement]:
        """Judge masked pictures.

        Args:
            requests: masked pictures with the class names predicted for them; any number.

        Returns:
            One judgement per request, in the same order; a picture that goes wrong is `failed` with its reason.
        """
        results: dict[int, Judgement] = {}
        asked: list[int] = []
        for index, request in enumerate(requests):
            if request.abstain_reason:
                results[index] = Judgement(request.image_id, "abstained", request.abstain_reason)
            else:
                asked.append(index)
        for start in range(0, len(asked), self.batch_size):
            part = asked[start : start + self.batch_size]
            for index, judgement in zip(part, self._batch([requests[i] for i in part]), strict=True):
                results[index] = judgement
        return [results[index] for index in range(len(requests))]

    def _batch(self, requests: Sequence[JudgeRequest]) -> list[Judgement]:
        """One batch; when it fails as a whole, each picture alone, so that only the guilty one is lost."""
        start = time.perf_counter()
        self._native.set_deadline(self._timeout * len(requests))
        groups = [lines(self._prompts, self._template, request.prediction) for request in requests]
        try:
            self._place(requests, groups)
            self._advance([line for group in groups for line in group])
        except JudgeError as error:
            if len(requests) > 1 and not self._native.late:
                self._free(groups)
                return [judgement for request in requests for judgement in self._batch([request])]
            for group in groups:
                group[0].failure = str(error)
        finally:
            self._free(groups)
        seconds = (time.perf_counter() - start) / len(requests)
        return [self._judgement(request, group, seconds) for request, group in zip(requests, groups, strict=True)]

    def _place(self, requests: Sequence[JudgeRequest], groups: Sequence[list[Line]]) -> None:
        """Give every line a sequence that holds the instructions and its own picture."""
        width = len(groups[0])
        for index, group in enumerate(groups):
            for offset, line in enumerate(group):
                line.sequence = 1 + index * width + offset
        ends = self._native.place(
            self._before, [(group[0].sequence, request.masked) for request, group in zip(requests, groups, strict=True)]
        )
        for end, group in zip(ends, groups, strict=True):
            for line in group:
                line.position = end
                if line is not group[0]:
                    self._native.branch(group[0].sequence, line.sequence)

    def _free(self, groups: Sequence[list[Line]]) -> None:
        for group in groups:
            for line in group:
                if line.sequence > 0:
                    self._native.free(line.sequence)

    def _advance(self, open_lines: list[Line]) -> None:
        """Decode all lines together until each has taken its last step."""
        pending = {id(line): self._native.tokenize(line.steps.pop(0).text) for line in open_lines}
        while open_lines:
            logits = self._native.decode([(line.sequence, pending[id(line)], line.position) for line in open_lines])
            for line, values in zip(open_lines, logits, strict=True):
                line.position += len(pending[id(line)])
                pending[id(line)] = self._next(line, values)
            open_lines = [line for line in open_lines if pending[id(line)]]

    def _next(self, line: Line, logits: NDArray[np.float32]) -> list[int]:
        """Take the line's current step at these logits; the tokens to decode next, none when it is complete."""
        step = line.steps[0]
        if step.kind == "score":
            line.distribution, line.mass = read_score(logits, self._digits)
            line.steps.pop(0)
            if not line.steps:
                return []
            expected = int(line.distribution @ np.arange(6) + 0.5)
            return [self._digits[expected], *self._native.tokenize(line.steps.pop(0).text)]
        return self._write(line, step, int(np.argmax(logits)))

    def _write(self, line: Line, step: Step, token: int) -> list[int]:
        """Add one written token; the reply ends at a quotation mark and must be one line of plain text."""
        line.count += 1
        piece = self._quotes.setdefault(token, self._native.piece(token))
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
        return [token, *self._native.tokenize(line.steps.pop(0).text)] if line.steps else []

    def _judgement(self, request: JudgeRequest, group: list[Line], seconds: float) -> Judgement:
        reading = read(group, self._prompts)
        score = entropy = None
        if reading.distribution is not None:
            p = np.asarray(reading.distribution)
            score, entropy = float(p @ np.arange(6)), float(-(p[p > 0] * np.log(p[p > 0])).sum())
        return Judgement(request.image_id, reading.state, reading.reason, reading.description, reading.justification,
                         score, entropy, reading.distribution, seconds)  # fmt: skip

    def close(self) -> None:
        """Free the model."""
        self._native.close()

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _token_text(native: Native, index: str | None) -> str:
    import llama_cpp

    if index is None:
        return ""
    text = llama_cpp.llama_vocab_get_text(native.vocabulary, int(index))
    return text.decode("utf-8", "replace") if text else ""


def _fingerprint(vlm: Path, mmproj: Path, prompts: Prompts) -> str:
    digest = hashlib.sha256(f"{VERSION} {prompts.fingerprint}".encode())
    for path in (vlm, mmproj):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
