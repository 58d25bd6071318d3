"""Named reads and search, against counts made by hand from the same store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core import queries
from core.errors import QueryError
from core.store import Store
from tests.support.store_factory import make_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_store(tmp_path_factory.mktemp("queries"), rows=96)


@pytest.fixture
def con(made: tuple[Store, str]) -> queries.Connection:
    return made[0].reader()


@pytest.fixture
def run(made: tuple[Store, str]) -> str:
    return made[1]


def all_rows(con: queries.Connection, run: str) -> list[dict]:
    return queries.pictures(con, run, limit=1000, order="path", descending=False)


def test_the_judges_states_add_up_to_the_pictures(con: queries.Connection, run: str) -> None:
    counts = queries.run_counts(con, run)
    assert counts.pictures == 96 == counts.judged + counts.abstained + counts.judge_failed + counts.not_judged
    assert (counts.abstained, counts.judge_failed, counts.failures) == (4, 4, 5)
    assert counts.correct == sum(row["correct"] for row in all_rows(con, run))
    some = [row["image_id"] for row in all_rows(con, run)[:10]]
    assert queries.run_counts(con, run, ids=some).pictures == 10
    assert queries.run_counts(con, run, ids=[]).pictures == 0


def test_an_unknown_run_or_picture_is_said(con: queries.Connection, run: str) -> None:
    with pytest.raises(QueryError, match="no run r-none"):
        queries.run_counts(con, "r-none")
    with pytest.raises(QueryError, match="no picture x"):
        queries.sample(con, run, "x")
    with pytest.raises(QueryError, match="no column"):
        queries.pictures(con, run, order="path; DROP TABLE runs")


def test_a_run_is_found_by_name_or_is_the_newest_and_an_unknown_one_names_those_there_are(
    con: queries.Connection, run: str
) -> None:
    assert queries.run(con).name == queries.run(con, run).name == run
    with pytest.raises(QueryError, match=f"no run r-none in this store; there are {run}"):
        queries.run(con, "r-none")


def test_matrix_confusion_classes_and_histogram_agree_with_the_rows(con: queries.Connection, run: str) -> None:
    rows = all_rows(con, run)
    matrix = queries.matrix(con, run)
    assert [entry["cell"] for entry in matrix] == ["correct_high", "correct_low", "wrong_high", "wrong_low", None]
    assert {entry["cell"]: entry["n"] for entry in matrix} == {
        cell: sum(row["cell"] == cell for row in rows) for cell in [entry["cell"] for entry in matrix]
    }
    confusion = queries.confusion(con, run)
    assert sum(entry["n"] for entry in confusion) == 96
    assert sum(entry["n"] for entry in confusion if entry["label"] == entry["prediction"]) == sum(
        r["correct"] for r in rows
    )
    for entry in queries.per_class(con, run):
        mine = [row for row in rows if row["label"] == entry["label"]]
        scores = [row["score"] for row in mine if row["score"] is not None]
        assert (entry["n"], entry["judged"]) == (len(mine), len(scores))
        assert entry["mean_score"] == pytest.approx(np.mean(scores))
        assert entry["high"] == sum(score >= 2.5 for score in scores)
        wrong = [row["prediction"] for row in mine if not row["correct"]]
        assert entry["confused_n"] == max((wrong.count(name) for name in wrong), default=0)
    bins = queries.histogram(con, run, bins=5)
    assert [(entry["low"], entry["high"]) for entry in bins] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    cells = [entry["cell"] for entry in matrix if entry["cell"] is not None]
    assert {cell: sum(entry[cell] for entry in bins) for cell in cells} == {
        entry["cell"]: entry["n"] for entry in matrix if entry["cell"] is not None
    }


def test_pages_of_pictures_do_not_overlap_and_conditions_join(con: queries.Connection, run: str) -> None:
    pages = [queries.pictures(con, run, order="label", limit=40, offset=start) for start in (0, 40, 80)]
    ids = [row["image_id"] for page in pages for row in page]
    assert len(ids) == len(set(ids)) == 96
    for row in queries.pictures(con, run, label="cow", correct=False):
        assert row["label"] == "cow" and row["prediction"] != "cow"
    high = queries.pictures(con, run, cell="correct_high", order="score", descending=False)
    assert [row["score"] for row in high] == sorted(row["score"] for row in high)


def test_a_sample_holds_everything_about_its_picture(con: queries.Connection, run: str) -> None:
    row = next(row for row in all_rows(con, run) if row["judge_state"] == "ok")
    picture = queries.sample(con, run, row["image_id"])
    everything = {**picture.columns, **vars(picture)}
    assert {name: everything[name] for name in row} == row
    assert picture.thumbnail[:4] == b"RIFF" and (picture.width, picture.height) == (320, 240)
    assert picture.map.shape == (7, 7) and picture.map.max() == 1
    assert picture.top[0] == (row["prediction"], pytest.approx(row["confidence"]))
    assert sum(picture.distribution) == pytest.approx(1, abs=1e-5)
    assert set(picture.metadata) == {"habitat", "night", "size"}
    failed = next(row for row in all_rows(con, run) if row["judge_state"] == "failed")
    assert queries.sample(con, run, failed["image_id"]).judge_reason == "the judge's reply was empty"


def test_two_classes_of_one_name_keep_their_places(tmp_path: Path) -> None:
    store, name = make_store(tmp_path / "store", rows=40, classes=("crane", "ox", "crane"))
    rows = queries.label_rows(store.reader(), name)
    assert rows.names == ("crane", "ox", "crane") and rows.classes == 3


def test_thumbnails_and_maps_come_for_the_pictures_asked_for(con: queries.Connection, run: str) -> None:
    ids = [row["image_id"] for row in all_rows(con, run)][:5]
    assert set(queries.thumbnails(con, [*ids, "x"])) == set(ids)
    found = queries.maps(con, run, [*ids, "x"])
    assert set(found) == set(ids)
    everything = queries.maps(con, run, [row["image_id"] for row in all_rows(con, run) if row["label"] == "cow"])
    means = queries.mean_maps(con, run)
    np.testing.assert_allclose(means.by_label["cow"], np.mean(list(everything.values()), axis=0), atol=1e-5)
    every = queries.maps(con, run, [row["image_id"] for row in all_rows(con, run)])
    np.testing.assert_allclose(means.whole, np.mean(list(every.values()), axis=0), atol=1e-5)
    assert set(means.by_label) <= {row["label"] for row in all_rows(con, run)}
    assert queries.thumbnails(con, []) == {}


def test_neighbours_are_the_nearest_by_exact_cosine(con: queries.Connection, run: str) -> None:
    vectors = dict(con.execute("SELECT image_id, vector FROM embeddings").fetchall())
    image_id = next(iter(vectors))
    others = (other for other in vectors if other != image_id)
    near = sorted(others, key=lambda other: -np.dot(vectors[image_id], vectors[other]))
    found = queries.neighbours(con, run, image_id, 5)
    assert [row["image_id"] for row in found] == near[:5]
    assert all(row["correct"] is False for row in queries.neighbours(con, run, image_id, 3, correct=False))
    silent = next(row for row in all_rows(con, run) if row["judge_state"] != "ok")
    assert queries.neighbours(con, run, silent["image_id"]) == []


def test_a_slice_and_the_rest_make_the_whole(con: queries.Connection, run: str) -> None:
    rows = all_rows(con, run)
    ids = [row["image_id"] for row in rows if row["habitat"] == "snow"]
    stats = queries.slice_stats(con, run, [*ids, "of another run"])
    assert (stats.inside.n, stats.rest.n) == (len(ids), 96 - len(ids))
    assert stats.inside.correct == sum(row["correct"] for row in rows if row["habitat"] == "snow")
    assert stats.inside.scores.size + stats.rest.scores.size == 88
    assert stats.inside.weights.shape == stats.inside.scores.shape
    empty = queries.slice_stats(con, run, [])
    assert empty.inside.n == 0 == empty.inside.scores.size


def test_search_by_words_finds_the_words_and_marks_their_forms(con: queries.Connection, run: str) -> None:
    found = queries.search(con, run, "heads of camels")
    assert found.words == ["camel", "head"]
    assert found.hits and "camel" in f"{found.hits[0].description} {found.hits[0].justification}"
    assert all(hit.bm25 is not None and hit.similarity is None for hit in found.hits)
    assert queries.search(con, run, "zebra").hits == []
    assert queries.search(con, run, "'; DROP TABLE runs; --").hits == []
    with pytest.raises(QueryError, match="nothing to look for"):
        queries.search(con, run, "  ")


def test_search_by_meaning_adds_what_the_words_do_not_hold(con: queries.Connection, run: str) -> None:
    vectors = dict(con.execute("SELECT image_id, vector FROM embeddings").fetchall())
    image_id = next(iter(vectors))
    found = queries.search(con, run, "zebra", np.asarray(vectors[image_id], dtype=np.float32))
    assert found.hits[0].image_id == image_id and found.hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert found.hits[0].relevance == pytest.approx(1 / 61)
    with pytest.raises(QueryError, match="shape"):
        queries.search(con, run, "zebra", np.zeros(3, dtype=np.float32))


def test_search_within_a_slice_looks_after_narrowing(con: queries.Connection, run: str) -> None:
    vectors = dict(con.execute("SELECT image_id, vector FROM embeddings").fetchall())
    words = "SELECT image_id FROM samples WHERE contains(description, 'ground') ORDER BY image_id DESC LIMIT 3"
    ids = [row[0] for row in con.execute(words).fetchall()]
    found = queries.search(
        con, run, "ground", np.asarray(vectors[next(iter(vectors))], dtype=np.float32), where_ids=ids
    )
    assert set(found.image_ids) == {image_id for hit in found.hits for image_id in hit.same}
    assert found.image_ids and set(found.image_ids) <= set(ids)
    assert queries.search(con, run, "ground", where_ids=[]).hits == []


def test_a_run_without_a_judge_has_no_text_but_all_reads_work(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=12, judged=False)
    con = store.reader()
    assert queries.search(con, run, "cow", np.ones(384, dtype=np.float32)).hits == []
    assert [entry["n"] for entry in queries.matrix(con, run)] == [0, 0, 0, 0, 12]
    assert queries.run_counts(con, run).not_judged == 12
    assert queries.per_class(con, run)[0]["mean_score"] is None
    assert sum(entry["correct_high"] + entry["wrong_low"] for entry in queries.histogram(con, run)) == 0
    assert queries.sample(con, run, queries.pictures(con, run)[0]["image_id"]).distribution is None


def test_two_runs_do_not_see_each_others_pictures(tmp_path: Path) -> None:
    store, first = make_store(tmp_path, rows=12, seed=1)
    _, second = make_store(tmp_path, rows=24, seed=2)
    con = store.reader()
    assert [queries.run_counts(con, run).pictures for run in (first, second)] == [12, 24]
    both = {hit.image_id for hit in queries.search(con, first, "visible").hits}
    assert both and both <= {row["image_id"] for row in queries.pictures(con, first)}


def test_of_many_classes_those_of_the_largest_confusions_are_chosen() -> None:
    counts = {(f"c{place}", f"c{place}"): 50 for place in range(100)}
    counts |= {(f"c{place}", f"c{(place * 7 + 3) % 100}"): 1 for place in range(100)}
    counts |= {("c5", "c6"): 9, ("c6", "c5"): 3, ("c40", "c41"): 8}
    assert queries.most_confused(counts, 4) == ["c40", "c41", "c5", "c6"]
    assert len(queries.most_confused(counts, 24)) == 24 and queries.most_confused({}, 3) == []
