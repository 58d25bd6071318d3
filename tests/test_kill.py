"""Runs that are killed at random moments, with a reader open all the while."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import queries
from core.store import Store
from tests.support.killed_runs import Forker, Reader, acknowledged, stored
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
KILLS = 20
PER_CLASS = 40
ROOT = Path(__file__).resolve().parents[1]


def words_for(tmp_path: Path, store: Path) -> list[str]:
    if not (tmp_path / "pictures").exists():
        make_folder(tmp_path / "pictures", per_class=PER_CLASS)
        make_model(tmp_path)
    words = ["run", str(tmp_path / "pictures"), "--classifier", f"{tmp_path / 'tiny_model.py'}:tiny", "--no-vlm"]
    return [*words, "--device", "cpu", "--batch-size", "4", "--store", str(store)]


def test_twenty_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path, forker: Forker) -> None:
    chance = random.Random(11)
    whole_store = tmp_path / "whole"
    began = time.monotonic()
    forker.start(words_for(tmp_path, whole_store), tmp_path / "out")
    assert forker.wait() == 0, (tmp_path / "out").read_text()
    lasts = time.monotonic() - began
    kills = reads = generations = rounds = 0
    while kills < KILLS:
        folder = tmp_path / f"store-{rounds}"
        words = words_for(tmp_path, folder)
        reader = Reader(folder)
        reader.start()
        code = -9
        while code == -9:
            before, said = stored(folder, "predictions"), acknowledged(folder)
            pid = forker.start(words, tmp_path / "out")
            if kills < KILLS:
                time.sleep(chance.uniform(0.05, 0.5) * lasts)
                os.kill(
                    pid, signal.SIGKILL
                )  # a child that has ended is still unreaped here, so this cannot hit another
            code = forker.wait()
            kills += code == -9
            after = stored(folder, "predictions")
            assert before.keys() <= after.keys()
            assert len(after) >= max(said, acknowledged(folder))
            assert len(stored(folder, "images")) >= acknowledged(folder)
        assert code == 0, (tmp_path / "out").read_text()
        reader.ended.set()
        reader.join(timeout=20)
        assert reader.errors == []
        reads, generations, rounds = reads + reader.reads, generations + len(reader.generations), rounds + 1
        _assert_equal(folder, whole_store)
    assert kills >= KILLS and reads > 20 and generations > rounds


def _assert_equal(folder: Path, whole: Path) -> None:
    """A killed and resumed store holds, row for row, what an undisturbed one holds, and holds it once."""
    for table in ("images", "predictions", "attributions"):
        assert set(stored(folder, table).values()) == {1}, table
    columns = "path, label, prediction, confidence, attention_area, causal_drop"
    con, other = Store(folder).reader(), Store(whole).reader()
    rows, expected = (c.execute(f"SELECT {columns} FROM samples ORDER BY path").fetchall() for c in (con, other))
    assert len(rows) == 3 * PER_CLASS
    for row, wanted in zip(rows, expected, strict=True):
        assert row[:3] == wanted[:3]
        assert row[3] == pytest.approx(wanted[3], abs=1e-5)
        assert (row[4] is None) == (wanted[4] is None)
    runs = queries.runs(con)
    assert [run.state for run in runs] == ["done"]


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, forker: Forker) -> None:
    store = tmp_path / "a store"
    words = words_for(tmp_path, store)
    output = tmp_path / "out"
    pid = forker.start(words, output)
    while acknowledged(store) == 0:
        time.sleep(0.01)
    os.kill(pid, signal.SIGINT)
    assert forker.wait() == 130
    said = output.read_text()
    assert "Traceback" not in said
    assert f"To go on: whylook run {tmp_path / 'pictures'}" in said and f"--store '{store}'" in said
    record = Store(store).run_records()[0]
    assert record["state"] == "interrupted"
    assert queries.run_counts(Store(store).reader(), record["run"]).predicted == len(stored(store, "predictions"))
    forker.start(words, output)
    assert forker.wait() == 0
    assert len(stored(store, "predictions")) == 3 * PER_CLASS


def test_a_full_disk_is_one_line_and_what_was_written_stays(tmp_path: Path, forker: Forker) -> None:
    store = tmp_path / "store"
    words = words_for(tmp_path, store)
    output = tmp_path / "out"
    forker.start(words, output)
    assert forker.wait() == 0
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        "from core.commands.main import main; sys.exit(main(sys.argv[1:]))"
    )
    smaller = [*words[:-1], str(tmp_path / "small")]
    ended = subprocess.run([sys.executable, "-c", script, *smaller], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip().splitlines()[-1].startswith("whylook: ")
