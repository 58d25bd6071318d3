"""Rows of the store: types, odd values and names, metadata columns, cells and what `samples` shows."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import queries
from core.errors import StoreError
from core.records import Failure, Judgement
from core.store import Store, open_for_writing
from tests.support.store_factory import image, make_store, prediction

TABLES = {"runs", "images", "metadata", "predictions", "attributions", "checks", "judgements", "embeddings", "failures"}


TABLES |= {"faithfulness", "tags", "slices", "findings", "deck", "run_names", "features", "strategies", "cues"}


COLUMNS = """run image_id path label prediction correct confidence margin label_probability cell score label_score
mistake score_entropy judge_state description justification weight attention_area attention_entropy
attention_border attention_x attention_y attention_islands attention_agreement causal_drop
causal_drop_random causal_draws brightness contrast saturation warmth sharpness colour aspect strategy detail cue map_x
map_y words_x words_y tags habitat night size"""


def test_samples_has_the_columns_of_the_design_and_every_metadata_column(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    names = [name for name, _ in queries.columns(store.reader())]
    assert names == COLUMNS.split()
    assert queries.metadata_columns(store.reader()) == [
        ("habitat", "VARCHAR"),
        ("night", "BOOLEAN"),
        ("size", "DOUBLE"),
    ]
    found = store.reader().execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert {row[0] for row in found} >= TABLES


def test_a_value_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        run = store.begin_run({}, {})
        wrong = [
            ("pictures", [{}], {"fingerprint": "f"}),
            ("images", [{"image_id": "x", "path": "x", "hue": "red"}], {"fingerprint": "f"}),
            ("images", [{"image_id": "x", "path": "x", "width": "wide"}], {"fingerprint": "f"}),
            ("embeddings", [{"image_id": "x", "vector": [1.0, 2.0]}], {"fingerprint": "f"}),
            ("judgements", [Judgement("x", "ok", None, distribution=(1.0,))], {"fingerprint": "f"}),
            ("images", [image("x")], {}),
            ("failures", [Failure("images", None, "x", "y")], {"run": "r-none"}),
        ]
        for table, rows, arguments in wrong:
            with pytest.raises(StoreError):
                store.write(table, rows, **arguments)  # type: ignore[arg-type]
        assert store.write("failures", [], run=run) is None
        assert not list(tmp_path.glob("shards/*/*"))


def test_nan_is_no_value(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        rows = [{"image_id": "x", "state": "ok", "score": math.nan, "score_entropy": math.inf}]
        path = store.write("judgements", rows, fingerprint="j")
        assert pq.read_table(path).to_pylist()[0]["score"] is None
        assert pq.read_table(path).to_pylist()[0]["score_entropy"] is None


HOSTILE = [
    "it's; DROP TABLE runs;--",
    "<script>alert(1)</script>",
    'a"b',
    "🐄 cow",
    "$1 ?",
    "bad\udcff\udcfebytes",
    "a\\b\n",
]


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with open_for_writing(store.folder) as writer:
        run = writer.begin_run({"x": HOSTILE[0]}, {"images": "i", "classifier": "c"}, class_names=HOSTILE)
        rows = [
            {"image_id": f"{n}", "path": name, "label": name, "metadata": {name: name}}
            for n, name in enumerate(HOSTILE)
        ]
        writer.write("images", rows, fingerprint="i")
        writer.write("predictions", [prediction(str(n), name) for n, name in enumerate(HOSTILE)], fingerprint="c")
        writer.write("failures", [Failure("images", None, HOSTILE[0], HOSTILE[1])], run=run)
        writer.publish()
    store.save_slice(HOSTILE[0], HOSTILE[1])
    con = store.reader()
    assert queries.run_counts(con, run).correct == len(HOSTILE)
    cleaned = [name.encode("utf-8", "replace").decode() for name in HOSTILE]
    assert {name for name, _ in queries.metadata_columns(con)} == set(cleaned)
    for n, name in enumerate(cleaned):
        picture = queries.sample(con, run, str(n))
        assert (picture.label, picture.columns[name]) == (name, name)
    assert [entry["label"] for entry in queries.pictures(con, run, label=HOSTILE[0])] == [HOSTILE[0]]
    assert [row["n"] for row in queries.per_class(con, run)] == [1] * len(HOSTILE)
    assert store.slices()[0]["name"] == HOSTILE[0]


def test_metadata_columns_are_typed_and_never_hide_a_column_of_samples(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        run = store.begin_run({}, {"images": "i"})
        first = {
            "Label": "x",
            "whole": 1,
            "real": 1,
            "flag": True,
            "mixed": 1,
            "Habitat": "a",
            "habitat": "b",
            "n": 5,
            "": 1,
        }
        second = {
            "Label": None,
            "whole": None,
            "real": 0.5,
            "flag": False,
            "mixed": "b",
            "huge": 10**30,
            "bin": math.nan,
        }
        store.write("images", [image("x", **first), image("y", **second)], fingerprint="i")
        store.publish()
        types = dict(queries.metadata_columns(store.reader()))
        assert types == {
            "meta_Label": "VARCHAR", "whole": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "mixed": "VARCHAR",
            "Habitat": "VARCHAR", "meta_habitat": "VARCHAR", "n": "BIGINT", "meta_": "BIGINT", "huge": "VARCHAR",
            "bin": "VARCHAR",
        }  # fmt: skip
        assert store.reader().execute("SELECT label, meta_Label, flag FROM samples ORDER BY path").fetchall() == [
            ("cow", "x", True),
            ("cow", None, False),
        ]
        assert queries.sample(store.reader(), run, "x").metadata["habitat"] == "b"


def test_metadata_called_as_a_field_of_a_sample_takes_nothing_from_the_picture(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        run = store.begin_run({"x": 1}, {"images": "i"}, class_names=[])
        store.write("images", [image("x", width="broad", map="of Spain", top=1)], fingerprint="i")
        store.publish()
        found = queries.sample(store.reader(), run, "x")
    assert (found.width, found.map, found.top) == (None, None, ())
    assert found.columns == found.metadata == {"width": "broad", "map": "of Spain", "top": 1}


def test_label_probability_follows_the_labels_of_the_run(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store:
        for images, label in (("i", "cow"), ("k", "camel")):
            store.begin_run({"images": images}, {"images": images, "classifier": "c"}, class_names=["cow", "camel"])
            store.write("images", [{"image_id": "x", "path": "x", "label": label}], fingerprint=images)
        store.write("predictions", [prediction("x")], fingerprint="c")
        store.publish()
        found = (
            store.reader().execute("SELECT label, correct, label_probability FROM samples ORDER BY label").fetchall()
        )
    assert [(row[0], row[1], round(row[2], 3)) for row in found] == [("camel", False, 0.1), ("cow", True, 0.9)]


def test_cells_exist_only_where_the_judge_gave_a_score(tmp_path: Path) -> None:
    store, run = make_store(tmp_path, rows=48)
    con = store.reader()
    assert con.execute("SELECT count(*) FROM samples WHERE (cell IS NULL) <> (judge_state <> 'ok')").fetchone() == (0,)
    wrong = "(score >= 2.5) <> (cell LIKE '%high') OR correct <> (cell LIKE 'correct%')"
    assert con.execute(f"SELECT count(*) FROM samples WHERE {wrong}").fetchone() == (0,)
    bare, other = make_store(tmp_path / "bare", rows=12, judged=False)
    assert bare.reader().execute("SELECT DISTINCT cell, judge_state, score FROM samples").fetchall() == [
        (None, None, None)
    ]
