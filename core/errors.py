"""The few exceptions whylook raises on purpose, and the border where other people's become them.

Knows: nothing else in the package. The command line and the pages turn these into one clear line; the library never
prints.
"""

from __future__ import annotations

from types import TracebackType


class WhylookError(Exception):
    """Any failure whose message is written for the person who reads it."""


class RequestError(WhylookError):
    """The request was wrong: an argument, a file or a folder. The message names it and the remedy (exit code 2)."""


class ImageError(WhylookError):
    """One picture could not be read. Recorded as a failure of that picture, never of the run."""


class ModelError(WhylookError):
    """The classifier raised, or returned something that is no set of logits."""


class JudgeError(WhylookError):
    """The judge could not be loaded, or one reply of it could not be used."""


class StoreError(WhylookError):
    """The store cannot be read or written as asked (newer version, another run, full disk)."""


class QueryError(WhylookError):
    """A user's SQL was refused, failed or took too long; the message says which and where."""


MAX_REASON = 300
"""Longest part of a foreign message that is kept; some models print whole tensors."""


def one_line(error: BaseException) -> str:
    """The first non-empty line of an exception's message, with its type, short enough for a table cell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    return f"{name}: {lines[0][:MAX_REASON]}" if lines else name


class translate_errors:
    """Context manager around code that is not ours: any exception in it is raised again as a `WhylookError`.

    Our own errors and the user's Ctrl+C pass through untouched. `SystemExit` is translated too: a model file that
    calls `sys.exit` must not end the run without a word.
    """

    def __init__(self, doing: str, *, raises: type[WhylookError] = ModelError) -> None:
        """`doing` opens the message: "the model failed"."""
        self.doing = doing
        self.raises = raises

    def __enter__(self) -> translate_errors:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Translate what was raised."""
        if error is None or isinstance(error, (WhylookError, KeyboardInterrupt, GeneratorExit)):
            return
        raise self.raises(f"{self.doing}: {one_line(error)}") from error
