"""The store: durable shards, publishing, runs, locks, versions, what people keep."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from store_factory import PRINTS, make_store, synthetic_rows

from core import queries
from core.errors import StoreError
from core.records import Failure, Judgement, Prediction
from core.store import STORE_VERSION, Store

ROOT = Path(__file__).resolve().parent.parent
TABLES = {"runs", "images", "metadata", "predictions", "attributions", "judgements", "embeddings", "failures"}
TABLES |= {"faithfulness", "slices", "findings", "deck"}
COLUMNS = """run image_id path label prediction correct confidence margin label_probability cell score score_entropy
judge_state description justification weight attention_area attention_entropy attention_border attention_x attention_y
attention_islands attention_agreement causal_drop causal_drop_random habitat night size"""


def prediction(image_id: str, name: str = "cow") -> Prediction:
    return Prediction(image_id, name, 0.9, 0.8, 0.9, np.array([0.9, 0.1], dtype=np.float32))


def image(image_id: str, **metadata: object) -> dict[str, object]:
    return {"image_id": image_id, "path": f"cow/{image_id}.png", "label": "cow", "metadata": metadata}


def test_samples_has_the_columns_of_the_design_and_every_metadata_column(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    names = [name for name, _ in queries.columns(store.reader())]
    assert names == COLUMNS.split()
    assert queries.metadata_columns(store.reader()) == [
        ("habitat", "VARCHAR"),
        ("night", "BOOLEAN"),
        ("size", "DOUBLE"),
    ]
    found = store.reader().execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert {row[0] for row in found} >= TABLES


def test_reading_an_empty_place_says_what_to_do_and_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert (store.exists(), store.generation(), store.progress(), store.writer_alive()) == (False, 0, None, False)
    with pytest.raises(StoreError, match="whylook demo"):
        store.reader()
    assert not (tmp_path / "none").exists()


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="needs a folder"):
        Store(tmp_path / "file")


def test_a_killed_and_resumed_run_is_one_run_and_nothing_doubles(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for attempt in (1, 2):
        with store.open_for_writing():
            run = store.begin_run({"a": 1}, {"images": "i", "classifier": "c"}, class_names=["cow", "camel"])
            store.write("images", [image("x"), image("y")], fingerprint="i")
            store.write("predictions", [prediction("x", "camel" if attempt == 1 else "cow")], fingerprint="c")
            assert store.done("classifier", "c") == {"x"}
            assert store.done("classifier", "other") == set()
            rows = store.publish().rows
    assert rows["images"] == 2 and rows["predictions"] == 1
    assert store.reader().execute("SELECT prediction FROM predictions").fetchall() == [("cow",)]  # the newest stays
    assert [record["attempt"] for record in store.run_records()] == [2]
    assert [entry["run"] for entry in queries.runs(store.reader())] == [run]


def test_other_settings_or_fingerprints_make_another_run_and_never_mix(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.open_for_writing():
        runs = [
            store.begin_run(settings, {"images": "i", "classifier": fingerprint}, class_names=["cow", "camel"])
            for settings, fingerprint in (({"a": 1}, "c"), ({"a": 2}, "c"), ({"a": 1}, "d"))
        ]
        store.write("images", [image("x")], fingerprint="i")
        store.write("predictions", [prediction("x", "cow")], fingerprint="c")
        store.write("predictions", [prediction("x", "camel")], fingerprint="d")
        store.publish()
    assert len(set(runs)) == 3
    found = dict(store.reader().execute("SELECT run, prediction FROM samples").fetchall())
    assert found == {runs[0]: "cow", runs[1]: "cow", runs[2]: "camel"}


def test_one_picture_twice_in_one_shard_is_one_row(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        store.begin_run({}, {"images": "i"})
        store.write("images", [image("x"), image("x")], fingerprint="i")
        assert store.publish().rows["images"] == 1


def test_scratch_and_incremental_publishing_give_the_same_rows(tmp_path: Path) -> None:
    tables = synthetic_rows(40, ["cow", "camel"], seed=3)
    counts, contents = [], []
    for name, each in (("often", True), ("once", False)):
        store = Store(tmp_path / name)
        with store.open_for_writing():
            store.begin_run({}, PRINTS, class_names=["cow", "camel"])
            for start in range(0, 40, 10):
                for table, stage in (("images", "images"), ("predictions", "classifier"), ("judgements", "judge")):
                    store.write(table, tables[table][start : start + 10], fingerprint=PRINTS[stage])
                if each:
                    store.publish()
            counts.append(store.publish().rows)
        contents.append(store.reader().execute("SELECT * FROM samples ORDER BY image_id").fetchall())
    assert counts[0] == counts[1]
    assert contents[0] == contents[1]


def test_a_second_writer_is_refused_and_the_app_sees_the_first(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing():
        assert Store(tmp_path).writer_alive()
        started = time.monotonic()
        with pytest.raises(StoreError, match=f"another run .process {os.getpid()}. writes"):
            Store(tmp_path).open_for_writing().__enter__()
        assert time.monotonic() - started < 2
    assert not Store(tmp_path).writer_alive()
    with Store(tmp_path).open_for_writing():
        pass


def test_what_a_killed_writer_left_half_done_is_swept_away(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    (tmp_path / ".building-1.duckdb").write_bytes(b"half")
    (tmp_path / ".building-1.duckdb.tmp").mkdir()
    (tmp_path / "shards" / "images" / ".part-000009.parquet.1.tmp").write_bytes(b"half")
    with store.open_for_writing():
        assert store.publish().damaged == ()
    assert not list(tmp_path.glob(".building-*")) and not list(tmp_path.glob("shards/*/.*"))


def test_writing_needs_the_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="open_for_writing"):
        store.begin_run({}, {})
    with pytest.raises(StoreError, match="open_for_writing"):
        store.publish()


def test_a_store_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    with Store(tmp_path / "store").open_for_writing():
        pass
    (tmp_path / "store" / "store.json").write_text(json.dumps({"version": STORE_VERSION + 1}))
    before = sorted(path.name for path in (tmp_path / "store").iterdir())
    with pytest.raises(StoreError, match="newer whylook"):
        Store(tmp_path / "store")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == before


@pytest.mark.parametrize("damage", ["truncated", "zero", "rubbish"])
def test_a_damaged_shard_is_reported_and_its_pictures_are_done_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    with store.open_for_writing():
        run = store.begin_run({}, {"images": "i", "classifier": "c"}, class_names=["cow", "camel"])
        store.write("images", [image(name) for name in "xyz"], fingerprint="i")
        bad = store.write("predictions", [prediction("x")], fingerprint="c")
        store.write("predictions", [prediction("y")], fingerprint="c")
        assert bad is not None
        data = bad.read_bytes()
        bad.write_bytes({"truncated": data[: len(data) // 2], "zero": b"", "rubbish": os.urandom(2000)}[damage])
        assert store.done("classifier", "c") == {"y"}
        publication = store.publish()
        assert publication.rows["predictions"] == 1
        assert [text.partition(":")[0] for text in publication.damaged] == [f"predictions/{bad.name}"]
        assert [row["stage"] for row in queries.failures(store.reader(), run)] == ["store"]
        store.write("predictions", [prediction("x")], fingerprint="c")
        assert store.publish().rows["predictions"] == 2
        bad.write_bytes(data)  # restored from a backup
        assert store.publish().damaged == ()


def test_a_damaged_generation_is_made_again_from_the_shards(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=12)
    store.current_path().write_bytes(b"not a database" * 1000)
    fresh = Store(tmp_path)
    with pytest.raises(StoreError, match="cannot open"):
        fresh.reader()
    with fresh.open_for_writing():
        assert fresh.publish().rows["images"] == 12
    assert fresh.reader().execute("SELECT count(*) FROM samples").fetchone() == (12,)


def test_old_generations_go_and_a_reader_keeps_the_one_it_opened(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=12)
    held = store.reader()
    with store.open_for_writing():
        for _ in range(4):
            store.publish()
    assert [path.name for path in sorted(tmp_path.glob("store-*.duckdb"))] == [
        "store-000004.duckdb",
        "store-000005.duckdb",
    ]
    assert held.execute("SELECT count(*) FROM samples").fetchone() == (12,)
    assert store.generation() == 5
    assert store.reader().execute("SELECT generation FROM store_info").fetchone() == (5,)


def test_readers_never_fail_while_generations_are_replaced(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=12)
    errors: list[str] = []
    reads = 0
    finished = threading.Event()

    def read() -> None:
        nonlocal reads
        while not finished.is_set():
            try:
                assert Store(tmp_path).reader().execute("SELECT count(*) FROM samples").fetchone() == (12,)
                reads += 1
            except (StoreError, duckdb.Error, AssertionError) as error:
                errors.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    with store.open_for_writing():
        for _ in range(6):
            store.publish()
    finished.set()
    reader.join()
    assert not errors and reads > 2


def test_a_writer_killed_at_any_moment_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    script = (
        "import sys, itertools; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\nfrom core.store import Store\n"
        "with Store(Path(sys.argv[2])).open_for_writing() as store:\n"
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
    with Store(tmp_path).open_for_writing() as store:
        assert acknowledged <= store.done("images", "i")
        rows = store.publish().rows["images"]
        assert rows == len(store.done("images", "i"))
    assert not list(tmp_path.glob(".building-*")) and not list(tmp_path.glob("shards/*/.*.tmp"))


FULL_DISK = """
import os, resource, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from core.errors import StoreError
from core.store import Store
store = Store(Path(sys.argv[2]))
with store.open_for_writing():
    store.begin_run({}, {"images": "i"})
    store.write("images", [{"image_id": "a", "path": "a"}], fingerprint="i")
    store.publish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    large = [{"image_id": "b", "path": "b", "thumbnail": os.urandom(200_000)}]
    for act in (lambda: store.write("images", large, fingerprint="i"), store.publish):
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
    with Store(tmp_path).open_for_writing() as store:
        assert store.done("images", "i") == {"a"}
        assert store.publish().damaged == ()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_a_store_error_and_after_freeing_space_it_goes_on(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with Store(small_disk / "store").open_for_writing() as store:
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


def test_a_value_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        run = store.begin_run({}, {})
        wrong = [
            ("pictures", [{}], {"fingerprint": "f"}),
            ("images", [{"image_id": "x", "path": "x", "colour": "red"}], {"fingerprint": "f"}),
            ("images", [{"image_id": "x", "path": "x", "width": "wide"}], {"fingerprint": "f"}),
            ("embeddings", [{"image_id": "x", "vector": [1.0, 2.0]}], {"fingerprint": "f"}),
            ("judgements", [Judgement("x", "ok", None, distribution=(1.0,))], {"fingerprint": "f"}),
            ("images", [image("x")], {}),
            ("failures", [Failure("images", None, "x", "y")], {"run": "r-none"}),
        ]
        for table, rows, arguments in wrong:
            with pytest.raises(StoreError):
                store.write(table, rows, **arguments)  # type: ignore[arg-type]
        assert store.write("failures", [], run=run) is None
        assert not list(tmp_path.glob("shards/*/*"))


def test_nan_is_no_value(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        rows = [{"image_id": "x", "state": "ok", "score": math.nan, "score_entropy": math.inf, "weight": 1.0}]
        path = store.write("judgements", rows, fingerprint="j")
        assert pq.read_table(path).to_pylist()[0]["score"] is None
        assert pq.read_table(path).to_pylist()[0]["score_entropy"] is None


HOSTILE = [
    "it's; DROP TABLE runs;--",
    "<script>alert(1)</script>",
    'a"b',
    "🐄 cow",
    "$1 ?",
    "bad\udcff\udcfebytes",
    "a\\b\n",
]


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.open_for_writing():
        run = store.begin_run({"x": HOSTILE[0]}, {"images": "i", "classifier": "c"}, class_names=HOSTILE)
        rows = [
            {"image_id": f"{n}", "path": name, "label": name, "metadata": {name: name}}
            for n, name in enumerate(HOSTILE)
        ]
        store.write("images", rows, fingerprint="i")
        store.write("predictions", [prediction(str(n), name) for n, name in enumerate(HOSTILE)], fingerprint="c")
        store.write("failures", [Failure("images", None, HOSTILE[0], HOSTILE[1])], run=run)
        store.publish()
    store.save_slice(HOSTILE[0], HOSTILE[1])
    con = store.reader()
    assert queries.run_counts(con, run).correct == len(HOSTILE)
    cleaned = [name.encode("utf-8", "replace").decode() for name in HOSTILE]
    assert {name for name, _ in queries.metadata_columns(con)} == set(cleaned)
    for n, name in enumerate(cleaned):
        picture = queries.sample(con, run, str(n))
        assert (picture["label"], picture[name]) == (name, name)
    assert [entry["label"] for entry in queries.pictures(con, run, label=HOSTILE[0])] == [HOSTILE[0]]
    assert [row["n"] for row in queries.per_class(con, run)] == [1] * len(HOSTILE)
    assert store.slices()[0]["name"] == HOSTILE[0]


def test_metadata_columns_are_typed_and_never_hide_a_column_of_samples(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        run = store.begin_run({}, {"images": "i"})
        first = {
            "Label": "x",
            "whole": 1,
            "real": 1,
            "flag": True,
            "mixed": 1,
            "Habitat": "a",
            "habitat": "b",
            "n": 5,
            "": 1,
        }
        second = {
            "Label": None,
            "whole": None,
            "real": 0.5,
            "flag": False,
            "mixed": "b",
            "huge": 10**30,
            "bin": math.nan,
        }
        store.write("images", [image("x", **first), image("y", **second)], fingerprint="i")
        store.publish()
        types = dict(queries.metadata_columns(store.reader()))
        assert types == {
            "meta_Label": "VARCHAR", "whole": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "mixed": "VARCHAR",
            "Habitat": "VARCHAR", "meta_habitat": "VARCHAR", "n": "BIGINT", "meta_": "BIGINT", "huge": "VARCHAR",
            "bin": "VARCHAR",
        }  # fmt: skip
        assert store.reader().execute("SELECT label, meta_Label, flag FROM samples ORDER BY path").fetchall() == [
            ("cow", "x", True),
            ("cow", None, False),
        ]
        assert queries.sample(store.reader(), run, "x")["metadata"]["habitat"] == "b"


def test_label_probability_follows_the_labels_of_the_run(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        for images, label in (("i", "cow"), ("k", "camel")):
            store.begin_run({"images": images}, {"images": images, "classifier": "c"}, class_names=["cow", "camel"])
            store.write("images", [{"image_id": "x", "path": "x", "label": label}], fingerprint=images)
        store.write("predictions", [prediction("x")], fingerprint="c")
        store.publish()
        found = (
            store.reader().execute("SELECT label, correct, label_probability FROM samples ORDER BY label").fetchall()
        )
    assert [(row[0], row[1], round(row[2], 3)) for row in found] == [("camel", False, 0.1), ("cow", True, 0.9)]


def test_cells_exist_only_where_the_judge_gave_a_score(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=48)
    con = store.reader()
    assert con.execute("SELECT count(*) FROM samples WHERE (cell IS NULL) <> (judge_state <> 'ok')").fetchone() == (0,)
    wrong = "(score >= 2.5) <> (cell LIKE '%high') OR correct <> (cell LIKE 'correct%')"
    assert con.execute(f"SELECT count(*) FROM samples WHERE {wrong}").fetchone() == (0,)
    bare, other = make_store(tmp_path / "bare", rows=12, judged=False)
    assert bare.reader().execute("SELECT DISTINCT cell, judge_state, score FROM samples").fetchall() == [
        (None, None, None)
    ]


def test_failures_of_an_earlier_attempt_are_no_news(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for attempt in range(2):
        with store.open_for_writing():
            run = store.begin_run({}, {"images": "i"})
            if attempt == 0:
                store.write("failures", [Failure("images", None, "a.png", "empty")], run=run)
            store.write("failures", [Failure("images", None, "b.png", "empty")], run=run)
            store.publish()
    assert [row["path"] for row in queries.failures(store.reader(), run)] == ["b.png"]


def test_failed_rows_can_be_asked_for_again(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        store.write("judgements", [Judgement("x", "failed", "late"), Judgement("y", "ok", None)], fingerprint="j")
        assert store.done("judge", "j") == {"x", "y"}
        assert store.done("judge", "j", include_failed=False) == {"y"}
        store.write("judgements", [Judgement("x", "ok", None)], fingerprint="j")
        assert store.done("judge", "j", include_failed=False) == {"x", "y"}


def test_progress_says_how_far_and_whether_the_writer_lives(tmp_path: Path) -> None:
    watcher = Store(tmp_path)
    with Store(tmp_path).open_for_writing() as store:
        store.report_progress(run="r-1", stage="judge", done=3, total=10, rate=1.5, seconds_left=4.7)
        seen = watcher.progress()
        assert seen and (seen["stage"], seen["done"], seen["pid"], seen["alive"]) == ("judge", 3, os.getpid(), True)
    seen = watcher.progress()
    assert seen and seen["alive"] is False


def test_finishing_a_run_is_seen_at_once_and_published_next(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=6)
    assert store.run_records()[0]["state"] == "done"
    entry = queries.runs(store.reader())[0]
    assert (entry["state"], entry["counts"]) == ("done", {"pictures": 6, "failures": 1})
    assert entry["fingerprints"]["judge"] == "judge-1" and entry["class_names"] == ["cow", "camel", "horse"]
    with store.open_for_writing(), pytest.raises(StoreError, match="no run"):
        store.finish_run("r-none", "done", {})


def test_saving_a_slice_can_be_undone_step_by_step(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_slice("cows", "SELECT 1")
    store.save_slice("cows", "SELECT 2", note="better")
    store.save_slice("camels", "SELECT 3")
    store.delete_slice("cows")
    assert [entry["name"] for entry in store.slices()] == ["camels"]
    assert store.undo() == "deleting slice “cows”"
    assert {entry["name"]: entry["sql"] for entry in store.slices()} == {"cows": "SELECT 2", "camels": "SELECT 3"}
    assert store.undo() == "saving slice “camels”"
    store.undo()
    assert [entry["sql"] for entry in store.slices()] == ["SELECT 1"]
    store.undo()
    assert store.slices() == [] and store.undo() is None
    with pytest.raises(StoreError, match="no slice"):
        store.delete_slice("cows")
    with pytest.raises(StoreError, match="name"):
        store.save_slice("  ", "SELECT 1")


def test_slices_can_be_saved_while_a_run_writes_and_reach_the_tables(tmp_path: Path) -> None:
    app = Store(tmp_path)
    with Store(tmp_path).open_for_writing() as store:
        run = store.begin_run({}, {"images": "i"})
        app.save_slice("wrong", "SELECT * FROM samples WHERE NOT correct")
        app.save_card("first", title="Cows", body="off the meadow")
        app.save_findings(
            run, [{"rank": 1, "kind": "failures", "sentence": "s", "sql": "SELECT 1", "value": 0.5, "n": 2}]
        )
        store.publish()
    con = app.reader()
    assert con.execute("SELECT name, sql FROM slices").fetchall() == [
        ("wrong", "SELECT * FROM samples WHERE NOT correct")
    ]
    assert con.execute("SELECT run, value, n, low FROM findings").fetchall() == [(run, 0.5, 2, None)]
    assert con.execute("SELECT title FROM deck").fetchall() == [("Cows",)]
    assert app.findings(run)[0]["sentence"] == "s" and app.findings("other") == []
    assert app.undo() == "adding card “Cows”"  # findings follow from the data and are not undone
    app.save_card("first", title="Cows", body="again")
    app.delete_card("first")
    assert app.deck() == []


def test_two_tabs_saving_at_once_lose_nothing(tmp_path: Path) -> None:
    def save(tab: int) -> None:
        for n in range(8):
            Store(tmp_path).save_slice(f"{tab}-{n}", "SELECT 1")

    tabs = [threading.Thread(target=save, args=(tab,)) for tab in range(3)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert len(Store(tmp_path).slices()) == 24


def test_publishing_600_pictures_is_quick(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=600, pictures=False)
    with store.open_for_writing():
        started = time.process_time()
        store.publish()
        assert time.process_time() - started < 1.5


def test_what_else_lies_broken_in_the_folder_is_a_store_error(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    (tmp_path / "saved.json").write_text("[1")
    with pytest.raises(StoreError, match="cannot read what was saved"):
        store.slices()
    (tmp_path / "run-progress.json").write_text("{")
    with pytest.raises(StoreError, match="cannot read"):
        store.progress()
    (tmp_path / "CURRENT").write_text("../../etc/passwd")
    with pytest.raises(StoreError, match="does not name a generation"):
        Store(tmp_path).reader()
