"""A hundred runs killed at random moments, some while they publish and some while the judge works, readers open."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from core.store import Store
from tests.support.killed_runs import TABLES, Forker, Reader, acknowledged, doubled, same, stored, undisturbed

EXPLAINING, PUBLISHING, JUDGING = 60, 25, 15
DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"


@pytest.fixture(scope="module")
def judged_words() -> list[str]:
    """The demo's first pictures with its judge."""
    judge = DEMO / "judge"
    words = ["run", str(DEMO / "evaluation"), "--classifier", f"{DEMO / 'classifier.py'}:demo_classifier"]
    words += ["--vlm", str(judge / "judge.gguf"), "--mmproj", str(judge / "judge-mmproj.gguf"), "--device", "cpu"]
    return [*words, "--judge-budget", "48", "--card-sample", "4", "--judge-batch-size", "8"]


def wait_for(folder: Path, pattern: str, seconds: float) -> bool:
    """Until a file of that name is there."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if next(folder.glob(pattern), None):
            return True
        time.sleep(0.0005)
    return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)  # a child that has ended is still unreaped, so this cannot hit another


def test_kills_while_pictures_are_explained(tmp_path: Path, forker: Forker, words: list[str]) -> None:
    chance = random.Random(17)
    lasts = undisturbed(forker, words, tmp_path / "whole")
    kills = rounds = reads = 0
    while kills < EXPLAINING:
        folder, output = tmp_path / f"store-{rounds}", tmp_path / "out"
        reader = Reader(folder)
        reader.start()
        code = -9
        while code == -9:
            before, said = stored(folder, "predictions"), acknowledged(folder)
            pid = forker.start([*words, "--store", str(folder)], output)
            if kills < EXPLAINING:
                time.sleep(chance.uniform(0.05, 0.6) * lasts)
                kill(pid)
            code = forker.wait()
            kills += code == -9
            assert before.keys() <= stored(folder, "predictions").keys()
            assert len(stored(folder, "predictions")) >= max(said, acknowledged(folder))
        assert code == 0, output.read_text()
        reader.ended.set()
        reader.join(timeout=20)
        assert reader.errors == [], reader.errors
        reads, rounds = reads + reader.reads, rounds + 1
        assert not any(doubled(folder, table) for table in TABLES)
        same(folder, tmp_path / "whole", tables=(*TABLES, "samples", "failures"))
        assert "Traceback" not in output.read_text()
    assert reads > 20


def test_kills_while_a_generation_is_published(tmp_path: Path, forker: Forker, words: list[str]) -> None:
    chance = random.Random(23)
    undisturbed(forker, words, tmp_path / "whole")
    kills = hits = rounds = 0
    while kills < PUBLISHING:
        folder, output = tmp_path / f"store-{rounds}", tmp_path / "out"
        reader = Reader(folder)
        reader.start()
        code = -9
        while code == -9:
            pid = forker.start([*words, "--store", str(folder)], output)
            if kills < PUBLISHING:
                for left in folder.glob(".building-*"):  # of a writer that was killed
                    left.unlink(missing_ok=True)
                hits += wait_for(folder, ".building-*.duckdb", 20)
                time.sleep(chance.uniform(0, 0.12))
                kill(pid)
            code = forker.wait()
            kills += code == -9
        assert code == 0, output.read_text()
        reader.ended.set()
        reader.join(timeout=20)
        assert reader.errors == [], reader.errors
        rounds += 1
        assert not list(folder.glob(".building-*")) and not any(doubled(folder, table) for table in TABLES)
        same(folder, tmp_path / "whole", tables=(*TABLES, "samples", "failures"))
    assert hits > PUBLISHING // 2


def test_kills_while_the_judge_works(tmp_path: Path, forker: Forker, judged_words: list[str]) -> None:
    chance = random.Random(29)
    folder, output = tmp_path / "store", tmp_path / "out"
    undisturbed(forker, judged_words, tmp_path / "whole")
    kills, code, reader = 0, -9, Reader(folder)
    reader.start()
    while code == -9:
        before = len(stored(folder, "judgements"))
        pid = forker.start([*judged_words, "--store", str(folder)], output)
        if kills < JUDGING:
            wait_for_stage(folder, pid, ("judge", "report card"), 60)
            time.sleep(chance.uniform(0, 0.4))
            kill(pid)
        code = forker.wait()
        kills += code == -9
        assert len(stored(folder, "judgements")) >= before
    assert code == 0, output.read_text()
    reader.ended.set()
    reader.join(timeout=20)
    assert reader.errors == [], reader.errors
    assert kills == JUDGING and not doubled(folder, "judgements")
    same(folder, tmp_path / "whole", tables=(*TABLES, "samples", "judgements", "embeddings", "judge_card"))


def wait_for_stage(folder: Path, pid: int, stages: tuple[str, ...], seconds: float) -> None:
    """Until the process `pid` says that it is at one of these stages."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        news = Store(folder).progress() or {}
        if news.get("pid") == pid and news.get("stage") in stages:
            return
        time.sleep(0.005)
