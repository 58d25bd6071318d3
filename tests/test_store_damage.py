"""What the store does with a full disk, a kill, a newer version and damaged files: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from core import queries
from core.errors import StoreError
from core.store import STORE_VERSION, Store, open_for_writing
from tests.support.store_factory import image, make_store, prediction

ROOT = Path(__file__).resolve().parent.parent


def test_what_a_killed_writer_left_half_done_is_swept_away(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    (tmp_path / ".building-1.duckdb").write_bytes(b"half")
    (tmp_path / ".building-1.duckdb.tmp").mkdir()
    (tmp_path / "shards" / "images" / ".part-000009.parquet.1.tmp").write_bytes(b"half")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = [".in-flight.json.9.tmp", f".saved.json.bak.{dead.pid}.tmp", f"damaged/shards/.x.note.{dead.pid}.tmp"]
    working = tmp_path / f".saved.json.{os.getpid()}.tmp"  # of the app, which needs no lock
    for path in [*(tmp_path / name for name in left), working]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with open_for_writing(store.folder) as writer:
        writer.publish()
        assert writer.damaged() == []
    assert not list(tmp_path.glob(".building-*")) and not list(tmp_path.glob("shards/*/.*"))
    assert list(tmp_path.rglob("*.tmp")) == [working]


def test_a_store_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    with open_for_writing(tmp_path / "store"):
        pass
    (tmp_path / "store" / "store.json").write_text(json.dumps({"version": STORE_VERSION + 1}))
    before = sorted(path.name for path in (tmp_path / "store").iterdir())
    with pytest.raises(StoreError, match="newer whylook"):
        Store(tmp_path / "store")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == before


@pytest.mark.parametrize("damage", ["truncated", "zero", "rubbish"])
def test_a_damaged_shard_is_reported_and_its_pictures_are_done_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    with open_for_writing(store.folder) as writer:
        run = writer.begin_run({}, {"images": "i", "classifier": "c"}, class_names=["cow", "camel"])
        writer.write("images", [image(name) for name in "xyz"], fingerprint="i")
        bad = writer.write("predictions", [prediction("x")], fingerprint="c")
        writer.write("predictions", [prediction("y")], fingerprint="c")
        assert bad is not None
        data = bad.read_bytes()
        bad.write_bytes({"truncated": data[: len(data) // 2], "zero": b"", "rubbish": os.urandom(2000)}[damage])
        publication = writer.publish()
        assert publication.rows["predictions"] == 1
        found = writer.damaged()[0]
        assert (found.file, found.rows) == (f"predictions/{bad.name}", 1)
        assert not bad.exists() and (tmp_path / "damaged" / "shards" / "predictions" / bad.name).is_file()
        assert store.set_aside() == [found]
        assert queries.failures(store.reader(), run) == []
        assert writer.done("classifier", "c") == {"y"}
        writer.write("predictions", [prediction("x")], fingerprint="c")
        assert writer.publish().rows["predictions"] == 2


def test_a_damaged_generation_is_made_again_from_the_shards(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=12)
    store.current_path().write_bytes(b"not a database" * 1000)
    fresh = Store(tmp_path)
    with pytest.raises(StoreError, match="cannot open"):
        fresh.reader()
    with open_for_writing(fresh.folder) as writer:
        assert writer.publish().rows["images"] == 12
    assert fresh.reader().execute("SELECT count(*) FROM samples").fetchone() == (12,)


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    script = (
        "import sys, itertools; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\nfrom core.store import open_for_writing\n"
        "with open_for_writing(Path(sys.argv[2])) as store:\n"
        "    store.begin_run({}, {'images': 'i'})\n"
        "    for n in itertools.count(int(sys.argv[3])):\n"
        "        store.write('images', [{'image_id': str(n), 'path': str(n)}], fingerprint='i')\n"
        "        print(n, flush=True)\n"
        "        if n % 7 == 0: store.publish()\n"
    )
    acknowledged: set[str] = set()
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(ROOT), str(tmp_path), str(attempt * 1000)], stdout=subprocess.PIPE
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.15 + 0.1 * attempt)
        process.send_signal(signal.SIGKILL)
        acknowledged |= {str(attempt * 1000)} | set(process.stdout.read().decode().splitlines(keepends=False)[:-1])
        process.wait()
    with open_for_writing(tmp_path) as store:
        assert acknowledged <= store.done("images", "i")
        rows = store.publish().rows["images"]
        assert rows == len(store.done("images", "i"))
    assert not list(tmp_path.glob(".building-*")) and not list(tmp_path.glob("shards/*/.*.tmp"))


FULL_DISK = """
import os, resource, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from core.errors import StoreError
from core.store import open_for_writing
with open_for_writing(Path(sys.argv[2])) as writer:
    writer.begin_run({}, {"images": "i"})
    writer.write("images", [{"image_id": "a", "path": "a"}], fingerprint="i")
    writer.publish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    large = [{"image_id": "b", "path": "b", "thumbnail": os.urandom(200_000)}]
    for act in (lambda: writer.write("images", large, fingerprint="i"), writer.publish):
        try:
            act()
        except StoreError as error:
            print("StoreError", str(error).splitlines()[0])
"""


def test_when_no_more_can_be_written_it_is_a_store_error_and_the_old_generation_stays(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.startswith("StoreError cannot") for line in lines), done.stdout + done.stderr
    assert not list(tmp_path.glob("shards/*/.*.tmp")) and not list(tmp_path.glob(".building-*"))
    with open_for_writing(tmp_path) as store:
        assert store.done("images", "i") == {"a"}
        store.publish()
        assert store.damaged() == []


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_a_store_error_and_after_freeing_space_it_goes_on(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with open_for_writing(small_disk / "store") as store:
        store.begin_run({}, {"images": "i"})
        store.write("images", [image("a")], fingerprint="i")
        with filler.open("wb", buffering=0) as handle, pytest.raises(OSError):
            while True:
                assert handle.write(bytes(512))
        for act in (store.publish, lambda: store.write("images", [image("b")], fingerprint="i")):
            with pytest.raises(StoreError, match="cannot (publish|write)"):
                act()
        filler.unlink()
        store.write("images", [image("b")], fingerprint="i")
        assert store.publish().rows["images"] == 2


def test_what_else_lies_broken_in_the_folder_is_a_store_error(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    (tmp_path / "saved.json").write_text("[1")
    with pytest.raises(StoreError, match="cannot read what was saved"):
        store.slices()
    (tmp_path / "run-progress.json").write_text("{")
    assert store.progress() is None
    (tmp_path / "CURRENT").write_text("../../etc/passwd")
    assert Store(tmp_path).generation() == 1


def test_a_generation_of_an_older_version_says_how_to_renew_it_and_the_next_publication_does(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=12)
    with duckdb.connect(str(store.current_path())) as con:
        con.execute("UPDATE store_info SET version = ?", [STORE_VERSION - 1])
    old = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="older whylook .* makes it anew"):
        old.reader()
    shard = sorted((tmp_path / "store" / "shards" / "judgements").glob("*.parquet"))[0]
    older = pq.read_table(shard).drop_columns(["rubric_shift"])
    pq.write_table(older.append_column("weight", [[1.0] * len(older)]), shard.with_name("part-000001.parquet"))
    shard.unlink()  # now it is as version 2 wrote it
    with open_for_writing(old.folder) as writer:
        writer.publish()
    assert old.reader().execute("SELECT count(j.state) FROM judgements j").fetchone() == (12,)
    assert old.reader().execute("SELECT count(*) FROM samples WHERE run = ?", [run]).fetchone() == (12,)
