"""Runs that may be killed: a process that starts them, a reader beside them, and what has to hold afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core import queries
from core.store import Store

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("images", "predictions", "attributions")
CLOSE = 1e-4


class Forker:
    """The process of run_forker.py."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(Path(__file__).with_name("run_forker.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        assert self._answer() == "ready"

    def start(self, words: list[str], output: Path) -> int:
        return int(self._ask(json.dumps([words, str(output)])))

    def wait(self) -> int:
        return int(self._ask(""))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def stored(store: Path, table: str) -> Counter[str]:
    """Image ids in the raw shards of a table, as they lie on the disk."""
    found: Counter[str] = Counter()
    for path in (store / "shards" / table).glob("part-*.parquet"):
        found.update(pq.read_table(path, columns=["image_id"])["image_id"].to_pylist())
    return found


def acknowledged(store: Path) -> int:
    """How many pictures the run had said were done when it died."""
    path = store / "run-progress.json"
    if not path.exists():
        return 0
    news = json.loads(path.read_text())
    return int(news["done"]) if news["stage"] == "pictures" else 0


class Reader(threading.Thread):
    """Reads a store without pause, as the app does; keeps what went wrong."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.store, self.ended, self.reads = Store(folder), threading.Event(), 0
        self.errors: list[str] = []
        self.generations: set[int] = set()

    def run(self) -> None:
        most = 0
        while not self.ended.is_set():
            time.sleep(0.01)
            if not self.store.exists():
                continue
            try:
                self.generations.add(self.store.generation())
                con = self.store.reader()
                rows = con.execute(
                    "SELECT count(*), count(DISTINCT image_id), count(prediction) FROM samples"
                ).fetchall()
            except Exception as error:
                self.errors.append(repr(error))
                return
            total, distinct, predicted = (int(value) for value in rows[0])
            if total != distinct or predicted < most:
                self.errors.append(f"{total} rows, {distinct} pictures, {predicted} predicted after {most}")
                return
            most, self.reads = predicted, self.reads + 1


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
    assert run.state == "done"


def alike(value: Any, right: Any) -> bool:
    """Equal, numbers and numbers in lists to CLOSE."""
    if isinstance(right, float) and isinstance(value, float):
        return abs(value - right) <= CLOSE
    if isinstance(right, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(value) == len(right) and all(alike(*pair) for pair in zip(value, right, strict=True))
    return bool(value == right)


def doubled(folder: Path, table: str) -> dict[str, int]:
    """Pictures whose rows are there more than once, with how often."""
    return {image: times for image, times in stored(folder, table).items() if times > 1}
