"""Tries a GGUF pair in a process of its own before it is loaded in this one.

llama.cpp ends its whole process, without a word, over some damaged files: of 480 pairs with one bit flipped 3 died
loading and 5 at the first picture. So a pair that is new here loads once in another process and scores one small
picture there. What passed is remembered by the files' own sha256, which a run needs anyway.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import llama_cpp
import numpy as np
from platformdirs import user_cache_path

from core.errors import RequestError, WhylookError
from core.judge.judge import LlamaJudge
from core.judge.llama_context import LlamaContext
from core.judge.names import PROTOCOLS
from core.judge.prompts import load_prompts
from core.records import Fill, JudgeRequest, View

SECONDS, BYTES_A_SECOND = 120.0, 20e6
"""What a pair may take: this, and time to read its files from a slow disk."""
PROCESS = "import sys; from core.judge.probe import main; sys.exit(main(sys.argv[1]))"
REFUSED = 3
"""Exit status of a pair that is refused in words."""


@dataclass(frozen=True)
class Trial:
    """What is tried: the files as they will be loaded, and the questions as they will be asked."""

    vlm: str
    mmproj: str
    gpu: bool
    threads: int
    prompts: str
    fill: Fill
    view: View
    max_side: int


def try_once(trial: Trial, digests: Sequence[bytes]) -> None:
    """Load a pair and score one picture in another process, unless files with these sha256 passed here before.

    Raises:
        RequestError: the pair is refused, or the process crashed or hung.
    """
    passed = _passed(digests, gpu=trial.gpu)
    if passed.exists():
        return
    allowed = SECONDS + sum(Path(path).stat().st_size for path in (trial.vlm, trial.mmproj)) / BYTES_A_SECOND
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", PROCESS, json.dumps(asdict(trial))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=allowed,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl+C stops the run at its own pace, it is no crash
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _broken(trial, f"did not load and score a picture within {allowed:,.0f} s") from error
    if ended.returncode == REFUSED:
        raise RequestError(json.loads(ended.stdout.splitlines()[-1]))
    if ended.returncode == -signal.SIGKILL:
        raise RequestError(f"the system killed the test of {trial.vlm}, most likely because memory ran out: free some, "
                           "or take a smaller judge")  # fmt: skip
    if ended.returncode != 0:
        raise _broken(trial, f"crashed llama.cpp when it was tried ({_ending(ended.returncode)})")
    with suppress(OSError):  # a home that cannot be written costs a trial each time
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()


def _broken(trial: Trial, what: str) -> RequestError:
    return RequestError(
        f"the judge {trial.vlm} with {trial.mmproj} {what}: a file is damaged, or llama.cpp {llama_cpp.__version__} "
        "cannot run the pair; download both files again, or name another judge"
    )


def _ending(code: int) -> str:
    """How a process ended, in words."""
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"status {code}"


def _passed(digests: Sequence[bytes], *, gpu: bool) -> Path:
    """The empty file that says these two files passed with this llama.cpp, in the user's cache."""
    name = hashlib.sha256(b"".join(digests) + f"{llama_cpp.__version__} {gpu}".encode()).hexdigest()
    return user_cache_path("whylook", appauthor=False) / "judges-tried" / name


def _try(trial: Trial) -> None:
    """What may crash: everything a run does with the pair, once."""
    prompts = trial.prompts if trial.prompts in PROTOCOLS else Path(trial.prompts)
    context = LlamaContext(Path(trial.vlm), Path(trial.mmproj), gpu=trial.gpu, threads=trial.threads)
    try:
        judge = LlamaJudge(
            context, load_prompts(prompts, fill=trial.fill, view=trial.view), digests=(), max_side=trial.max_side,
            batch_size=1, timeout=float("inf"),
        )  # fmt: skip
        judge.judge([JudgeRequest("trial", np.full((56, 56, 3), 127, np.uint8), "cow")], words=False)
    finally:
        context.close()


def main(trial: str) -> int:
    """The process, given a trial as JSON: its exit status says how it went."""
    with suppress(ImportError, OSError, ValueError):  # no core file; the first to go when memory runs out (Linux)
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        _try(Trial(**json.loads(trial)))
    except WhylookError as error:
        print(json.dumps(str(error)))
        return REFUSED
    return 0
