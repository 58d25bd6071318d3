"""A bit flipped in a judge's files, in forty seeded places and in those known to end llama.cpp's process.

Each pair is loaded, and scores a picture, by one process that must outlive them all; it is our code as users run it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gguf
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "data" / "demo" / "judge"
FILES = {"vlm": DEMO / "judge.gguf", "mmproj": DEMO / "judge-mmproj.gguf"}
PLACES = 40
FATAL = (("mmproj", 460, 1), ("vlm", 1411, 4), ("mmproj", 8, 8), ("mmproj", 3836, 128), ("mmproj", 1961, 1))
"""(file, byte, bit) that crash llama.cpp: three at loading, two at the first picture."""
SECONDS = 240

DRIVER = """
import json, sys
from pathlib import Path
import numpy as np
from core.errors import WhylookError
from core.judge.loading import load_judge
from core.records import JudgeRequest

picture = np.full((112, 112, 3), 90, np.uint8)
for line in sys.stdin:
    vlm, mmproj = map(Path, json.loads(line))
    try:
        with load_judge(vlm=vlm, mmproj=mmproj, workers=1, batch_size=1) as judge:
            said = "loads", judge.judge([JudgeRequest("one", picture, "cow")])[0].state
    except WhylookError as error:
        said = "refused", str(error)
    print(json.dumps(said), flush=True)
"""


def sections(path: Path) -> dict[str, range]:
    """Where a GGUF file's parts lie."""
    reader = gguf.GGUFReader(path)
    keys = max(field.offset + sum(part.nbytes for part in field.parts) for field in reader.fields.values())
    start = int(reader.data_offset)
    return {"header": range(24), "keys": range(24, keys), "tensors": range(keys, start),
            "data": range(start, path.stat().st_size)}  # fmt: skip


def seeded() -> list[tuple[str, int, int, str]]:
    """(file, byte, bit, part) of every seeded place, as many in each part of either file."""
    chance, parts = random.Random(20), {name: sections(path) for name, path in FILES.items()}
    return [
        (name, chance.choice(parts[name][part]), 1 << chance.randrange(8), part)
        for _ in range(PLACES // 8)
        for name in FILES
        for part in ("header", "keys", "tensors", "data")
    ]


@pytest.mark.slow
def test_no_flipped_bit_ends_the_process_and_what_is_refused_is_refused_in_one_line(tmp_path: Path) -> None:
    places = [*seeded(), *((*place, "fatal") for place in FATAL)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    pairs = []
    for number, (name, byte, bit, _) in enumerate(places):
        data = bytearray(FILES[name].read_bytes())
        data[byte] ^= bit
        flipped = tmp_path / f"{number}.gguf"
        flipped.write_bytes(data)
        pairs.append([str(flipped if other == name else path) for other, path in FILES.items()])
    ended = subprocess.run(
        [sys.executable, "-c", DRIVER], input="".join(json.dumps(pair) + "\n" for pair in pairs),
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=SECONDS,
    )  # fmt: skip
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0 and len(answers) == len(places), ended.stderr[-500:]
    counts: Counter[tuple[str, str]] = Counter()
    for (*_, part), pair, (end, words) in zip(places, pairs, answers, strict=True):
        counts[part, end] += 1
        if end == "refused":
            broken = next(path for path in pair if path.startswith(str(tmp_path)))
            assert "\n" not in words and broken in words and "again" in words, words
        if part == "fatal":
            assert end == "refused" and "crashed llama.cpp" in words, words
        assert part != "data" or end == "loads"  # weights carry no checksum: the report card is what finds these
    assert counts["header", "refused"] and counts["keys", "refused"] and counts["tensors", "refused"], counts
    assert "Traceback" not in ended.stderr and not list(tmp_path.glob("core*"))
    print(dict(counts))
