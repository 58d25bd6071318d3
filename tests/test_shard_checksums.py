"""A byte that flips in a shard or a generation is noticed, set aside and made good, or changes nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import queries
from core.errors import StoreError
from core.records import Judgement
from core.store import Store
from tests.support.command_line import refusal
from tests.support.flips import flip, shards
from tests.support.store_factory import image, make_store, prediction

Capture = pytest.CaptureFixture[str]


def test_rows_of_another_run_outlive_their_shard(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=70)
    before = store.reader().execute("SELECT * FROM samples ORDER BY image_id").fetchall()
    for table in ("images", "judgements", "embeddings", "failures"):
        flip(shards(tmp_path, table)[0])
    with store.open_for_writing():
        store.check()
        assert len(store.damaged()) == 4 and all("restored" in damage.remedy for damage in store.damaged())
        for path in [*tmp_path.glob("store-*.duckdb")]:
            path.unlink()  # from the shards alone
        store.publish()
    assert store.reader().execute("SELECT * FROM samples ORDER BY image_id").fetchall() == before
    assert len(queries.failures(store.reader(), run)) == 1 + 2  # one recorded, two judgements of 70 failed


def test_a_shard_of_before_has_no_checksum_and_stays_valid(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.open_for_writing():
        store.begin_run({}, {"images": "i", "classifier": "c"})
        store.write("images", [image("x"), image("y")], fingerprint="i")
        path = store.write("predictions", [prediction("x"), prediction("y")], fingerprint="c")
        assert path is not None
        old = path.rename(path.with_name("part-000007.parquet"))
        assert store.done("classifier", "c") == {"x", "y"}
        new = store.write("predictions", [prediction("z")], fingerprint="c")
        assert new is not None and new.name.startswith("part-000002-1-")  # the writer knows what it wrote itself
    with store.open_for_writing():
        new = store.write("predictions", [prediction("v")], fingerprint="c")
        assert new is not None and new.name.startswith("part-000008-1-")
        store.publish()
    about = pq.ParquetFile(old).metadata.row_group(0).column(4)
    flip(old, at=about.data_page_offset + 30)  # in a column that holds no key
    with store.open_for_writing():
        store.check()
        assert [damage.file for damage in store.damaged()] == ["predictions/part-000007.parquet"]
        assert store.done("classifier", "c") == {"x", "y", "z", "v"}


def test_the_number_of_a_shard_that_was_set_aside_is_not_used_again(tmp_path: Path) -> None:
    with Store(tmp_path).open_for_writing() as store:
        flip(store.write("images", [image("x")], fingerprint="i") or tmp_path)
        store.check()
    with Store(tmp_path).open_for_writing() as store:
        path = store.write("images", [image("x")], fingerprint="i")
        assert path is not None and path.name.startswith("part-000002-")


@pytest.mark.slow
def test_a_damaged_generation_is_one_line_for_readers_and_never_copied(tmp_path: Path, capsys: Capture) -> None:
    store, _ = make_store(tmp_path, rows=40)
    path = store.current_path()
    for at in range(20_000, path.stat().st_size, 5_000):
        flip(path, at=at)
    for command in (["sql", "SELECT * FROM samples"], ["summary"], ["judge-card"]):
        assert "is damaged" in refusal(capsys, *command, "--store", tmp_path)
    with pytest.raises(StoreError, match="damaged .* run again"):
        Store(tmp_path).reader().execute("SELECT * FROM images").fetchall()
    with store.open_for_writing():
        store.publish()
        assert [damage.file for damage in store.damaged()] == [path.name]
    assert len(store.reader().execute("SELECT * FROM images").fetchall()) == 40


def judged(name: str, state: str) -> Judgement:
    return Judgement(name, state, None if state == "ok" else "out of memory", score=4.0 if state == "ok" else None)  # type: ignore[arg-type]


def test_a_newer_row_is_restored_though_an_older_shard_holds_an_older_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.open_for_writing():
        store.begin_run({}, {"judge": "j"})
        store.write("judgements", [judged("x", "failed"), judged("y", "ok")], fingerprint="j")
        flipped = store.write("judgements", [judged("x", "ok")], fingerprint="j")
        store.publish()
        newest = store.write("judgements", [judged("y", "failed")], fingerprint="j")
    assert flipped and newest
    flip(flipped)
    with store.open_for_writing():
        store.check()
        assert ["1 row restored" in damage.remedy for damage in store.damaged()] == [True]
        assert store.done("judge", "j", include_failed=False) == {"x"}  # and y's newer failure stands
        store.publish()
    found = store.reader().execute("SELECT image_id, state FROM judgements ORDER BY 1").fetchall()
    assert found == [("x", "ok"), ("y", "failed")]


def test_every_control_of_the_judges_card_is_restored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = [{"image_id": "x", "control": control, "state": "ok", "score": 1.0} for control in ("grey", "noise")]
    with store.open_for_writing():
        store.begin_run({}, {"judge": "j"})
        store.write("judge_card", rows[:1], fingerprint="j")
        flipped = store.write("judge_card", rows[1:], fingerprint="j")
        store.publish()
    assert flipped
    flip(flipped)
    with store.open_for_writing():
        store.check()
        assert "1 row restored" in store.damaged()[0].remedy


def test_a_shard_that_is_gone_is_said_and_its_published_rows_come_back(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path / "store")
    shard = next(iter((store.folder / "shards" / "predictions").glob("part-*")))
    fingerprint = pq.read_table(shard)["fingerprint"][0].as_py()
    with store.open_for_writing() as writer:
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
    with Store(store.folder).open_for_writing() as writer:
        writer.check()  # and then it is killed
    with Store(store.folder).open_for_writing() as writer:
        assert len(writer.damaged()) == 1
        writer.damage_is_said()
    with Store(store.folder).open_for_writing() as writer:
        assert writer.damaged() == []
