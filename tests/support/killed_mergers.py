"""Writers that add, merge and publish without end, to be killed: what they acknowledged has to be there, once."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from unittest.mock import patch

from core.errors import StoreError
from core.store import Store, merging, open_for_writing
from core.store.shards import is_large, shard_paths

ROOT = Path(__file__).resolve().parents[2]
LARGE_ROWS, MANY, ROWS = 40, 4, 3


def write_without_end(folder: Path, first: int) -> None:
    """Adds pictures from number `first` on, three a shard; says which are on disk; merges and publishes beside."""
    merging.LARGE_ROWS, merging.MANY = LARGE_ROWS, MANY
    with open_for_writing(folder) as writer:
        writer.begin_run({}, {"images": "i", "judge": "j"})
        for turn in itertools.count():
            names = [f"{first + turn * ROWS + each:08d}" for each in range(ROWS)]
            writer.write("images", [{"image_id": name, "path": name} for name in names], fingerprint="i")
            said = [{"image_id": name, "state": "ok", "description": f"a {name}"} for name in names]
            writer.write("judgements", said, fingerprint="j")
            os.write(1, (" ".join(names) + "\n").encode())
            if turn % 3 == 2:
                writer.publish()


def kill(folder: Path, times: int, *, seed: int) -> None:
    """Kills that many writers one after the other, each at a random moment, while a reader looks; compares.

    Raises:
        AssertionError: something acknowledged is missing or there twice, or a reader saw what is not so.
    """
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    failed: list[str] = []
    ended = threading.Event()

    def read() -> None:
        least = 0
        while not ended.is_set():
            with contextlib.suppress(StoreError):  # nothing is published yet
                con = Store(folder).reader()
                rows = con.execute("SELECT count(*), count(DISTINCT image_id) FROM images").fetchall()[0]
                shown = con.execute("SELECT count(*) FROM samples").fetchall()[0][0]
                if rows[0] != rows[1] or shown != rows[0] or shown < least:
                    failed.append(f"{rows}, {shown} in samples, {least} before")
                least = shown
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(times):
            words = [sys.executable, "-m", "tests.support.killed_mergers", str(folder), str(turn * 1_000_000)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
                assert process.stdout
                first = process.stdout.readline()
                time.sleep(0.3 + chance.random() * 0.7)
                process.send_signal(signal.SIGKILL)
                lines = [first, *process.stdout.read().splitlines(keepends=True)]
            acknowledged |= {name for line in lines if line.endswith(b"\n") for name in line.decode().split()}
    finally:
        ended.set()
        reader.join()
    assert not failed, failed[:3]
    with patch.multiple(merging, LARGE_ROWS=LARGE_ROWS, MANY=MANY), open_for_writing(folder) as writer:
        writer.check()
        assert writer.damaged() == []
        assert acknowledged <= writer.done("images", "i") and acknowledged <= writer.done("judge", "j")
        writer.publish()
        writer.wait_for_merging()
        rows = writer.publish().rows
    assert any(is_large(path) for path in shard_paths(folder / "shards" / "images")), "they are merged"
    con = Store(folder).reader()
    for table in ("images", "judgements"):
        counted = Counter(row[0] for row in con.execute(f"SELECT image_id FROM {table}").fetchall())
        assert set(counted.values()) == {1} and counted.keys() >= acknowledged and len(counted) == rows[table], table


if __name__ == "__main__":
    write_without_end(Path(sys.argv[1]), int(sys.argv[2]))
