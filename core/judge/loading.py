"""Loads a judge: one for a model of real size, several side by side for a small one."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path

import llama_cpp as llama

from core.judge.gguf import check_gguf
from core.judge.judge import MEMORY_SHARE, LlamaJudge
from core.judge.llama_context import LlamaContext
from core.judge.names import ProtocolName
from core.judge.probe import Trial, try_once
from core.judge.prompts import load_prompts
from core.judge.protocol import Judge
from core.judge.several import SeveralJudges
from core.records import Fill, View

MAX_SIDE = 448
"""Longest side of a masked picture in pixels; two stand side by side."""
SMALL = 128 * 2**20
"""Bytes of a text model below which a copy per thread is quicker than threads that wait for each other: on two cores
1.10 times at 40 MB, 1.06 at 73, 1.03 at 120, 1.02 at 246 (tests/bench/judge_copies.py). Each copy reads its weights
from memory, which many cores share."""
MOST_COPIES = 8


def load_judge(
    *,
    vlm: Path,
    mmproj: Path,
    protocol: ProtocolName = "calibrated",
    prompts: Path | None = None,
    fill: Fill = "black",
    view: View = "masked",
    device: str = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    workers: int | None = None,
    timeout: float = 300.0,
) -> Judge:
    """Load a GGUF vision-language model.

    Args:
        vlm: the text model's GGUF file.
        mmproj: its projector's GGUF file.
        protocol: `calibrated`, or `paper` (arXiv 2508.20227).
        prompts: a user's own prompt file instead of the protocol's.
        fill: how the pictures to come are masked; the prompt says so.
        view: whether they come beside the whole picture; the prompt says so.
        device: `cpu`, or `auto`, `cuda`, `mps` to offload where this build of llama.cpp can.
        batch_size: pictures judged side by side, by all copies together and rounded up to as many for each; None takes
            what the memory allows, at most 16 each.
        threads: CPU threads; None takes all cores.
        workers: copies of the model that share pictures and threads; None takes a copy per thread where the model is
            small and computes on the CPU, else one.
        timeout: seconds after which a picture's reply counts as failed, times the pictures of a batch.

    Raises:
        RequestError: a file is missing, truncated, damaged, no GGUF, or the two do not belong together.
    """
    texts = load_prompts(prompts or protocol, fill=fill, view=view)
    threads = threads or _cores()
    gpu = device != "cpu" and bool(llama.llama_supports_gpu_offload())
    if workers is None:
        small = not gpu and vlm.is_file() and vlm.stat().st_size < SMALL
        workers = min(threads, MOST_COPIES) if small else 1
    workers = min(workers, batch_size or workers)
    side = 2 * MAX_SIDE if view == "side-by-side" else MAX_SIDE
    digests = [_digest(vlm, "the judge's model"), _digest(mmproj, "the judge's projector (mmproj)")]
    trial = Trial(str(vlm), str(mmproj), gpu, threads, str(prompts or protocol), fill, view, side)
    try_once(trial, digests)
    with ExitStack() as undo:
        judges = []
        for _ in range(workers):
            context = LlamaContext(vlm, mmproj, gpu=gpu, threads=max(1, threads // workers))
            undo.callback(context.close)
            judge = LlamaJudge(
                context, texts, digests=digests, max_side=side, timeout=timeout,
                batch_size=batch_size and -(-batch_size // workers), memory_share=MEMORY_SHARE / workers,
            )  # fmt: skip
            judges.append(judge)
        undo.pop_all()
    return judges[0] if len(judges) == 1 else SeveralJudges(judges)


def _digest(path: Path, role: str) -> bytes:
    """The sha256 of a GGUF file."""
    check_gguf(path, role)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
