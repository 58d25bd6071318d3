"""A damaged run record, CURRENT or saved.json: its copy takes its place, and nothing that people keep is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core import queries
from core.errors import StoreError
from core.store import Store, open_for_writing
from tests.support.command_line import whylook
from tests.support.flips import flip
from tests.support.store_factory import make_store

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("at", [11, 40, -2])
def test_a_damaged_current_changes_nothing(tmp_path: Path, at: int) -> None:
    store, _ = make_store(tmp_path, rows=6)
    with open_for_writing(store.folder) as writer:
        writer.publish()
    flip(tmp_path / "CURRENT", at=at)
    assert Store(tmp_path).generation() == 2
    with open_for_writing(store.folder) as writer:
        assert writer.publish().generation == 3


def test_a_damaged_record_does_not_hide_the_other_runs(tmp_path: Path, capsys: Capture) -> None:
    store, run = make_store(tmp_path, rows=6)
    _, other = make_store(tmp_path, rows=7)
    record = tmp_path / "runs" / f"{run}.json"
    flip(record)
    assert {entry["run"] for entry in store.run_records()} == {run, other}  # the copy is read
    flip(record.with_name(record.name + ".bak"))
    assert [entry["run"] for entry in store.run_records()] == [other]
    answer = whylook(capsys, "runs", "--store", tmp_path)
    assert answer.code == 0 and other in answer.out
    assert f"damaged: the record of run {run} is damaged" in answer.err
    was = queries.run(store.reader(), run)
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert [damage.file for damage in writer.damaged()] == [f"runs/{run}.json"]
        assert "made again from the published store" in writer.damaged()[0].remedy
        writer.publish()
    assert (tmp_path / "damaged" / "runs" / record.name).is_file() and store.damaged_records() == []
    assert was in queries.runs(store.reader())
    with open_for_writing(store.folder) as writer:  # and the same settings find it
        assert writer.begin_run(was.settings.kept, was.fingerprints, class_names=was.class_names) == run
    (tmp_path / "CURRENT").unlink()
    for name in (record.name, f"{record.name}.bak"):
        flip(record.with_name(name))
    with open_for_writing(store.folder) as writer:  # nothing is published: it can only be made by the same command
        writer.check()
        assert "run the same command again" in writer.damaged()[-1].remedy
        assert writer.begin_run(was.settings.kept, was.fingerprints, class_names=was.class_names) == run


def test_what_people_keep_survives_a_flip(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_slice("cows", "SELECT 1")
    store.save_slice("camels", "SELECT 2")
    flip(tmp_path / "saved.json")
    assert [entry["name"] for entry in store.slices()] == ["cows", "camels"]
    store.save_slice("horses", "SELECT 3")
    assert [entry["name"] for entry in Store(tmp_path).slices()] == ["cows", "camels", "horses"]
    assert (tmp_path / "damaged" / "saved.json").is_file()
    for name in ("saved.json", "saved.json.bak"):
        flip(tmp_path / name)
    with pytest.raises(StoreError, match="move it away"):
        store.save_slice("cats", "SELECT 4")
    with open_for_writing(store.folder) as writer:
        writer.check()
        writer.publish()
        assert "nothing is kept at the moment" in writer.damaged()[-1].sentence
    assert (tmp_path / "damaged" / "saved.json.2").is_file() and store.slices() == []


def test_older_json_files_are_read_without_a_checksum(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=6)
    store.save_slice("cows", "SELECT 1")
    for path in [*tmp_path.glob("runs/*.json"), tmp_path / "saved.json", tmp_path / "store.json"]:
        value = json.loads(path.read_text())
        assert value.pop("checksum")
        path.write_text(json.dumps(value))
        path.with_name(path.name + ".bak").unlink(missing_ok=True)
    current = tmp_path / "CURRENT"
    current.write_text(current.read_text().splitlines()[0])
    old = Store(tmp_path)
    assert [entry["run"] for entry in old.run_records()] == [run] and len(old.slices()) == 1
    assert old.reader().execute("SELECT count(*) FROM samples").fetchone() == (6,)
    with open_for_writing(old.folder) as writer:
        writer.check()
        assert writer.damaged() == [] and writer.publish().rows["images"] == 6


def test_a_lost_file_of_what_people_keep_comes_back_from_its_copy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_slice("cows", "SELECT 1")
    (tmp_path / "saved.json").unlink()
    assert [entry["name"] for entry in store.slices()] == ["cows"]
    store.save_slice("camels", "SELECT 2")
    assert [entry["name"] for entry in Store(tmp_path).slices()] == ["cows", "camels"]


def test_a_lost_run_record_comes_back_from_its_copy(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=6)
    record = tmp_path / "runs" / f"{run}.json"
    whole = record.read_bytes()
    record.unlink()
    assert [entry["run"] for entry in store.run_records()] == [run] and store.damaged_records() == []
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert [damage.sentence for damage in writer.damaged()] == [
            f"runs/{run}.json: it is gone; its copy takes its place"
        ]
        assert json.loads(record.read_bytes())["attempt"] == json.loads(whole)["attempt"]


def test_a_record_made_again_from_the_published_store_keeps_what_the_judge_lacks(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with open_for_writing(store.folder) as writer:
        run = writer.begin_run({}, {"images": "i"}, judge_note="knows cows", judge_limits="no distribution")
        writer.publish()
    before = queries.runs(store.reader())
    for path in (tmp_path / "runs").glob(f"{run}.*"):
        flip(path)
    with open_for_writing(store.folder) as writer:
        writer.check()
        writer.publish()
    assert queries.runs(store.reader()) == before and before[0].judge_limits == "no distribution"


def test_a_run_record_that_is_gone_comes_back_and_is_said(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store")
    record = store.folder / "runs" / f"{run}.json"
    record.unlink()
    assert [item["run"] for item in store.run_records()] == [run]
    record.with_name(f"{record.name}.bak").unlink()
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert [damage.reason for damage in writer.damaged()] == ["it is gone"]
    assert [item["run"] for item in store.run_records()] == [run]
