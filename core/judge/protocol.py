"""What a judge is to the rest of the house, whether it runs in this process, in several copies or on a server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from core.judge.names import ProtocolName
from core.records import Judgement, JudgeRequest


class Judge(Protocol):
    """A loaded judge. It is a context manager and is closed by leaving it; closing twice does nothing."""

    protocol: ProtocolName
    """How it is asked: `calibrated` or `paper`."""
    name: str
    """The model in words, for people."""
    note: str | None
    """What the model itself says that it knows, such as pictures of a demo world only."""
    limits: str | None
    """What it cannot do, such as scores without a distribution."""
    fingerprint: str
    """Names everything that its judgements depend on."""
    batch_size: int
    """Pictures that it judges side by side."""

    @abstractmethod
    def judge(self, requests: Sequence[JudgeRequest], *, words: bool = True) -> list[Judgement]:
        """One judgement per request, in the same order; a picture that goes wrong is `failed` with its reason.

        Args:
            requests: masked pictures with the class names predicted for them; any number.
            words: False asks for the score alone.
        """

    def __enter__(self) -> Self:
        """Itself."""
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the model, the threads or the connection."""
