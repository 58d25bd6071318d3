"""Conditions as chips: from SQL to data and back, clicks, and that the SQL gives the rows that the conditions say."""

from __future__ import annotations

import random

import duckdb
import pytest

from core.sql import chips
from core.sql.conditions import Clause, Condition, Group, Query, Raw
from core.sql.gate import check
from core.sql.where import parse

RUN = "r-1"
WORDS = ("cow", "it's", 'a "b"', "x -- y", "AND", "(", "", "ü /* c", "100%", "null", "$$", "a;b", "é\nnew")
COLUMNS = ("label", "order", "Odd Name", 'q"uote', "size", "night", "tags")
ALL = "SELECT * FROM samples WHERE run = 'r-1'\nORDER BY size DESC"


def drawn_condition(rng: random.Random) -> Condition:
    no = rng.random() < 0.4
    kind = rng.choice(("text", "text", "number", "range", "compare", "null", "bool", "has"))
    if kind == "text":
        values = tuple(rng.sample(WORDS, rng.choice((1, 1, 2, 4))))
        return Condition(rng.choice(COLUMNS[:4]), "in", values, no)
    if kind == "has":
        return Condition("tags", "has", (rng.choice(WORDS),), no)
    if kind == "bool":
        return Condition("night", "in", (rng.random() < 0.5,), no)
    if kind == "null":
        return Condition(rng.choice(COLUMNS[:6]), "null", (), no)
    low = rng.choice((0, -3, 2, 0.1, -0.25, 1e-7, 2.5e10, 0.30000000000000004))
    if kind == "number":
        return Condition("size", "in", (low,), no)
    if kind == "range":
        return Condition("size", "between", (low, low + rng.choice((0, 1, 0.5))), no)
    return Condition("size", rng.choice(("<", "<=", ">", ">=")), (low,))


def drawn_clause(rng: random.Random, depth: int, above: str) -> Clause:
    if depth == 0 or rng.random() < 0.5:
        return drawn_condition(rng) if rng.random() < 0.85 else Raw(f"lower(label) = '{rng.randint(0, 9)}'")
    joiner = "OR" if above == "AND" else "AND"
    members = tuple(drawn_clause(rng, depth - 1, joiner) for _ in range(rng.randint(2, 3)))
    return Group(joiner, members, rng.random() < 0.3)  # type: ignore[arg-type]


def drawn_query(seed: int) -> Query:
    rng = random.Random(seed)
    clauses = [drawn_clause(rng, 2, "AND") for _ in range(rng.randint(0, 4))]
    head = rng.choice(("SELECT * FROM samples", "SELECT image_id, label -- all\nFROM samples", "FROM samples"))
    tail = rng.choice(("", "ORDER BY size DESC, label"))
    return Query("", head, (), tail).having(*clauses)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute(
        'CREATE TABLE samples (image_id VARCHAR, run VARCHAR, label VARCHAR, "order" VARCHAR, "Odd Name" VARCHAR, '
        '"q""uote" VARCHAR, size DOUBLE, night BOOLEAN, tags VARCHAR[])'
    )
    rng = random.Random(0)
    for number in range(200):
        texts = [rng.choice((*WORDS, None)) for _ in range(4)]
        size = rng.choice((None, 0, 0.1, -0.25, -3, 1, 2, 2.5, 0.30000000000000004))
        tags = rng.sample(WORDS, rng.randint(0, 3))
        made.execute(
            "INSERT INTO samples VALUES (?, 'r-1', ?, ?, ?, ?, ?, ?, ?)",
            [str(number), *texts, size, rng.choice((True, False, None)), tags],
        )
    return made


@pytest.fixture(scope="module")
def everything(con) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = con.execute("SELECT * FROM samples").to_arrow_table().to_pylist()
    return rows


def truth(clause: Clause, row: dict[str, object]) -> bool | None:
    """What a clause says of a row, in the three values of SQL."""
    found: bool | None
    if isinstance(clause, Raw):
        label = row["label"]
        found = None if label is None else str(label).lower() == clause.text[-2]
    elif isinstance(clause, Group):
        said = [truth(member, row) for member in clause.members]
        decisive = clause.joiner == "OR"
        found = decisive if decisive in said else None if None in said else not decisive
    else:
        value = row[clause.column]
        if clause.operator == "null":
            found = value is None
        elif value is None:
            found = None
        elif clause.operator == "has":
            found = clause.values[0] in value  # type: ignore[operator]
        elif clause.operator == "in":
            found = value in clause.values
        elif clause.operator == "between":
            found = clause.values[0] <= value <= clause.values[1]  # type: ignore[operator]
        else:
            low = clause.values[0]
            less, more = value < low, value > low  # type: ignore[operator]
            found = {"<": less, "<=": not more, ">": more, ">=": not less}[clause.operator]
    return not found if clause.negated and found is not None else found


@pytest.mark.parametrize("seed", range(200))
def test_conditions_become_sql_and_come_back_the_same_and_give_the_same_rows(seed: int, con, everything) -> None:
    query = drawn_query(seed)
    read = parse(query.text, RUN)
    assert read.clauses == query.clauses, query.text
    assert read.text == query.text
    assert parse(query.having(*read.clauses).text, RUN).clauses == query.clauses
    check(query.text)
    wanted = {row["image_id"] for row in everything if all(truth(item, row) for item in query.clauses)}
    given = con.execute(query.text).to_arrow_table().column("image_id").to_pylist()
    assert set(given) == wanted


