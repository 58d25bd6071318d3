"""Names and values as SQL text, against DuckDB's own parser and its whole list of keywords."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from core.store.quoting import identifier, literal

ODD = ["a b", 'a "b"', "Größe", "ordner", "x1", "_", "1st", "ORDER", "Habitat", "a;b", "--", "'"]


def test_a_column_of_any_name_can_be_asked_for() -> None:
    con = duckdb.connect()
    keywords = [str(row[0]) for row in con.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()]
    assert {"order", "group", "left", "year"} < set(keywords)
    for name in [*keywords, *ODD]:
        quoted, column = '"' + name.replace('"', '""') + '"', identifier(name)
        assert column in (name, quoted)
        con.execute(f"CREATE OR REPLACE TABLE t AS SELECT 1 AS {quoted}")
        asked = f"SELECT {column}, count(*) FROM t WHERE {column} = 1 GROUP BY {column} ORDER BY {column}"
        assert con.execute(asked).fetchall() == [(1, 1)], name


def test_only_names_that_need_it_are_quoted() -> None:
    assert identifier("habitat") == "habitat" and identifier("time_of_day") == "time_of_day"
    assert identifier("order") == '"order"' and identifier("") == '""'


@pytest.mark.parametrize(
    "value", ["", "cow", 'o\'hara "q" 🐄', "''", "\\'", "a\nb", True, False, 0, -3, 2.5, 1e-9, 10**15]
)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    assert duckdb.connect().execute(f"SELECT {literal(value)}").fetchall() == [(value,)]


def test_values_of_numpy_are_written_like_pythons_and_a_nul_is_left_out() -> None:
    assert [literal(value) for value in (np.True_, np.int64(3), np.float32(0.5))] == ["true", "3", "0.5"]
    assert literal("a\0b") == "'ab'"
