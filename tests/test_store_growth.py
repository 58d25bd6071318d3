"""A generation that grew is the one that is made of nothing; small shards are merged and nothing is lost."""

from __future__ import annotations

import random
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import queries
from core.errors import StoreError
from core.store import Store, StoreWriter, generations, merging, open_for_writing, publish
from core.store.eight_bits import rounded
from core.store.shard_set import ShardSet
from core.store.shards import SCHEMAS, is_large, is_merged, read_shard, shard_paths, write_shard
from tests.support.killed_mergers import kill
from tests.support.older import as_older_generation
from tests.support.store_factory import PRINTS, make_store, synthetic_rows

CLASSES = ["cow", "camel", "horse"]
STAGES = {"images": "images", "predictions": "classifier", "attributions": "attribution", "checks": "causal",
          "judgements": "judge", "embeddings": "embedding"}  # fmt: skip
SEEDS = range(6)
STEPS = 9


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, and what a search finds."""
    con = store.reader()
    tables = (*SCHEMAS, "samples", "metadata", "runs", "tags", "slices")
    found = {name: con.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in tables}
    names = [row[0] for row in con.execute("DESCRIBE samples").fetchall()]
    for run in queries.runs(con):
        for text in ("head camel", "meadow ground", "background -desert"):
            hits = queries.search(con, run.name, text).hits
            found[f"{run.name} {text}"] = [(hit.image_id, round(hit.bm25 or 0, 9), len(hit.same)) for hit in hits]
    return {**found, "columns": [tuple(names)]}


def made_of_nothing(store: Store, folder: Path) -> Store:
    """A copy of a store whose generations are made from the shards alone."""
    shutil.copytree(store.folder, folder)
    for path in (*folder.glob("store-*.duckdb"), folder / "CURRENT"):
        path.unlink()
    with open_for_writing(folder) as writer:
        writer.publish()
    return Store(folder)


def step(chance: random.Random, writer: StoreWriter, tables: dict[str, list[Any]], places: dict[str, int]) -> None:
    """Something that a run or a person does."""
    kind = chance.choice(["rows", "rows", "rows", "again", "tag", "run", "budget", "score", "metadata"])
    if kind == "rows":
        size = chance.randrange(1, 30)
        for table, stage in STAGES.items():
            if table == "images" or chance.random() < 0.8:
                start = places.get(table, 0)
                for at in range(start, start + size, 8):  # as the pipeline does: several shards
                    writer.write(table, tables[table][at : min(at + 8, start + size)], fingerprint=PRINTS[stage])
                places[table] = start + size
    elif kind == "again":  # a picture is tried once more, and the newest row stands
        rows = tables["judgements"][: places.get("judgements", 0)]
        again = [replace(row, description="Seen again: a camel in the snow.", state="ok", score=chance.random() * 5)
                 for row in chance.sample(rows, min(3, len(rows)))]  # fmt: skip
        writer.write("judgements", again, fingerprint=PRINTS["judge"])
        writer.write("predictions", tables["predictions"][:2], fingerprint=PRINTS["classifier"])
    elif kind == "tag":
        known = [row["image_id"] for row in tables["images"][: places.get("images", 0)]]
        Store(writer.folder).tag(chance.sample(known, min(4, len(known))), chance.choice("abc"))
    elif kind in ("run", "budget"):
        budget = {"judge_budget": chance.randrange(5, 40)} if kind == "budget" else {}
        settings = {"n": chance.randrange(3), "causal_sample": chance.randrange(3, 60), **budget}
        writer.begin_run(settings, PRINTS, class_names=CLASSES)
    elif kind == "score":
        writer.set_high_score(chance.choice(writer.run_records())["run"], chance.random() * 5)
    else:
        row = dict(tables["images"][chance.randrange(40)])
        row["metadata"] = {**row["metadata"], **chance.choice([{"night": 3}, {"new": chance.random()}, {"size": 7}])}
        writer.write("images", [row], fingerprint=PRINTS["images"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_generation_that_grew_is_the_one_made_of_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "LARGE_ROWS", 60)
    monkeypatch.setattr(merging, "MANY", 5)
    grew: list[str] = []
    add = publish.add_samples
    monkeypatch.setattr(publish, "add_samples", lambda con: (grew.append("added"), add(con))[1])
    chance = random.Random(seed)
    tables = synthetic_rows(400, CLASSES, seed=seed, pictures=False)
    store, places = Store(tmp_path / "store"), dict[str, int]()
    with open_for_writing(store.folder) as writer:
        writer.begin_run({"n": 0}, PRINTS, class_names=CLASSES)
        step(random.Random(0), writer, tables, places)
        writer.publish()
        for number in range(STEPS):
            for _ in range(chance.randrange(1, 4)):
                step(chance, writer, tables, places)
            writer.publish()
            writer.wait_for_merging()  # a copy of the folder is made now
            other = made_of_nothing(store, tmp_path / str(number))
            mine, anew = contents(store), contents(other)
            for name, rows in anew.items():
                assert mine[name] == rows, (seed, number, name)
    assert grew and any(is_merged(path) for table in SCHEMAS for path in shard_paths(store.folder / "shards" / table))


def test_the_generation_before_grows_in_place_unless_somebody_reads_it(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=12, pictures=False)
    with open_for_writing(tmp_path) as writer:
        writer.publish()
        first = (tmp_path / "store-000001.duckdb").stat().st_ino
        writer.publish()
        assert store.current_path().stat().st_ino == first, "the file before the newest became the newest"
        held = Store(tmp_path).reader()
        for _ in range(3):
            writer.publish()
        assert held.execute("SELECT count(*) FROM samples").fetchone() == (12,)
        assert held.execute("SELECT generation FROM store_info").fetchone() == (3,), "and never changes under a reader"
        assert store.generation() == 6


def test_a_publication_that_fails_on_the_file_before_is_made_on_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = make_store(tmp_path, rows=12, pictures=False)
    build, calls = generations.build, []

    def fails_once(*given: Any, **options: Any) -> dict[str, int]:
        calls.append(options["grows"])
        if len(calls) == 1:
            raise duckdb.IOException("Corrupt database file")
        return build(*given, **options)

    with open_for_writing(tmp_path) as writer:
        writer.publish()
        monkeypatch.setattr(generations, "build", fails_once)
        assert writer.publish().rows["images"] == 12
    assert calls == [True, True] and not list(tmp_path.glob(".building-*"))
    assert store.reader().execute("SELECT count(*) FROM samples").fetchone() == (12,)


def test_a_generation_of_the_layout_before_is_read_searched_and_published_anew(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=40, pictures=False)
    wanted = contents(Store(store.folder))
    as_older_generation(store)
    old = Store(tmp_path / "store")
    assert queries.search(old.reader(), run, "head of a camel").hits
    assert old.reader().execute("SELECT count(*) FROM predictions").fetchone() == (40,)
    with open_for_writing(old.folder) as writer:
        writer.publish()
        assert writer.damaged() == []
    assert contents(Store(tmp_path / "store")) == wanted


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A published store of 90 pictures in shards of 8."""
    monkeypatch.setattr(merging, "LARGE_ROWS", 60)
    tables = synthetic_rows(90, CLASSES, seed=3, pictures=False)
    with open_for_writing(tmp_path / "many") as writer:
        writer.begin_run({}, PRINTS, class_names=CLASSES)
        for table, stage in STAGES.items():
            for start in range(0, 90, 8):
                writer.write(table, tables[table][start : start + 8], fingerprint=PRINTS[stage])
        writer.publish()
        writer.wait_for_merging()
    return Store(tmp_path / "many")


