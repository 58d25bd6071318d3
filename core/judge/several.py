"""Several copies of one small judge, each on a core of its own, that share the pictures between them.

Threads of one llama.cpp context meet after every operation. Where a model is so small that an operation takes
microseconds they mostly wait, and when another program takes a core for a moment, all of them do. Copies meet nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from core.judge.protocol import Judge
from core.records import Judgement, JudgeRequest


class SeveralJudges(Judge):
    """Judges of the same files and prompts behind the interface of one."""

    def __init__(self, judges: Sequence[Judge]) -> None:
        self._judges = tuple(judges)
        self.copies = len(judges)
        self._pool = ThreadPoolExecutor(len(self._judges), thread_name_prefix="judge")
        first = self._judges[0]
        self.protocol, self.name, self.note, self.limits, self.fingerprint = (
            first.protocol, first.name, first.note, first.limits, first.fingerprint
        )  # fmt: skip
        self.batch_size = sum(judge.batch_size for judge in judges)

    def judge(self, requests: Sequence[JudgeRequest], *, words: bool = True) -> list[Judgement]:
        """Judge masked pictures; see `Judge.judge`. Each gets every n-th picture, whatever the others do."""
        count = len(self._judges)
        parts = [requests[place::count] for place in range(count)]
        pairs = zip(self._judges, parts, strict=True)
        working = [self._pool.submit(judge.judge, part, words=words) for judge, part in pairs]
        judged: list[Judgement] = [Judgement("", "failed", None)] * len(requests)
        for place, part in enumerate(working):
            judged[place::count] = part.result()
        busy = max(1, sum(bool(part) for part in parts))
        return [replace(item, seconds=item.seconds / busy) if item.seconds is not None else item for item in judged]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free every copy."""
        self._pool.shutdown()
        for judge in self._judges:
            judge.__exit__(kind, error, trace)
