"""Vectors of eight bits find what the exact ones find, in a store whose vectors lie in large shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core import queries
from core.queries.rows import bytes_of
from core.queries.vectors import VectorTable, vector_table
from core.store import Store, merging, open_for_writing
from core.store.eight_bits import packed, rounded
from tests.support.store_factory import PRINTS, make_store

RECALL = 0.95


def test_eight_bits_find_nine_of_ten_and_more_of_the_nearest() -> None:
    import pyarrow as pa

    chance = np.random.default_rng(1)
    exact = chance.standard_normal((20_000, 384), dtype=np.float32)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    table = VectorTable(pa.array([str(place) for place in range(len(exact))]), rounded(exact))
    found, off = [], []
    for query in chance.standard_normal((50, 384), dtype=np.float32):
        query /= np.linalg.norm(query)
        cosine = exact @ query
        best = {str(place) for place in np.argsort(-cosine)[:10]}
        nearest = table.nearest(query, 10)
        found.append(len(best & {name for name, _ in nearest}) / 10)
        off += [abs(value - float(cosine[int(name)])) for name, value in nearest]
    assert np.mean(found) >= RECALL and max(off) < 0.005


def test_packed_vectors_come_back_whole_or_in_pieces() -> None:
    import pyarrow as pa

    vectors = np.random.default_rng(2).standard_normal((7, 384), dtype=np.float32)
    column = pa.chunked_array([pa.array(list(vectors[:4]), pa.list_(pa.float32())), pa.array(list(vectors[4:]))])
    whole = pa.chunked_array([packed(column)])
    pieces = pa.chunked_array([whole.slice(2, 3).combine_chunks(), whole.slice(5).combine_chunks()])
    np.testing.assert_array_equal(bytes_of(whole).view(np.int8), rounded(vectors))
    np.testing.assert_array_equal(bytes_of(whole.slice(2, 3)).view(np.int8), rounded(vectors)[2:5])
    np.testing.assert_array_equal(bytes_of(pieces).view(np.int8), rounded(vectors)[2:])
    assert bytes_of(pa.chunked_array([pa.array([], pa.binary())])).shape == (0, 0)
    missing = packed(pa.chunked_array([pa.array([list(vectors[0]), None], pa.list_(pa.float32()))]))
    assert missing.is_valid().to_pylist() == [True, False] and missing[0].as_py() == rounded(vectors)[0].tobytes()
    with pytest.raises(ValueError, match="1 of 2 are missing"):
        bytes_of(pa.chunked_array([missing]))


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, str]:
    """A store of 90 pictures whose first vectors lie in a large shard; and its run."""
    monkeypatch.setattr(merging, "LARGE_ROWS", 60)
    store, run = make_store(tmp_path / "store", rows=90, pictures=False)
    with open_for_writing(store.folder) as writer:
        writer.publish()
        writer.wait_for_merging()
        writer.publish()
    return store, run


def nearest(store: Store, run: str, vector: Sequence[float], **options: Sequence[str]) -> list[str]:
    hits = queries.search(store.reader(), run, "zebra", np.asarray(vector, dtype=np.float32), **options)  # type: ignore[arg-type]
    return list(hits.image_ids)


def test_meaning_is_looked_for_in_memory_and_finds_what_sql_finds(large: tuple[Store, str]) -> None:
    store, run = large
    con = store.reader()
    table = vector_table(con, PRINTS["embedding"])
    vectors = dict(con.execute("SELECT image_id, vector FROM embeddings").fetchall())
    assert table is not None and sorted(table.ids.to_pylist()) == sorted(vectors)
    for image_id, vector in list(vectors.items())[:20]:
        assert nearest(store, run, vector)[0] == image_id
        others = [other for other in vectors if other != image_id][:30]
        assert set(nearest(store, run, vector, where_ids=others)) <= set(others)
        near = queries.neighbours(con, run, image_id, 4)
        exact = sorted(vectors, key=lambda other: -float(np.dot(vectors[other], vector)))[1:5]
        assert {row["image_id"] for row in near} == set(exact)
        assert all(row["correct"] for row in queries.neighbours(con, run, image_id, 4, correct=True))


def test_a_vector_that_was_replaced_is_the_new_one(large: tuple[Store, str]) -> None:
    store, run = large
    image_id, old = store.reader().execute("SELECT image_id, vector FROM embeddings ORDER BY ALL LIMIT 1").fetchall()[0]
    new = np.random.default_rng(5).standard_normal(384).astype(np.float32)
    new /= np.linalg.norm(new)
    assert nearest(store, run, old)[0] == image_id
    with open_for_writing(store.folder) as writer:
        writer.write("embeddings", [{"image_id": image_id, "vector": new}], fingerprint=PRINTS["embedding"])
        writer.publish()
    assert nearest(store, run, new)[0] == image_id and image_id not in nearest(store, run, old)[:1]
    table = vector_table(store.reader(), PRINTS["embedding"])
    assert table is not None and table.ids.to_pylist().count(image_id) == 1
