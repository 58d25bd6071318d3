"""A byte that flips in a file of a store is noticed, set aside and made good, or changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import queries
from core.errors import StoreError
from core.records import Judgement
from core.store import Store, StoreWriter, open_for_writing
from pages._words import plain
from tests.support.command_line import refusal, whylook
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import image, make_store, prediction
from tests.support.tiny_world import make_folder, make_model

Capture = pytest.CaptureFixture[str]


def flip(path: Path, at: int | None = None) -> None:
    """Turns one bit of the byte at `at`, which is in the middle unless said."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 4
    path.write_bytes(data)


def shards(store: Path, table: str) -> list[Path]:
    return sorted((store / "shards" / table).glob("part-*.parquet"))


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The words of a run of 15 pictures into tmp_path/store, in shards of 4."""
    pictures = make_folder(tmp_path / "pictures", per_class=5)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--device", "cpu"]
    return [*words, "--batch-size", "4", "--store", str(tmp_path / "store")]


def rows(store: Path) -> list[tuple[object, ...]]:
    return Store(store).reader().execute("SELECT * EXCLUDE (run) FROM samples ORDER BY path").fetchall()


def test_a_run_says_what_is_damaged_sets_it_aside_and_loses_nothing(
    tmp_path: Path, capsys: Capture, words: list[str]
) -> None:
    store = tmp_path / "store"
    assert whylook(capsys, *words).code == 0
    before = rows(store)
    bad = shards(store, "attributions")[1]
    flip(bad)
    answer = whylook(capsys, *words)
    assert answer.code == 1
    said = [line for line in answer.err.splitlines() if line.startswith("damaged: ")]
    assert len(said) == 1 and bad.name in said[0] and " 4 rows; " in said[0] and "4 rows restored" in said[0]
    assert rows(store) == before
    assert (store / "damaged" / "shards" / "attributions" / bad.name).is_file() and not bad.exists()
    assert [damage.sentence for damage in Store(store).set_aside()] == [said[0].removeprefix("damaged: ")]
    assert whylook(capsys, *words).code == 0  # and then all is well again


def test_pictures_that_were_not_published_yet_are_done_again_in_the_same_run(
    tmp_path: Path, capsys: Capture, words: list[str]
) -> None:
    store = tmp_path / "store"
    whylook(capsys, *words)
    before = rows(store)
    for path in [*store.glob("store-*.duckdb"), store / "CURRENT"]:
        path.unlink()
    for table in ("images", "predictions", "attributions"):
        flip(shards(store, table)[2], at=-9)
    answer = whylook(capsys, *words)
    assert answer.code == 1 and answer.err.count("damaged: ") == 3 and "recomputed: this run's now" in answer.err
    after = rows(store)
    assert [row[:6] for row in after] == [row[:6] for row in before]
    assert [row[7] for row in after] == pytest.approx([row[7] for row in before], abs=1e-5)
    assert None not in [row[17] for row in after]


def test_what_is_damaged_while_the_run_works_is_done_again_before_it_ends(
    tmp_path: Path, capsys: Capture, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    write, spoilt = StoreWriter.write, []

    def write_and_spoil(self: StoreWriter, table: str, *arguments: object, **options: object) -> Path | None:
        path = write(self, table, *arguments, **options)  # type: ignore[arg-type]
        if path and table == "attributions" and not spoilt:
            spoilt.append(path)
            flip(path)
        return path

    monkeypatch.setattr(StoreWriter, "write", write_and_spoil)
    answer = whylook(capsys, *words)
    assert answer.code == 1 and spoilt[0].name in answer.err
    assert "attributed 15" in answer.out and len(rows(store)) == 15
    assert whylook(capsys, *words).code == 0


def test_rows_of_another_run_outlive_their_shard(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=70)
    before = store.reader().execute("SELECT * FROM samples ORDER BY image_id").fetchall()
    for table in ("images", "judgements", "embeddings", "failures"):
        flip(shards(tmp_path, table)[0])
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert len(writer.damaged()) == 4 and all("restored" in damage.remedy for damage in writer.damaged())
        for path in [*tmp_path.glob("store-*.duckdb")]:
            path.unlink()  # from the shards alone
        writer.publish()
    assert store.reader().execute("SELECT * FROM samples ORDER BY image_id").fetchall() == before
    assert len(queries.failures(store.reader(), run)) == 1 + 2  # one recorded, two judgements of 70 failed


def test_a_shard_of_before_has_no_checksum_and_stays_valid(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with open_for_writing(store.folder) as writer:
        writer.begin_run({}, {"images": "i", "classifier": "c"})
        writer.write("images", [image("x"), image("y")], fingerprint="i")
        path = writer.write("predictions", [prediction("x"), prediction("y")], fingerprint="c")
        assert path is not None
        old = path.rename(path.with_name("part-000007.parquet"))
        assert writer.done("classifier", "c") == {"x", "y"}
        new = writer.write("predictions", [prediction("z")], fingerprint="c")
        assert new is not None and new.name.startswith("part-000002-1-")  # the writer knows what it wrote itself
    with open_for_writing(store.folder) as writer:
        new = writer.write("predictions", [prediction("v")], fingerprint="c")
        assert new is not None and new.name.startswith("part-000008-1-")
        writer.publish()
    about = pq.ParquetFile(old).metadata.row_group(0).column(4)
    flip(old, at=about.data_page_offset + 30)  # in a column that holds no key
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert [damage.file for damage in writer.damaged()] == ["predictions/part-000007.parquet"]
        assert writer.done("classifier", "c") == {"x", "y", "z", "v"}


def test_the_number_of_a_shard_that_was_set_aside_is_not_used_again(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        flip(store.write("images", [image("x")], fingerprint="i") or tmp_path)
        store.check()
    with open_for_writing(tmp_path) as store:
        path = store.write("images", [image("x")], fingerprint="i")
        assert path is not None and path.name.startswith("part-000002-")


def test_a_damaged_generation_is_one_line_for_readers_and_never_copied(tmp_path: Path, capsys: Capture) -> None:
    store, _ = make_store(tmp_path, rows=40)
    path = store.current_path()
    for at in range(20_000, path.stat().st_size, 5_000):
        flip(path, at=at)
    for command in (["sql", "SELECT * FROM samples"], ["summary"], ["judge-card"]):
        assert "is damaged" in refusal(capsys, *command, "--store", tmp_path)
    with pytest.raises(StoreError, match="damaged .* run again"):
        Store(tmp_path).reader().execute("SELECT * FROM images").fetchall()
    with open_for_writing(store.folder) as writer:
        writer.publish()
        assert [damage.file for damage in writer.damaged()] == [path.name]
    assert len(store.reader().execute("SELECT * FROM images").fetchall()) == 40


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


def test_the_page_runs_names_what_was_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run = make_store(tmp_path, rows=12)
    bad = shards(tmp_path, "predictions")[0]
    flip(bad)
    with open_for_writing(store.folder) as writer:
        writer.check()
        writer.publish()
    _, lost = make_store(tmp_path, rows=7)
    for name in (f"{lost}.json", f"{lost}.json.bak"):
        flip(tmp_path / "runs" / name)
    app = opened(monkeypatch, "runs", tmp_path, run=run)
    assert not app.exception and not app.error
    assert "2 files of this store were damaged" in words_on(app)
    told = words_on(app)
    assert plain(bad.name) in told and plain(f"the record of run {lost}") in told
    assert plain("rows restored from the published store") in told and "Nothing is missing" not in told
    shutil.rmtree(tmp_path / "damaged")
    app.run()
    assert plain(bad.name) not in words_on(app)


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


def judged(name: str, state: str) -> Judgement:
    return Judgement(name, state, None if state == "ok" else "out of memory", score=4.0 if state == "ok" else None)  # type: ignore[arg-type]


def test_a_newer_row_is_restored_though_an_older_shard_holds_an_older_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with open_for_writing(store.folder) as writer:
        writer.begin_run({}, {"judge": "j"})
        writer.write("judgements", [judged("x", "failed"), judged("y", "ok")], fingerprint="j")
        flipped = writer.write("judgements", [judged("x", "ok")], fingerprint="j")
        writer.publish()
        newest = writer.write("judgements", [judged("y", "failed")], fingerprint="j")
    assert flipped and newest
    flip(flipped)
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert ["1 row restored" in damage.remedy for damage in writer.damaged()] == [True]
        assert writer.done("judge", "j", include_failed=False) == {"x"}  # and y's newer failure stands
        writer.publish()
    found = store.reader().execute("SELECT image_id, state FROM judgements ORDER BY 1").fetchall()
    assert found == [("x", "ok"), ("y", "failed")]


def test_every_control_of_the_judges_card_is_restored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [{"image_id": "x", "control": control, "state": "ok", "score": 1.0} for control in ("grey", "noise")]
    with open_for_writing(store.folder) as writer:
        writer.begin_run({}, {"judge": "j"})
        writer.write("judge_card", rows[:1], fingerprint="j")
        flipped = writer.write("judge_card", rows[1:], fingerprint="j")
        writer.publish()
    assert flipped
    flip(flipped)
    with open_for_writing(store.folder) as writer:
        writer.check()
        assert "1 row restored" in writer.damaged()[0].remedy


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


def test_a_shard_that_is_gone_is_said_and_its_published_rows_come_back(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path / "store")
    shard = next(iter((store.folder / "shards" / "predictions").glob("part-*")))
    fingerprint = pq.read_table(shard)["fingerprint"][0].as_py()
    with open_for_writing(store.folder) as writer:
        before = writer.done("classifier", fingerprint)
        shard.unlink()
        writer.check()
        assert writer.done("classifier", fingerprint) == before
        assert any("it is gone" in damage.sentence for damage in writer.damaged())
        writer.publish()
        writer.check()
        assert sum("it is gone" in damage.sentence for damage in writer.damaged()) == 1


def test_damage_found_by_a_writer_that_died_is_said_by_the_next(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path / "store")
    shard = next(iter((store.folder / "shards" / "images").glob("part-*")))
    flip(shard, len(shard.read_bytes()) // 2)
    with open_for_writing(store.folder) as writer:
        writer.check()  # and then it is killed
    with open_for_writing(store.folder) as writer:
        assert len(writer.damaged()) == 1
        writer.damage_is_said()
    with open_for_writing(store.folder) as writer:
        assert writer.damaged() == []