def test_merged_shards_are_read_where_they_lie_and_nothing_is_missing(many: Store) -> None:
    large = [path for path in shard_paths(many.folder / "shards" / "predictions") if is_large(path)]
    assert [int(path.name.split("-")[2]) for path in large] == [64]
    before = contents(many)
    with open_for_writing(many.folder) as writer:
        assert writer.done("classifier", PRINTS["classifier"]) == {row[1] for row in before["predictions"]}
        writer.check()
        assert writer.damaged() == []
        writer.publish()
    assert many.reader().execute("SELECT count(*) FROM loaded.predictions").fetchone() == (26,)
    assert contents(many) == before
    con = many.reader()
    (run,) = queries.runs(con)
    image_id = before["predictions"][50][1]
    assert queries.sample(con, run.name, image_id).image_id == image_id
    assert len(queries.thumbnails(con, [row[1] for row in before["images"]])) == 90
    answer = queries.run_sql(many, "SELECT count(*) AS n FROM predictions WHERE len(probabilities) = 3").table
    assert answer["n"].to_pylist() == [90], "user SQL reads them, too"
    with pytest.raises(queries.SqlError):
        queries.run_sql(many, f"SELECT * FROM '{large[0]}'")


@pytest.mark.parametrize("most", [0, 1 << 28])
def test_a_merged_shard_holds_every_row_once_and_sorted_where_they_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(merging, "_SORTED_BYTES", most)
    folder = tmp_path / "shards" / "embeddings"
    folder.mkdir(parents=True)
    vectors = np.random.default_rng(5).standard_normal((6, 384), dtype=np.float32)
    names = ["e", "a", "d", "c", "a", "b"]  # a comes twice: the newer one stands
    rows = pa.table({"fingerprint": ["f"] * 6, "image_id": names, "vector": list(vectors)}).cast(SCHEMAS["embeddings"])
    paths = [write_shard(folder, rows.slice(start, 2), number=number) for number, start in enumerate((0, 2, 4), 1)]
    merged = merging.merge(folder, paths, swap=nullcontext)
    assert merged is not None and shard_paths(folder) == [merged]
    found = pq.read_table(merged)
    by_id = dict(zip(names, vectors, strict=True))
    assert found["image_id"].to_pylist() == (sorted(by_id) if most else ["e", "d", "c", "a", "b"])
    for row in found.to_pylist():
        np.testing.assert_array_equal(np.asarray(row["vector"], dtype=np.float32), by_id[row["image_id"]])
        np.testing.assert_array_equal(
            np.frombuffer(row["eight_bits"], np.int8), rounded(by_id[row["image_id"]][None])[0]
        )


