"""The plain way to judge: a loop over llama-cpp-python's MTMDChatHandler, one call for every piece of a judgement.

What `Judge` is measured against, in time and in words: greedy decoding must write the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from llama_cpp import Llama
from llama_cpp.llama_chat_format import MTMDChatHandler
from PIL import Image

from core.judge import prompts as forms
from core.records import JudgeRequest
from tests.support.judge_server import TYPED


@dataclass(frozen=True)
class LoopReply:
    """What four calls gave: description, most likely digit under both rubric orders, justification."""

    description: str
    score: str
    reversed_score: str
    justification: str


class _Handler(MTMDChatHandler):  # type: ignore[misc]
    """The handler with a template for content in parts that ends with the reply's frame."""

    frame = ""

    def _get_chat_template(self, llama: Llama) -> str:
        return TYPED + self.frame


class JudgeLoop:
    """A loaded pair, asked picture by picture and call by call."""

    def __init__(self, vlm: Path, mmproj: Path, *, threads: int) -> None:
        self._handler = _Handler(str(mmproj), verbose=False, use_gpu=False)
        self._llama = Llama(
            str(vlm), chat_handler=self._handler, n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False
        )
        self._prompts = forms.load_prompts("calibrated")

    def judge(self, requests: Sequence[JudgeRequest]) -> list[LoopReply]:
        """Every picture, one after the other."""
        return [self._one(request) for request in requests]

    def _one(self, request: JudgeRequest) -> LoopReply:
        file = io.BytesIO()
        Image.fromarray(request.masked).save(file, "PNG", compress_level=1)
        picture = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

        def ask(name: str, frame: str, tokens: int, *, reverse: bool = False) -> str:
            question = self._prompts.question(name, prediction=request.prediction, reverse=reverse)
            return self._ask(picture, question, frame, tokens)

        score = ask("score", forms.SCORE, 1)
        return LoopReply(
            ask("describe", forms.DESCRIPTION, 96).strip(),
            score,
            ask("score", forms.SCORE, 1, reverse=True),
            ask("score", f"{forms.SCORE}{score}{forms.JUSTIFICATION}", 96).strip(),
        )

    def _ask(self, picture: str, question: str, frame: str, tokens: int) -> str:
        self._handler.frame = "{{ " + repr(frame) + " }}"
        content = [
            {"type": "text", "text": f"{self._prompts.instructions}\n"},
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": f"\n{question}"},
        ]
        reply: Any = self._llama.create_chat_completion(
            [{"role": "user", "content": content}], max_tokens=tokens, temperature=0.0, repeat_penalty=1.0, stop=['"'],
        )  # fmt: skip
        return str(reply["choices"][0]["message"]["content"])

    def close(self) -> None:
        """Free the pair."""
        self._llama.close()

    def __enter__(self) -> JudgeLoop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
