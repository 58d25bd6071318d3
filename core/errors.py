"""The few exceptions whylook raises on purpose.

Knows: nothing else in the package. The command line and the pages turn these into one clear line; the library never
prints.
"""


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
