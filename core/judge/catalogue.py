"""The judges that `whylook models` lists: their files on the Hugging Face hub, what they need, which are here.

Names and sizes are those that public projects record of the hub, which could not be reached when this was written; what
a repository really holds is asked when a judge is fetched. Up to 2 billion parameters the Q8_0 file is listed, above
that Q4_K_M; of the newest judges the file whose size is on record, some sizes to three digits. None of the hub's
trained weights has been run: the tests run small random-weight pairs of each family through the same code
(tests/test_judge_families.py), and the demo's judge with the weights it has.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from core.errors import RequestError

DEMO_FOLDER = Path(__file__).resolve().parents[2] / "data" / "demo" / "judge"
FOLDER_VARIABLE = "WHYLOOK_MODELS"
BYTES_PER_WEIGHT = {"q8_0": 34 / 32, "q4_k_m": 0.606, "q4_0": 18 / 32, "f16": 2.0}
"""By the quantisation that a file name ends with; a Q4_K_M file mixes 4 and 6 bits and comes to about 4.85."""
PICTURES = 16
"""Judged side by side, as core.judge does where the memory allows: one reading of the weights serves them all."""
QUESTIONS, CELLS = 3, 250
"""Sequences of a picture, each with the picture's own cells, and the cells that each takes beside those."""
ASKED, WRITTEN, STEPS = 200, 60, 40
"""What a picture takes beside its own tokens: tokens of questions and of replies, decoding steps."""
OVERHEAD = 0.03
"""Seconds a picture takes around the model: measured with the demo judge, whose weights cost next to nothing."""
COLUMNS = ("judge", "licence", "size_gb", "est_memory_gb", "est_cpu_per_min", "est_gpu_per_min", "tested", "here")
HEADING = "judges for --vlm and --mmproj; whylook models pull NAME fetches one from the Hugging Face hub"
ESTIMATED = (
    f"est_: estimated, not measured. Memory: the files and the cache of {PICTURES} pictures side by side; fewer need "
    "less.\nPictures a minute: on a CPU with 50 GB/s and 0.5 TFLOP/s, on a GPU with 500 GB/s and 50 TFLOP/s."
)
TESTED = (
    "tested: small random-weight pairs of the family run through the same code; the trained weights could not be\n"
    "reached when this list was written."
)


@dataclass(frozen=True)
class Machine:
    """What the speed of a judge depends on."""

    flops: float
    """Floating-point operations a second that large products reach."""
    bandwidth: float
    """Bytes of weights read a second."""


CPU = Machine(0.5e12, 50e9)
GPU = Machine(50e12, 500e9)
"""Assumed: a usual desktop's processor, and a usual graphics card with memory enough."""


@dataclass(frozen=True)
class KnownJudge:
    """A GGUF pair with what its needs are estimated from."""

    name: str
    family: str
    """Its name in tests/random_pairs.py."""
    repository: str
    text: str
    projector: str
    text_bytes: int
    projector_bytes: int
    cache_bytes: int
    """Keys and values of one token: 2 x layers x key-value heads x head size x 2 bytes."""
    patches: int
    """Of a picture of 448 x 448 pixels, taken whole."""
    tokens: int
    """That picture's tokens."""
    licence: str
    """Of the weights, as their publisher names it."""
    state_bytes: int = 0
    """States of a sequence where recurrent layers replace attention; see `core.judge.gguf.cache_size`."""
    used: float = 1.0
    """Share of the text model's weights that a token is multiplied with; the rest are looked up by token."""

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return self.text_bytes + self.projector_bytes

    @property
    def memory(self) -> int:
        """Bytes of both files and of the cache for PICTURES pictures."""
        return self.size + PICTURES * QUESTIONS * ((self.tokens + CELLS) * self.cache_bytes + self.state_bytes)

    def per_minute(self, machine: Machine) -> float:
        """Pictures a minute, to two digits.

        A weight costs two operations a patch in the projector's tower and two a token in the text model; each decoding
        step reads the text model's weights once for all pictures side by side.
        """
        tower = 2 * _weights(self.projector, self.projector_bytes) * self.patches
        text = 2 * self.used * _weights(self.text, self.text_bytes) * (self.tokens + ASKED + WRITTEN)
        reading = STEPS * self.used * self.text_bytes / PICTURES
        return float(f"{60 / (OVERHEAD + (tower + text) / machine.flops + reading / machine.bandwidth):.2g}")


def _weights(name: str, size: int) -> float:
    """About how many weights a file holds; a name without a quantisation stands for F16."""
    return size / next((each for kind, each in BYTES_PER_WEIGHT.items() if kind in name.lower()), 2.0)


