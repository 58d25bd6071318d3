"""The border with other people's code: whatever a user's model, file or transform raises becomes one clear line.

Knows: that foreign code may raise anything and return anything. Does not know: which model it is, files, maps. It is a
context manager and not an `except`, so that there is one such place, and it never swallows: it always raises again.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from torch import Tensor

from core.errors import ModelError, WhylookError

MAX_REASON = 300
"""Longest part of a foreign message that is kept; some models print whole tensors."""


def one_line(error: BaseException) -> str:
    """The first non-empty line of an exception's message, with its type, short enough for a table cell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    return f"{name}: {lines[0][:MAX_REASON]}" if lines else name


class Foreign:
    """Context manager around code that is not ours: any exception in it is raised again as a `WhylookError`.

    Our own errors and the user's Ctrl+C pass through untouched. `SystemExit` is translated too: a model file that
    calls `sys.exit` must not end the run without a word.
    """

    def __init__(self, doing: str, *, raises: type[WhylookError] = ModelError) -> None:
        """`doing` opens the message: "the model failed"."""
        self.doing = doing
        self.raises = raises

    def __enter__(self) -> Foreign:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Translate what was raised."""
        if error is None or isinstance(error, (WhylookError, KeyboardInterrupt, GeneratorExit)):
            return
        raise self.raises(f"{self.doing}: {one_line(error)}") from error


def first(output: Any) -> Any:
    """What a layer computed: some blocks return it in a tuple, before attention weights or sizes."""
    return output[0] if isinstance(output, tuple) and output else output


def with_first(output: Any, changed: Tensor) -> Any:
    """The layer's output with what it computed replaced."""
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def logits_of(output: Any, pictures: int) -> Tensor:
    """The logits (B, K) in what a classifier returned: a tensor, or something with `logits` in it.

    Raises:
        ModelError: there is no (pictures, K) floating-point tensor in it.
    """
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ModelError(f"the model returned {type(output).__name__}, expected a tensor of logits (pictures, classes)")
    if logits.ndim != 2 or logits.shape[0] != pictures or logits.shape[1] < 1 or not logits.is_floating_point():
        raise ModelError(
            f"the model returned a {logits.dtype} tensor of shape {tuple(logits.shape)}, "
            f"expected floating-point logits of shape ({pictures}, classes)"
        )
    return logits
