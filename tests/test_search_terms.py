"""What people type into a search: operators, words, and what of them a text has."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from core import queries
from core.errors import QueryError
from core.queries.search import FLOOR
from core.queries.search_terms import asked
from core.store import Store, open_for_writing
from tests.support.store_factory import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("search") / "store")[0]


def said(store: Store, image_ids: tuple[str, ...]) -> set[str]:
    rows = store.reader().execute(
        "SELECT lower(concat_ws(' ', description, justification)) FROM samples "
        "WHERE image_id IN (SELECT unnest(?::VARCHAR[]))",
        [list(image_ids)],
    )
    return {str(row[0]) for row in rows.fetchall()}


def run_of(store: Store) -> str:
    return str(store.reader().execute("SELECT run FROM samples WHERE description IS NOT NULL LIMIT 1").fetchall()[0][0])


@pytest.mark.parametrize(
    ("text", "plain", "groups"),
    [
        ("sand and snow", "sand and snow", (((), ()),)),
        ('"much sand" -cow', "much sand", ((("much sand",), ("cow",)),)),
        ('-"All of a cow" snow', "snow", (((), ("all of a cow",)),)),
        ('"a b" OR -c d', "a b d", ((("a b",), ()), ((), ("c",)))),
        ('an "open quote', 'an "open quote', (((), ()),)),
        ('"" - ""', "-", (((), ()),)),
        ("or", "or", (((), ()),)),
    ],
)
def test_operators_are_read(text, plain, groups):
    assert (asked(text).plain, asked(text).groups) == (plain, groups)


def test_a_phrase_is_in_every_hit_and_an_unwanted_word_in_none(store):
    con, run = store.reader(), run_of(store)
    every = queries.search(con, run, "ground").image_ids
    texts = [text.replace(".", " ").replace(",", " ").split() for text in said(store, every)]
    word = next(word for word in texts[0] if 0 < sum(word in text for text in texts) < len(texts))
    without = queries.search(con, run, f"ground -{word}").image_ids
    exactly = queries.search(con, run, f'ground "{word}"').image_ids
    assert 0 < len(without) < len(every) and set(without) | set(exactly) == set(every)
    assert all(word not in text.replace(".", " ").replace(",", " ").split() for text in said(store, without))
    assert all(word in text.replace(".", " ").replace(",", " ").split() for text in said(store, exactly))
    assert set(queries.search(con, run, f'"{word}" OR ground -{word}').image_ids) == set(every)


def test_only_unwanted_words_say_what_to_do(store):
    with pytest.raises(QueryError, match="add a word"):
        queries.search(store.reader(), run_of(store), "-cow")


def test_the_same_text_is_one_hit_with_all_its_pictures(store):
    found = queries.search(store.reader(), run_of(store), "ground", limit=1000)
    texts = [(hit.description, hit.justification) for hit in found.hits]
    assert len(texts) == len(set(texts))
    assert sorted(image_id for hit in found.hits for image_id in hit.same) == sorted(found.image_ids)
    assert not found.cut


def test_what_means_something_else_is_no_hit(store):
    con, run = store.reader(), run_of(store)
    rows = con.execute("SELECT vector FROM embeddings").fetchall()
    vectors = np.asarray([row[0] for row in rows], dtype=np.float64)
    away = np.linalg.svd(vectors - vectors.mean(axis=0))[2][-1] if len(vectors) > 384 else np.linalg.svd(vectors)[2][-1]
    assert np.abs(vectors @ away).max() < FLOOR  # at a right angle to every text
    assert queries.search(con, run, "xqzzy plumbus", away.astype(np.float32)).hits == []


def test_hits_say_in_words_why_they_are_there(store):
    found = queries.search(store.reader(), run_of(store), "ground zebra")
    assert found.hits and all("has 1 of 2 words" in hit.why for hit in found.hits)
    assert all("has the word" in hit.why for hit in queries.search(store.reader(), run_of(store), "ground").hits)


def test_texts_of_another_judge_that_fit_better_hide_none_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("core.queries.search")
    monkeypatch.setattr(module, "_DEPTH", 1)
    monkeypatch.setattr(module, "_CANDIDATES", 1)
    with open_for_writing(tmp_path) as writer:
        runs = [writer.begin_run({"n": judge}, {"images": "i", "judge": judge}) for judge in ("short", "long")]
        names = [f"{number}" for number in range(4)]
        writer.write("images", [{"image_id": name, "path": name} for name in names], fingerprint="i")
        for judge, said in (("short", "camel"), ("long", "camel beside grass, stones, water, trees")):
            rows = [{"image_id": name, "state": "ok", "description": said} for name in names]
            writer.write("judgements", rows, fingerprint=judge)
        writer.publish()
    con = Store(tmp_path).reader()
    assert [len(queries.search(con, run, "camel", limit=1).hits) for run in runs] == [1, 1]
