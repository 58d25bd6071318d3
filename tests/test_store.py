"""The store: runs, locks, publishing, generations, progress, what people keep."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import duckdb
import mypy.api
import pytest

from core import queries
from core.errors import StoreError
from core.findings import Finding
from core.records import Failure, Judgement
from core.statistics import wilson
from core.store import Store, open_for_writing
from tests.support.store_factory import PRINTS, image, make_store, prediction, synthetic_rows

ROOT = Path(__file__).resolve().parents[1]


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
        with open_for_writing(store.folder) as writer:
            run = writer.begin_run({"a": 1}, {"images": "i", "classifier": "c"}, class_names=["cow", "camel"])
            writer.write("images", [image("x"), image("y")], fingerprint="i")
            writer.write("predictions", [prediction("x", "camel" if attempt == 1 else "cow")], fingerprint="c")
            assert writer.done("classifier", "c") == {"x"}
            assert writer.done("classifier", "other") == set()
            rows = writer.publish().rows
    assert rows["images"] == 2 and rows["predictions"] == 1
    assert store.reader().execute("SELECT prediction FROM predictions").fetchall() == [("cow",)]  # the newest stays
    assert [record["attempt"] for record in store.run_records()] == [2]
    assert [entry.name for entry in queries.runs(store.reader())] == [run]


def test_other_settings_or_fingerprints_make_another_run_and_never_mix(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with open_for_writing(store.folder) as writer:
        runs = [
            writer.begin_run(settings, {"images": "i", "classifier": fingerprint}, class_names=["cow", "camel"])
            for settings, fingerprint in (({"a": 1}, "c"), ({"a": 2}, "c"), ({"a": 1}, "d"))
        ]
        writer.write("images", [image("x")], fingerprint="i")
        writer.write("predictions", [prediction("x", "cow")], fingerprint="c")
        writer.write("predictions", [prediction("x", "camel")], fingerprint="d")
        writer.publish()
    assert len(set(runs)) == 3
    found = dict(store.reader().execute("SELECT run, prediction FROM samples").fetchall())
    assert found == {runs[0]: "cow", runs[1]: "cow", runs[2]: "camel"}


def test_one_picture_twice_in_one_shard_is_one_row(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        store.begin_run({}, {"images": "i"})
        store.write("images", [image("x"), image("x")], fingerprint="i")
        assert store.publish().rows["images"] == 1


def test_scratch_and_incremental_publishing_give_the_same_rows(tmp_path: Path) -> None:
    tables = synthetic_rows(40, ["cow", "camel"], seed=3)
    counts, contents = [], []
    for name, each in (("often", True), ("once", False)):
        store = Store(tmp_path / name)
        with open_for_writing(store.folder) as writer:
            writer.begin_run({}, PRINTS, class_names=["cow", "camel"])
            for start in range(0, 40, 10):
                for table, stage in (("images", "images"), ("predictions", "classifier"), ("judgements", "judge")):
                    writer.write(table, tables[table][start : start + 10], fingerprint=PRINTS[stage])
                if each:
                    writer.publish()
            counts.append(writer.publish().rows)
        contents.append(store.reader().execute("SELECT * FROM samples ORDER BY image_id").fetchall())
    assert counts[0] == counts[1]
    assert contents[0] == contents[1]


def test_a_second_writer_is_refused_and_the_app_sees_the_first(tmp_path: Path) -> None:
    with open_for_writing(tmp_path):
        assert Store(tmp_path).writer_alive()
        started = time.monotonic()
        with pytest.raises(StoreError, match=f"another run .process {os.getpid()}. writes"):
            open_for_writing(tmp_path).__enter__()
        assert time.monotonic() - started < 2
    assert not Store(tmp_path).writer_alive()
    with open_for_writing(tmp_path):
        pass


WRONG = """
from pathlib import Path
from core.store import Store, open_for_writing

Store(Path()).write("images", [], fingerprint="i")
Store(Path()).publish()
with open_for_writing(Path()) as writer:
    writer.write("images", [], fingerprint="i")
    writer.publish()
    writer.reader()