def test_a_store_is_whole_where_it_was_moved_to(many: Store, tmp_path: Path) -> None:
    with open_for_writing(many.folder) as writer:
        writer.publish()
    before = contents(many)
    moved = Store(Path(shutil.move(many.folder, tmp_path / "an other, 'place'")))
    assert contents(moved) == before


def test_a_damaged_large_shard_is_set_aside_and_its_pictures_are_wanting(many: Store) -> None:
    with open_for_writing(many.folder) as writer:
        writer.publish()
    (large,) = [path for path in shard_paths(many.folder / "shards" / "predictions") if is_large(path)]
    data = bytearray(large.read_bytes())
    data[len(data) // 2] ^= 4
    large.write_bytes(data)
    with open_for_writing(many.folder) as writer:
        writer.check()
        assert [damage.file for damage in writer.damaged()] == [f"predictions/{large.name}"]
        assert len(writer.done("classifier", PRINTS["classifier"])) == 26
        tables = synthetic_rows(90, CLASSES, seed=3, pictures=False)
        writer.write("predictions", tables["predictions"][:64], fingerprint=PRINTS["classifier"])
        assert writer.publish().rows["predictions"] == 90
        assert len(writer.done("classifier", PRINTS["classifier"])) == 90


def test_a_large_shard_that_is_gone_is_one_line_for_readers(many: Store) -> None:
    with open_for_writing(many.folder) as writer:
        writer.publish()
    (large,) = [path for path in shard_paths(many.folder / "shards" / "predictions") if is_large(path)]
    large.unlink()
    with pytest.raises(StoreError, match="damaged .* run again"):
        Store(many.folder).reader().execute("SELECT * FROM predictions").fetchall()


def test_merging_with_a_full_disk_leaves_everything_as_it_was(
    many: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = many.folder / "shards" / "judgements"
    before, there = contents(many), sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(merging, "MANY", 2)
    fsync = merging.os.fsync

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging.os, "fsync", full)
    assert ShardSet(many.folder).merge(stop=lambda: False) == 0
    monkeypatch.setattr(merging.os, "fsync", fsync)
    assert sorted(path.name for path in folder.iterdir()) == there
    assert contents(many) == before


def test_a_large_store_takes_what_is_done_from_the_generation_and_still_sees_what_changed(
    many: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.store.done.VERIFIED_AT_ONCE", 20_000)
    read: list[str] = []

    def noted(path: Path, **options: Any) -> Any:
        read.append(path.parent.name)
        return read_shard(path, **options)

    monkeypatch.setattr("core.store.done.read_shard", noted)
    with open_for_writing(many.folder) as writer:
        writer.publish()
    with open_for_writing(many.folder) as writer:
        writer.check()
        assert len(writer.done("images", PRINTS["images"])) == 90 and "images" not in read and read
    monkeypatch.undo()
    monkeypatch.setattr("core.store.done.VERIFIED_AT_ONCE", 20_000)
    path = shard_paths(many.folder / "shards" / "images")[-1]
    path.write_bytes(path.read_bytes()[:-9])
    with open_for_writing(many.folder) as writer:
        writer.check()
        assert [damage.file for damage in writer.damaged()] == [f"images/{path.name}"]


def test_reading_while_a_publication_has_the_file_says_so_in_words(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    with (store.current_path()).open("rb") as handle:
        generations.fcntl.flock(handle, generations.fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="cannot open"):
            Store(tmp_path).reader()


@pytest.mark.slow
def test_a_writer_killed_while_it_merges_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kill(tmp_path / "store", 5, seed=0)
