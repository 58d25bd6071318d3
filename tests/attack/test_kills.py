"""A hundred runs killed at random moments, some while they publish and some while the judge works, readers open."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import queries
from core.store import Store
from tests.support.tiny_world import make_folder, make_model
from tests.test_kill import Forker, Reader, acknowledged, stored

EXPLAINING, PUBLISHING, JUDGING = 60, 25, 15
DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
TABLES = ("images", "predictions", "attributions")
CLOSE = 1e-4


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    process = Forker()
    yield process
    process.close()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of 60 pictures in 15 batches, without its store."""
    folder = tmp_path_factory.mktemp("world")
    pictures, model = make_folder(folder / "pictures", per_class=20), make_model(folder)
    return ["run", str(pictures), "--classifier", f"{model}:tiny", "--no-vlm", "--device", "cpu", "--batch-size", "4"]


@pytest.fixture(scope="module")
def judged_words() -> list[str]:
    """The demo's first pictures with its judge."""
    judge = DEMO / "judge"
    words = ["run", str(DEMO / "evaluation"), "--classifier", f"{DEMO / 'classifier.py'}:demo_classifier"]
    words += ["--vlm", str(judge / "judge.gguf"), "--mmproj", str(judge / "judge-mmproj.gguf"), "--device", "cpu"]
    return [*words, "--judge-budget", "48", "--card-sample", "4", "--judge-batch-size", "8"]


def undisturbed(forker: Forker, words: list[str], folder: Path) -> float:
    """One run to its end; the seconds it took."""
    began = time.monotonic()
    forker.start([*words, "--store", str(folder)], folder.with_suffix(".out"))
    assert forker.wait() == 0, folder.with_suffix(".out").read_text()
    return time.monotonic() - began


def same(folder: Path, whole: Path, *, tables: tuple[str, ...]) -> None:
    """Every column of the finished stores is equal (numbers to CLOSE), and no key is there twice."""
    con, other = Store(folder).reader(), Store(whole).reader()
    order = {"failures": "ALL", "judge_card": "image_id, control"}
    for table in tables:
        leave = {
            "samples": "run",
            "failures": "run, attempt",
            "judgements": "fingerprint, seconds",
            "judge_card": "fingerprint, seconds",
        }
        query = (
            f"SELECT * EXCLUDE ({leave.get(table, 'fingerprint')}) FROM {table} ORDER BY {order.get(table, 'image_id')}"
        )
        rows, wanted = con.execute(query).fetchall(), other.execute(query).fetchall()
        names = [column[0] for column in other.execute(query).description or []]
        assert len(rows) == len(wanted), table
        for row, expected in zip(rows, wanted, strict=True):
            for name, value, right in zip(names, row, expected, strict=True):
                assert alike(value, right), (table, name, value, right)
    (run,) = queries.runs(con)
    assert run["state"] == "done"


def alike(value: Any, right: Any) -> bool:
    if isinstance(right, float) and isinstance(value, float):
        return abs(value - right) <= CLOSE
    if isinstance(right, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(value) == len(right) and all(alike(*pair) for pair in zip(value, right, strict=True))
    return bool(value == right)


def doubled(folder: Path, table: str) -> dict[str, int]:
    return {image: times for image, times in stored(folder, table).items() if times > 1}


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
            wait_for_stage(folder, pid, ("judge", "judge card"), 60)
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