"""


def test_the_type_checker_refuses_a_write_on_a_store_that_is_opened_to_read(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    words = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache")]
    told, _, code = mypy.api.run([*words, str(tmp_path / "wrong.py")])
    errors = [line.partition("wrong.py:")[2] for line in told.splitlines() if "error:" in line]
    assert code == 1 and [line.partition(":")[0] for line in errors] == ["5", "6"], told
    assert all('"Store" has no attribute' in line for line in errors)


def test_old_generations_go_and_a_reader_keeps_the_one_it_opened(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=12)
    held = store.reader()
    with open_for_writing(store.folder) as writer:
        for _ in range(4):
            writer.publish()
    assert [path.name for path in sorted(tmp_path.glob("store-*.duckdb"))] == [
        "store-000004.duckdb",
        "store-000005.duckdb",
    ]
    assert held.execute("SELECT count(*) FROM samples").fetchone() == (12,)
    assert store.generation() == 5
    assert store.reader().execute("SELECT generation FROM store_info").fetchone() == (5,)


@pytest.mark.slow
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
    with open_for_writing(store.folder) as writer:
        for _ in range(6):
            writer.publish()
    finished.set()
    reader.join()
    assert not errors and reads > 2


def test_failures_of_an_earlier_attempt_are_no_news(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for attempt in range(2):
        with open_for_writing(store.folder) as writer:
            run = writer.begin_run({}, {"images": "i"})
            if attempt == 0:
                writer.write("failures", [Failure("images", None, "a.png", "empty")], run=run)
            writer.write("failures", [Failure("images", None, "b.png", "empty")], run=run)
            writer.publish()
    assert [row["path"] for row in queries.failures(store.reader(), run)] == ["b.png"]


def test_failed_rows_can_be_asked_for_again(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        store.write("judgements", [Judgement("x", "failed", "late"), Judgement("y", "ok", None)], fingerprint="j")
        assert store.done("judge", "j") == {"x", "y"}
        assert store.done("judge", "j", include_failed=False) == {"y"}
        store.write("judgements", [Judgement("x", "ok", None)], fingerprint="j")
        assert store.done("judge", "j", include_failed=False) == {"x", "y"}


def test_progress_says_how_far_and_whether_the_writer_lives(tmp_path: Path) -> None:
    watcher = Store(tmp_path)
    with open_for_writing(tmp_path) as store:
        store.report_progress(run="r-1", stage="judge", done=3, total=10, rate=1.5, seconds_left=4.7)
        seen = watcher.progress()
        assert seen and (seen["stage"], seen["done"], seen["pid"], seen["alive"]) == ("judge", 3, os.getpid(), True)
    seen = watcher.progress()
    assert seen and seen["alive"] is False


def test_finishing_a_run_is_seen_at_once_and_published_next(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=6)
    assert store.run_records()[0]["state"] == "done"
    entry = queries.run(store.reader())
    assert (entry.state, entry.counts) == ("done", {"pictures": 6, "failures": 1})
    assert entry.fingerprints["judge"] == "judge-1" and entry.class_names == ("cow", "camel", "horse")
    with open_for_writing(store.folder) as writer, pytest.raises(StoreError, match="no run"):
        writer.finish_run("r-none", "done", {})


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
    with open_for_writing(tmp_path) as store:
        run = store.begin_run({}, {"images": "i"})
        app.save_slice("wrong", "SELECT * FROM samples WHERE NOT correct")
        app.save_slide("first", {"title": "Cows", "kind": "text", "run": "r", "body": ["off the meadow"]})
        app.save_findings(
            run, [{"rank": 1, "kind": "failures", "sentence": "s", "sql": "SELECT 1", "value": 0.5, "n": 2}]
        )
        store.publish()
    con = app.reader()
    assert con.execute("SELECT name, sql FROM slices").fetchall() == [
        ("wrong", "SELECT * FROM samples WHERE NOT correct")
    ]
    assert con.execute("SELECT run, value, n, low FROM findings").fetchall() == [(run, 0.5, 2, None)]
    assert con.execute("SELECT position, key, title, body FROM deck").fetchall() == [
        (1, "first", "Cows", ["off the meadow"])
    ]
    assert app.findings(run)[0]["sentence"] == "s" and app.findings("other") == []
    assert app.undo() == "keeping slide “Cows”"  # findings follow from the data and are not undone
    for key in ("a", "b", "c"):
        app.save_slide(key, {"title": key, "kind": "text", "run": "r"})
    app.move_slide("c", 0)
    app.save_slide("a", {"title": "new", "kind": "text", "run": "r"})
    assert [entry["slide"]["title"] for entry in app.deck()] == ["c", "new", "b"]
    app.move_slide("c", 9)
    assert [entry["slide"]["title"] for entry in app.deck()] == ["new", "b", "c"]
    assert app.undo("deck") == "moving slide “c”"
    app.delete_slide("a")
    assert app.undo("deck") == "deleting slide “new”"
    assert [entry["slide"]["title"] for entry in app.deck()] == ["c", "new", "b"]
    with pytest.raises(StoreError, match="no such slide"):
        app.move_slide("gone", 0)


def test_a_finding_is_kept_with_its_evidence_in_a_store_whose_last_generation_had_none(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=12, pictures=False)
    made = wilson(3, 12)
    store.save_findings(run, [Finding("failures", 1, "s", made, None, "SELECT 1", 3, evidence="e").row()])
    with duckdb.connect(str(store.current_path())) as older:
        older.execute("ALTER TABLE findings DROP COLUMN evidence")
    with open_for_writing(tmp_path) as writer:
        writer.publish()
    assert store.reader().execute("SELECT sentence, evidence FROM findings").fetchall() == [("s", "e")]


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
    with open_for_writing(store.folder) as writer:
        started = time.process_time()
        writer.publish()
        assert time.process_time() - started < 1.5
