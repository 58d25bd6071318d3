"""Forks one `whylook run` after another, so that a test can kill many of them without paying for the imports each time.

Each line on stdin is a JSON list: the words for the command line, then the file for its output. The answer is the
child's process id, and later, when asked with an empty line, its exit status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

import core.attribution.attribute  # noqa: F401
import core.classifier.loading  # noqa: F401
import core.commands.run  # noqa: F401
from core.commands.main import main
from core.pipeline import journal

journal.PUBLISH_SECONDS = 0.1  # many publications, so that kills hit them too
journal.PUBLISH_SHARE = 1.0


def child(words: list[str], output: str) -> int:
    """The forked process: a run with its output in a file."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115, PTH123
    try:
        code = main(words)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve() -> None:
    """Answer until stdin ends."""
    print("ready", flush=True)
    pid = 0
    for line in sys.stdin:
        if line.strip():
            words, output = json.loads(line)
            pid = os.fork()
            if pid == 0:
                os._exit(child(words, output))
            print(pid, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