APACHE = "Apache-2.0"
QWEN_RESEARCH = "Qwen Research: non-commercial use only"
GEMMA = "Gemma Terms of Use"
INTERNVL = "MIT, on Apache-2.0"
LFM = "LFM Open 1.0: free below US$10 million of revenue a year"
DEMO = KnownJudge("demo", "llava", "", "judge.gguf", "judge-mmproj.gguf", 7_366_240, 5_922_688, 4_096, 49, 49, "MIT")
JUDGES = (
    KnownJudge(
        "smolvlm2-500m", "smolvlm", "ggml-org/SmolVLM2-500M-Video-Instruct-GGUF",
        "SmolVLM2-500M-Video-Instruct-Q8_0.gguf", "mmproj-SmolVLM2-500M-Video-Instruct-Q8_0.gguf",
        436_808_704, 108_785_184, 2 * 32 * 5 * 64 * 2, 1024, 64, APACHE,
    ),
    KnownJudge(
        "smolvlm2-2.2b", "smolvlm", "ggml-org/SmolVLM2-2.2B-Instruct-GGUF",
        "SmolVLM2-2.2B-Instruct-Q4_K_M.gguf", "mmproj-SmolVLM2-2.2B-Instruct-Q8_0.gguf",
        1_112_602_656, 592_523_200, 2 * 24 * 32 * 64 * 2, 729, 81, APACHE,
    ),
    KnownJudge(
        "qwen2.5-vl-3b", "qwen2.5-vl", "ggml-org/Qwen2.5-VL-3B-Instruct-GGUF",
        "Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf", "mmproj-Qwen2.5-VL-3B-Instruct-Q8_0.gguf",
        1_929_901_056, 844_757_728, 2 * 36 * 2 * 128 * 2, 1024, 256, QWEN_RESEARCH,
    ),
    KnownJudge(
        "qwen2.5-vl-7b", "qwen2.5-vl", "ggml-org/Qwen2.5-VL-7B-Instruct-GGUF",
        "Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf", "mmproj-Qwen2.5-VL-7B-Instruct-Q8_0.gguf",
        4_683_072_032, 853_119_712, 2 * 28 * 4 * 128 * 2, 1024, 256, APACHE,
    ),
    KnownJudge(
        "qwen3-vl-2b", "qwen3-vl", "ggml-org/Qwen3-VL-2B-Instruct-GGUF",
        "Qwen3-VL-2B-Instruct-Q8_0.gguf", "mmproj-Qwen3-VL-2B-Instruct-Q8_0.gguf",
        1_834_427_296, 445_053_056, 2 * 28 * 8 * 128 * 2, 784, 196, APACHE,
    ),
    KnownJudge(  # this size and the next are published by Qwen, not by ggml-org
        "qwen3-vl-4b", "qwen3-vl", "Qwen/Qwen3-VL-4B-Instruct-GGUF",
        "Qwen3VL-4B-Instruct-Q4_K_M.gguf", "mmproj-Qwen3VL-4B-Instruct-Q8_0.gguf",
        2_497_281_664, 453_974_304, 2 * 36 * 8 * 128 * 2, 784, 196, APACHE,
    ),
    KnownJudge(
        "qwen3-vl-8b", "qwen3-vl", "Qwen/Qwen3-VL-8B-Instruct-GGUF",
        "Qwen3VL-8B-Instruct-Q4_K_M.gguf", "mmproj-Qwen3VL-8B-Instruct-Q8_0.gguf",
        5_027_784_800, 752_289_728, 2 * 36 * 8 * 128 * 2, 784, 196, APACHE,
    ),
    KnownJudge(
        "gemma-3-4b", "gemma3", "ggml-org/gemma-3-4b-it-GGUF",
        "gemma-3-4b-it-Q4_K_M.gguf", "mmproj-model-f16.gguf",
        2_489_757_856, 851_251_104, 2 * 34 * 4 * 256 * 2, 4096, 256, GEMMA,
    ),
    KnownJudge(
        "gemma-3-12b", "gemma3", "ggml-org/gemma-3-12b-it-GGUF",
        "gemma-3-12b-it-Q4_K_M.gguf", "mmproj-model-f16.gguf",
        7_300_574_976, 854_200_224, 2 * 48 * 8 * 256 * 2, 4096, 256, GEMMA,
    ),
    KnownJudge(
        "internvl3-1b", "internvl", "ggml-org/InternVL3-1B-Instruct-GGUF",
        "InternVL3-1B-Instruct-Q8_0.gguf", "mmproj-InternVL3-1B-Instruct-Q8_0.gguf",
        675_206_560, 332_567_840, 2 * 24 * 2 * 64 * 2, 1024, 256, INTERNVL,
    ),
    KnownJudge(
        "internvl3-2b", "internvl", "ggml-org/InternVL3-2B-Instruct-GGUF",
        "InternVL3-2B-Instruct-Q8_0.gguf", "mmproj-InternVL3-2B-Instruct-Q8_0.gguf",
        1_893_671_520, 337_012_000, 2 * 28 * 2 * 128 * 2, 1024, 256, INTERNVL,
    ),
    KnownJudge(  # sizes worked out from the 2B pair and Qwen2.5-VL-7B, whose parts it shares
        "internvl3-8b", "internvl", "ggml-org/InternVL3-8B-Instruct-GGUF",
        "InternVL3-8B-Instruct-Q4_K_M.gguf", "mmproj-InternVL3-8B-Instruct-Q8_0.gguf",
        4_681_000_000, 357_000_000, 2 * 28 * 4 * 128 * 2, 1024, 256, INTERNVL,
    ),
    KnownJudge(  # sizes of the projectors of these two to three digits
        "qwen3.5-2b", "qwen3.5", "unsloth/Qwen3.5-2B-GGUF", "Qwen3.5-2B-Q4_K_M.gguf", "mmproj-F16.gguf",
        1_280_835_840, 668_000_000, 2 * 6 * 2 * 256 * 2, 784, 196, APACHE,
        state_bytes=18 * (3 * 6_144 + 128 * 2_048) * 4,
    ),
    KnownJudge(
        "qwen3.5-4b", "qwen3.5", "unsloth/Qwen3.5-4B-GGUF", "Qwen3.5-4B-Q4_K_M.gguf", "mmproj-F16.gguf",
        2_740_000_000, 672_000_000, 2 * 8 * 4 * 256 * 2, 784, 196, APACHE,
        state_bytes=24 * (3 * 8_192 + 128 * 4_096) * 4,
    ),
    KnownJudge(
        "minicpm-v-4.6", "minicpm-v-4.6", "openbmb/MiniCPM-V-4.6-gguf",
        "MiniCPM-V-4_6-Q8_0.gguf", "mmproj-model-f16.gguf",
        812_000_000, 1_108_000_000, 2 * 6 * 2 * 256 * 2, 1024, 64, APACHE,
        state_bytes=18 * (3 * 6_144 + 128 * 2_048) * 4,
    ),
    KnownJudge(  # half of its weights are embeddings of each layer, looked up
        "gemma-4-e2b", "gemma4", "ggml-org/gemma-4-E2B-it-GGUF",
        "gemma-4-E2B-it-Q4_0.gguf", "mmproj-gemma-4-E2B-it-Q8_0.gguf",
        2_841_481_184, 557_367_776, 2 * (12 * 256 + 3 * 512) * 2, 729, 81, APACHE, used=0.45,
    ),
    KnownJudge(
        "lfm2.5-vl-1.6b", "lfm2-vl", "LiquidAI/LFM2.5-VL-1.6B-GGUF",
        "LFM2.5-VL-1.6B-Q4_K_M.gguf", "mmproj-LFM2.5-VL-1.6b-Q8_0.gguf",
        730_896_256, 583_109_888, 2 * 6 * 8 * 64 * 2, 784, 196, LFM, state_bytes=10 * 2 * 2_048 * 4,
    ),
)  # fmt: skip


