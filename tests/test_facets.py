"""Facets: every column of a run counted for a slice and the rest, as DuckDB counts it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from core.columns import BY_NAME
from core.queries import run_sql, tag_groups, text_columns, text_groups
from core.queries.facets import GROUPS, NOT_SHOWN, CodedColumn, CodedRun, coded_run, facets, groups, round_edges
from core.store.quoting import identifier, literal
from pages._shared import ids_of
from tests.support.store_factory import make_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    return make_store(tmp_path_factory.mktemp("facets") / "store", rows=200, classes=("cow", "it's", "horse"))


def test_every_column_of_samples_has_its_group_or_is_left_out() -> None:
    placed = [name for names in GROUPS.values() for name in names]
    assert sorted([*placed, *NOT_SHOWN]) == sorted(BY_NAME)


def test_bars_and_bins_count_what_duckdb_counts(made) -> None:
    store, run = made
    con = store.reader()
    ids = [row[0] for row in con.execute("SELECT image_id FROM samples WHERE NOT correct").fetchall()]
    found = facets(coded_run(con, run), ids)
    assert {"label", "prediction", "correct", "confidence", "habitat", "night", "size", "score"} <= {
        facet.column for facet in found
    }
    for facet in found:
        column = identifier(facet.column)
        assert sum(bar.inside for bar in facet.bars) == len(ids)
        assert sum(bar.rest for bar in facet.bars) == 200 - len(ids)
        for place, bar in enumerate(facet.bars):
            if place < len(facet.edges) - 1:
                low, high = facet.edges[place : place + 2]
                last = "<=" if place == len(facet.edges) - 2 else "<"
                where = f"{column} >= {low!r} AND {column} {last} {high!r}"
            else:
                where = f"{column} IS NULL" if bar.value is None else f"{column} = {literal(bar.value)}"
            counted = con.execute(
                f"SELECT count(*) FILTER (NOT correct), count(*) FROM samples WHERE {where}"
            ).fetchall()[0]
            assert counted == (bar.inside, bar.inside + bar.rest), (facet.column, bar)


def test_a_slice_of_every_picture_has_no_rest_and_an_empty_one_nothing_inside(made) -> None:
    store, run = made
    coded = coded_run(store.reader(), run)
    everything = facets(coded, coded.image_ids.to_pylist())
    assert all(bar.rest == 0 for facet in everything for bar in facet.bars)
    assert all(bar.inside == 0 for facet in facets(coded, ["elsewhere"]) for bar in facet.bars)


def test_as_many_pictures_of_another_run_are_none_of_this_one(made) -> None:
    store, run = made
    coded = coded_run(store.reader(), run)
    for facet in facets(coded, [f"x{place}" for place in range(len(coded.image_ids))]):
        assert sum(bar.inside for bar in facet.bars) == 0


def test_ids_are_taken_from_any_column_of_that_name(made) -> None:
    store, run = made
    every = "SELECT image_id, run FROM samples ORDER BY image_id"
    ids = [row["image_id"] for row in run_sql(store, every).rows]
    assert list(ids_of(run_sql(store, every), run)) == ids and ids_of(run_sql(store, every), "another") == ()
    assert ids_of(run_sql(store, "SELECT image_id, list(run) AS run FROM samples GROUP BY image_id"), run) == ()
    assert ids_of(run_sql(store, "SELECT NULL AS image_id, NULL AS run"), run) == ()
    assert len(ids_of(run_sql(store, "SELECT [image_id] AS image_id FROM samples"), run)) == len(ids)
    assert len(ids_of(run_sql(store, "SELECT {'a': image_id} AS image_id, run FROM samples"), run)) == len(ids)


def test_values_keep_their_places_whatever_the_slice(made) -> None:
    store, run = made
    coded = coded_run(store.reader(), run)
    ids = coded.image_ids.to_pylist()
    orders = [
        {facet.column: [bar.value for bar in facet.bars] for facet in facets(coded, part)}
        for part in (ids, ids[:9], [])
    ]
    assert orders[0] == orders[1] == orders[2]


def test_a_run_without_pictures_has_no_facets(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=24, judged=False)
    assert facets(coded_run(store.reader(), "no such run"), []) == []
    assert "score" not in {facet.column for facet in facets(coded_run(store.reader(), run), [])}


@pytest.mark.parametrize("seed", range(40))
def test_edges_are_short_decimals_around_all_numbers(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scale = 10.0 ** generator.integers(-6, 9)
    low = float(generator.normal() * scale)
    high = low + float(generator.random() * scale) + 1e-9
    edges = round_edges(low, high)
    assert edges[0] <= low and edges[-1] >= high and 1 <= len(edges) - 1 <= 22
    assert len(set(edges)) == len(edges)
    whole = round_edges(int(low), int(high) + 30, whole=True)
    assert all(edge == int(edge) for edge in whole) and whole[-1] > int(high) + 30


def test_a_hundred_thousand_pictures_are_counted_in_time() -> None:
    generator = np.random.default_rng(0)
    ids = pa.array([f"{number:032x}" for number in range(100_000)])
    codes = [generator.integers(-1, 20, len(ids)).astype(np.int16) for _ in range(30)]
    edges = tuple(float(edge) for edge in range(21))
    coded = CodedRun(
        ids, tuple(CodedColumn(f"c{place}", "Answer", (), edges, each) for place, each in enumerate(codes))
    )
    slice_ids = ids.to_pylist()[::3]
    began = time.perf_counter()
    assert len(facets(coded, slice_ids)) == 30
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("column", ["label", "night", "confidence", "score", "size"])
def test_groups_of_a_slice_count_its_pictures_and_its_right_answers(made, column: str) -> None:
    store, run = made
    con = store.reader()
    ids = [row[0] for row in con.execute("SELECT image_id FROM samples WHERE habitat = 'meadow'").fetchall()]
    found = groups(coded_run(con, run), ids, column)
    right = con.execute("SELECT count(*) FROM samples WHERE habitat = 'meadow' AND correct").fetchall()[0][0]
    assert sum(row.inside for row in found) == sum(row.labelled for row in found) == len(ids)
    assert sum(row.right for row in found) == right and all(row.whole >= row.inside > 0 for row in found)
    if column == "label":
        known = dict(con.execute("SELECT label, count(*) FROM samples GROUP BY 1").fetchall())
        assert {row.words: row.whole for row in found} == known


def test_accuracy_is_drawn_only_where_there_are_right_and_wrong_answers(made) -> None:
    from pages._slice_charts import rates

    store, run = made
    con = store.reader()
    coded = coded_run(con, run)
    for where, title in (
        ("true", "accuracy"),
        ("NOT correct", "share of the group that is wrong and in this slice"),
        ("correct AND night", "share of the group that is right and in this slice"),
    ):
        ids = [row[0] for row in con.execute(f"SELECT image_id FROM samples WHERE {where}").fetchall()]
        found = groups(coded, ids, "label")
        said, rows = rates(found, len(ids), whole=where == "true")
        assert said == title
        errors = dict(con.execute(f"SELECT label, avg(({where})::INT) FROM samples GROUP BY 1").fetchall())
        if where != "true":
            assert {row["value"]: pytest.approx(row["rate"]) for row in rows} == errors


def test_accuracy_is_not_drawn_where_the_answer_chooses(made) -> None:
    from pages._slice_charts import rates

    store, run = made
    con = store.reader()
    ids = [row[0] for row in con.execute("SELECT image_id FROM samples WHERE cell <> 'correct_low'").fetchall()]
    found = groups(coded_run(con, run), ids, "habitat")
    assert 0 < sum(row.right for row in found) < len(ids)
    title, rows = rates(found, len(ids), whole=False, by_answer=True)
    assert title == "share of the group in this slice"
    taken = dict(
        con.execute("SELECT habitat, avg((cell <> 'correct_low' IS TRUE)::INT) FROM samples GROUP BY 1").fetchall()
    )
    assert {row["value"]: pytest.approx(row["rate"]) for row in rows} == taken


def test_texts_of_many_values_and_tags_are_groups_too(made) -> None:
    store, run = made
    con = store.reader()
    coded = coded_run(con, run)
    ids = [row[0] for row in con.execute("SELECT image_id FROM samples WHERE night ORDER BY path").fetchall()]
    assert set(text_columns(con, run, [column.column for column in coded.columns])) == {"description", "justification"}
    found = text_groups(con, run, "description", ids=ids, most=3)
    asked = """SELECT coalesce(description, 'not known'), count(*), count(*) FILTER (night),
        count(correct) FILTER (night), count(*) FILTER (night AND correct) FROM samples GROUP BY description
        HAVING count(*) FILTER (night) > 0 ORDER BY description IS NULL, 3 DESC, description LIMIT 3"""
    assert [dataclasses.astuple(row) for row in found] == con.execute(asked).fetchall()
    rest = con.execute("SELECT image_id FROM samples WHERE NOT night").fetchall()[0][0]
    tags = {ids[0]: ["dark", "far"], ids[1]: ["dark"], rest: ["far"]}
    named = {row.words: (row.whole, row.inside) for row in tag_groups(con, run, tags, ids=ids, most=9)}
    n = con.execute("SELECT count(*) FROM samples").fetchall()[0][0]
    assert named == {"dark": (2, 2), "far": (2, 1), "no tag": (n - 3, len(ids) - 2)}
