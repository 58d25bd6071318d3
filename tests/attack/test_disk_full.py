"""A disk that fills at every stage of a run: one clear line, nothing lost, and with space again the run goes on.

Two ways: a limit on the size of any one file, which every machine can set (shards and generations meet it at different
stages), and a small file system of its own, filled by a file beside the store, where mounting is allowed.
"""

from __future__ import annotations

import re
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.store import Store
from tests.support.killed_runs import TABLES, Forker, doubled, same, undisturbed

LIMITS = [1_200, 3_000, 5_000, 8_000, 12_000, 300_000, 2_000_000, 4_000_000]
"""Bytes of the largest file: too few for the run's record, for some shards, for a generation."""
FREE = [8, 60, 150, 250, 400, 900, 1_800, 3_000]
"""KB that the small disk has left when the run begins."""


def refused(code: int, said: str) -> bool:
    """Whether a run ended with one clear line; else it has to have succeeded."""
    assert "Traceback" not in said, said
    if code == 0:
        return False
    assert code == 2, (code, said)
    last = said.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("whylook: ") and ("free some space" in last or "nothing that was stored is lost" in last), (
        said
    )
    return True


def goes_on(forker: Forker, words: list[str], folder: Path, whole: Path, output: Path) -> None:
    """With space again the run ends well, keeps what was written, and equals the undisturbed one."""
    kept = {path: path.read_bytes() for path in folder.glob("shards/*/part-*.parquet")}
    forker.start([*words, "--store", str(folder)], output)
    assert forker.wait() == 0, output.read_text()
    assert all(path.read_bytes() == data for path, data in kept.items())  # no shard was lost or written anew
    assert not any(doubled(folder, table) for table in TABLES)
    assert not list(folder.rglob(".building-*")) and not list(folder.glob("shards/*/.*.tmp"))
    same(folder, whole, tables=(*TABLES, "samples", "failures"))


def test_a_limit_on_files_at_every_stage(tmp_path: Path, forker: Forker, words: list[str]) -> None:
    whole = tmp_path / "whole"
    undisturbed(forker, words, whole)
    stages = set()
    for limit in LIMITS:
        folder = tmp_path / str(limit)
        pid = forker.start([*words, "--store", str(folder)], tmp_path / "out")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))  # long before it has read the folder
        code = forker.wait()
        said = (tmp_path / "out").read_text()
        if refused(code, said):
            stages.add(re.sub(r"[\d-]+.*", "", said.strip().splitlines()[-1].partition(str(folder))[2]))
        goes_on(forker, words, folder, whole, tmp_path / "out")
    assert len(stages) >= 2, stages  # shards and generations


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """A file that takes all but `leave` KB."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
    with filler.open("rb+") as file:
        file.truncate(max(0, filler.stat().st_size - leave * 1024))
    return filler


def test_a_small_disk_with_little_left(disk: Path, tmp_path: Path, forker: Forker, words: list[str]) -> None:
    whole = tmp_path / "whole"
    undisturbed(forker, words, whole)
    ends = []
    for number, free in enumerate(FREE):
        folder = disk / str(number)
        filler = fill(disk, leave=free)
        forker.start([*words, "--store", str(folder)], tmp_path / "out")
        ends.append(refused(forker.wait(), (tmp_path / "out").read_text()))
        filler.unlink()
        goes_on(forker, words, folder, whole, tmp_path / "out")
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert ends.count(True) >= len(FREE) // 2


def test_a_disk_that_fills_while_the_run_works(disk: Path, tmp_path: Path, forker: Forker, words: list[str]) -> None:
    whole = tmp_path / "whole"
    lasts = undisturbed(forker, words, whole)
    refusals = 0
    for number in range(4):
        folder = disk / str(number)
        forker.start([*words, "--store", str(folder)], tmp_path / "out")
        time.sleep((0.1 + 0.2 * number) * lasts)
        filler = fill(disk, leave=0)
        refusals += refused(forker.wait(), (tmp_path / "out").read_text())
        seen = Store(folder).exists()
        assert not seen or Store(folder).reader().execute("SELECT count(*) > 0 FROM images").fetchone() == (True,)
        filler.unlink()
        goes_on(forker, words, folder, whole, tmp_path / "out")
        subprocess.run(["rm", "-r", str(folder)], check=True)
    assert refusals