def find_judge(name: str | None) -> KnownJudge:
    """The judge of that name among those that can be fetched.

    Raises:
        RequestError: no name, or one that is not in the list; the nearest are offered.
    """
    names = [judge.name for judge in JUDGES]
    if name is None:
        raise RequestError(f"say which judge: whylook models pull NAME, with NAME one of {', '.join(names)}")
    for judge in JUDGES:
        if judge.name == name.lower():
            return judge
    if name.lower() == DEMO.name:
        raise RequestError(f"the demo's judge need not be fetched: it is in {DEMO_FOLDER}")
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.4) or names
    raise RequestError(f"no judge is called {name}; the nearest are {', '.join(near)}; whylook models judges lists all")


def models_folder() -> Path:
    """Where fetched judges lie, a folder each: WHYLOOK_MODELS, or whylook/models in the user's cache."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    return user_cache_path("whylook", appauthor=False) / "models"


def pair_in(folder: Path) -> tuple[Path, Path] | None:
    """The text file and the projector in a judge's own folder, once both are there."""
    files = sorted(folder.glob("*.gguf"))
    projectors = [path for path in files if "mmproj" in path.name]
    texts = [path for path in files if path not in projectors]
    return (texts[0], projectors[0]) if texts and projectors else None


def judge_rows(folder: Path | None = None) -> list[dict[str, Any]]:
    """Every judge with size, memory, speed, what is tested, and its folder where it is on this machine.

    Args:
        folder: where fetched judges lie; None takes `models_folder()`.
    """
    rows = [_row(DEMO, "these weights", DEMO_FOLDER)]
    for judge in JUDGES:
        place = (folder or models_folder()) / judge.name
        rows.append(_row(judge, "family, random weights", place if pair_in(place) else None))
    return rows


def _row(judge: KnownJudge, tested: str, place: Path | None) -> dict[str, Any]:
    values = (
        judge.name, judge.licence, round(judge.size / 1e9, 2), round(judge.memory / 1e9, 1), judge.per_minute(CPU),
        judge.per_minute(GPU), tested, str(place or "no"),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))