@pytest.mark.parametrize(
    "where",
    [
        "NOT correct",
        "lower(label) = 'a' AND size BETWEEN 1 AND 2 AND CASE WHEN a AND b THEN true ELSE false END",
        "label = 'a' -- the first\n  AND size > 1 -- the second",
        "(label = 'a' OR (size > 1 AND lower(label) = 'x'))",
        "label LIKE 'a%' OR correct",
        "samples.label = 'a'",
        "size > (SELECT avg(size) FROM samples WHERE label = 'a' OR correct) AND correct",
        "size BETWEEN 1 AND 2 OR NOT (a AND b)",
        "/* all */ correct /* of it */",
    ],
)
def test_a_text_stays_as_it_was_written_when_a_condition_is_added_and_taken_away(where: str) -> None:
    text = f"SELECT * FROM samples\nWHERE {where}\nORDER BY size DESC, label"
    query = parse(text, RUN)
    assert query.text == text
    more = chips.toggled(query, "prediction", "cow")
    assert "prediction = 'cow'" in more.text
    less = chips.removed(more, len(more.clauses) - 1)
    assert less.clauses == query.clauses
    assert [item.sql for item in parse(less.text, RUN).clauses] == [item.sql for item in query.clauses]
    pieces = [piece.strip() for piece in where.split(" AND ")]
    assert all(piece in more.text for piece in pieces)


def test_three_clicks_on_a_value_want_it_shun_it_and_forget_it() -> None:
    query = parse(ALL, RUN)
    once = chips.toggled(query, "label", "cow")
    assert once.text == "SELECT * FROM samples\nWHERE run = 'r-1'\n  AND label = 'cow'\nORDER BY size DESC"
    assert chips.state_of(once, "LABEL", "cow") == "in"
    twice = chips.toggled(parse(once.text, RUN), "label", "cow")
    assert "AND label <> 'cow'" in twice.text and chips.state_of(twice, "label", "cow") == "out"
    thrice = chips.toggled(parse(twice.text, RUN), "label", "cow")
    assert thrice.clauses == query.clauses and chips.state_of(thrice, "label", "cow") == ""


def test_values_of_one_column_are_alternatives_and_not_known_is_a_value() -> None:
    query = chips.toggled(chips.toggled(parse(ALL, RUN), "label", "cow"), "label", "horse")
    assert "label IN ('cow', 'horse')" in query.text
    query = chips.toggled(query, "label", "cow")
    assert "label = 'horse'" in query.text and "label <> 'cow'" in query.text
    query = chips.toggled(parse(ALL, RUN), "colour", None)
    assert "colour IS NULL" in query.text
    assert "colour IS NOT NULL" in chips.toggled(query, "colour", None).text


def test_true_and_false_are_told_from_one_and_nought() -> None:
    query = chips.toggled(parse(ALL, RUN), "night", True)
    assert query.text.count("AND night") == 1 and chips.state_of(query, "night", 1) == ""
    assert "NOT night" in chips.toggled(query, "night", True).text
    assert "night = false" in chips.toggled(parse(ALL, RUN), "night", False).text


def test_a_range_takes_the_place_of_the_one_before_it_and_can_be_negated() -> None:
    query = chips.ranged(chips.ranged(parse(ALL, RUN), "size", 0, 1), "size", 0.5, 2)
    assert query.text.count("BETWEEN") == 1 and chips.range_of(query, "size") == (0.5, 2)
    again = chips.ranged(query, "size", 0.5, 2)
    assert "size NOT BETWEEN" in again.text
    assert chips.ranged(again, "size", 0.5, 2).clauses == parse(ALL, RUN).clauses
    other = chips.negated(query, 1)
    assert "size NOT BETWEEN 0.5 AND 2" in other.text and chips.range_of(other, "size") is None
    assert parse(chips.negated(other, 1).text, RUN).clauses == query.clauses


def test_two_conditions_become_alternatives_and_are_parted_again() -> None:
    query = chips.toggled(chips.toggled(parse(ALL, RUN), "label", "cow"), "night", True)
    joined = chips.either(query, 1, 2)
    assert "AND (label = 'cow' OR night)" in joined.text
    again = parse(joined.text, RUN)
    assert again.clauses == joined.clauses
    assert "NOT (label = 'cow' OR night)" in chips.negated(again, 1).text
    assert chips.both(again, 1).clauses == query.clauses


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM samples ORDER BY size LIMIT 5",
        "SELECT image_id FROM samples GROUP BY image_id HAVING count(*) > 0",
        "WITH s AS (SELECT * FROM samples) SELECT * FROM s;",
        "SELECT * FROM samples a JOIN samples b USING (image_id)",
        "SELECT DISTINCT image_id FROM samples",
        "SELECT * FROM samples USING SAMPLE 3",
        "SELECT * FROM samples UNION ALL SELECT * FROM samples",
    ],
)
def test_a_query_that_is_more_than_conditions_stays_whole_and_a_click_asks_within_it(text: str, con) -> None:
    query = parse(text, RUN)
    assert query.text == text
    within = chips.toggled(query, "label", "cow").text
    assert text.rstrip(";") in within
    check(within)
    found = con.execute(within.replace("ORDER BY confidence DESC", "")).to_arrow_table().column("label").to_pylist()
    assert set(found) <= {"cow"}


@pytest.mark.parametrize(
    "text", ["", "SELEC", "SELECT 1; SELECT 2", "WHERE", "SELECT * FROM samples WHERE", "'", "(" * 99]
)
def test_a_text_that_is_no_query_is_left_alone(text: str) -> None:
    assert parse(text, RUN).text == text


def test_a_condition_with_a_value_that_sql_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Condition("size", "in", (float("nan"),))
    with pytest.raises(ValueError, match="between"):
        Condition("size", "between", (1,))
