"""The command line: `whylook COMMAND` or `python -m core COMMAND`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from core.commands.parser import Command, build_parser
from core.errors import WhylookError
from core.memory import keep_freed_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        arguments = build_parser().parse_args(argv)
        code = int(load(arguments.command)(arguments))
        sys.stdout.flush()  # here and not at exit, where a full disk could no longer be said
        return code
    except SystemExit as end:  # argparse has said what is wrong, or printed the help
        return int(end.code or 0)
    except WhylookError as error:
        print(f"whylook: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("whylook: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.filename is None:  # stdout itself: what is still buffered has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # `whylook sql … | head`
            return 0
        print(f"whylook: {error.filename or 'the output'}: {error.strerror or error}", file=sys.stderr)
        return 2


def load(command: Command) -> Callable[..., int]:
    """The function that carries out a command; only now its module is loaded, which may bring torch along."""
    if command.computes:
        keep_freed_memory()
    module, _, name = command.target.partition(":")
    function: Callable[..., int] = getattr(importlib.import_module(module), name)
    return function


if __name__ == "__main__":
    sys.exit(main())
