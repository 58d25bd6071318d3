"""A byte that flips in a shard or a generation is noticed, set aside and made good, or changes nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import queries
from core.errors import StoreError
from core.records import Judgement
from core.store import Store, open_for_writing
from tests.support.command_line import refusal
from tests.support.flips import flip, shards
from tests.support.store_factory import image, make_store, prediction

Capture = pytest.CaptureFixture[str]


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
    with open_for_writing(store.folder) as writer:
        writer.publish()
        assert [damage.file for damage in writer.damaged()] == [path.name]
    assert len(store.reader().execute("SELECT * FROM images").fetchall()) == 40


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
