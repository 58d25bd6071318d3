"""What the gate lets through, and with which words it refuses the rest."""

from __future__ import annotations

import pytest

from core.sql_gate import MAX_CHARACTERS, SqlError, check

ALLOWED = [
    "SELECT * FROM samples",
    "FROM samples",
    "SELECT * FROM samples;",
    "SELECT * FROM main.samples -- all of it\n",
    "SELECT label, count(*) FILTER (NOT correct) FROM samples GROUP BY ALL HAVING count(*) > 3 ORDER BY 2 DESC",
    "WITH wrong AS (FROM samples WHERE NOT correct) SELECT w.label, width FROM wrong w JOIN images USING (image_id)",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
    "SELECT * FROM samples WHERE description LIKE '%; DROP TABLE runs; --%'",
    "SELECT unnest(probabilities) FROM predictions",
    "SELECT * FROM samples, LATERAL (SELECT 1)",
    "SELECT * FROM range(3)",
    "SELECT * FROM runs, json_each(settings)",
    "DESCRIBE samples",
    "SUMMARIZE samples",
    "SELECT COLUMNS('attention_.*') FROM samples USING SAMPLE 10",
    "SELECT list_transform([1, 2], lambda x: x + 1)",
    "VALUES (1), (2)",
    "SELECT label FROM samples QUALIFY row_number() OVER (PARTITION BY label ORDER BY confidence) = 1",
    "UNPIVOT samples ON confidence, margin",
]

REFUSED = [
    ("", "no query yet"),
    ("-- nothing", "only a comment"),
    ("SELECT 1; SELECT 2", "2 statements"),
    ("SELECT 1; DROP TABLE samples", "2 statements"),
    ("DROP TABLE samples", "not DROP"),
    ("INSERT INTO runs VALUES (1)", "not INSERT"),
    ("UPDATE runs SET run = 'x'", "not UPDATE"),
    ("DELETE FROM runs", "not DELETE"),
    ("CREATE TEMP TABLE t AS SELECT 1", "not CREATE"),
    ("COPY samples TO '/tmp/x.csv'", "not COPY"),
    ("COPY (SELECT 1) TO '/tmp/x.csv'", "not COPY"),
    ("EXPORT DATABASE '/tmp/x'", "not "),
    ("ATTACH '/tmp/x.db'", "not ATTACH"),
    ("SET memory_limit = '100GB'", "not SET"),
    ("RESET memory_limit", "not "),
    ("PRAGMA database_list", "only one SELECT"),
    ("PRAGMA enable_profiling", "not PRAGMA"),
    ("CALL enable_logging()", "not CALL"),
    ("LOAD httpfs", "not LOAD"),
    ("INSTALL httpfs", "not LOAD"),
    ("EXPLAIN ANALYZE SELECT 1", "not EXPLAIN"),
    ("PREPARE x AS SELECT 1", "not PREPARE"),
    ("VACUUM", "not VACUUM"),
    ("CHECKPOINT", "not "),
    ("PIVOT samples ON label USING count(*)", "values must be named"),
    ("FROM '/etc/passwd.csv'", "no table /etc/passwd.csv"),
    ('SELECT * FROM "https://example.org/x.parquet"', "no table https"),
    ('WITH "/etc/passwd" AS (SELECT 1) SELECT * FROM "/etc/passwd"', "no table /etc/passwd"),
    ("SELECT (SELECT content FROM read_text('/etc/passwd'))", r"read_text\(\) cannot be read"),
    ("SELECT * FROM samples WHERE label IN (SELECT content FROM read_text('x'))", "read_text"),
    ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
    ("SELECT * FROM read_blob('x')", "read_blob"),
    ("SELECT * FROM glob('/*')", "glob"),
    ("SELECT * FROM sniff_csv('x')", "sniff_csv"),
    ("SELECT * FROM parquet_metadata('x')", "parquet_metadata"),
    ("SELECT * FROM enable_logging(storage_path = '/tmp/x')", "enable_logging"),
    ("FROM query('DROP TABLE runs')", "query"),
    ("FROM query_table('runs')", "query_table"),
    ("FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "json_execute_serialized_sql"),
    ("WITH a AS (FROM query('SELECT 1')) FROM a", "query"),
    ("SELECT * FROM samples UNION ALL FROM query('SELECT 1')", "query"),
    ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
    ("SELECT * FROM duckdb_secrets()", "duckdb_secrets"),
    ("SELECT * FROM information_schema.tables", "information_schema.tables"),
    ("SELECT * FROM pg_catalog.pg_class", "pg_catalog.pg_class"),
    ("SELECT * FROM other.main.samples", "other.main.samples"),
    ("SHOW DATABASES", "DESCRIBE and SUMMARIZE"),
    ("SELECT getenv('HOME')", r"getenv\(\)"),
    ("SELECT GetEnv('HOME')", r"getenv\(\)"),
    ("SELECT main.current_setting('temp_directory')", "current_setting"),
    ("SELECT write_log('x')", "write_log"),
    ("SELECT sleep_ms(1000000)", "sleep_ms"),
    ("SELECT nextval('x')", "nextval"),
    ("SELECT a.b.c(1)", r"c\(\)"),
    ("SELECT * FROM samples WHERE label = ?", "parameters"),
    ("SELECT $name", "parameters"),
    ("SELECT 'a\0b'", "no text"),
    ("SELECT " + "1, " * MAX_CHARACTERS + "1", "characters"),
    ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "nested more than"),
    ("SELECT " + "1+" * 9000 + "1", "nested too deeply"),
    ("SELECT " + "NOT " * 4500 + "true", "nested too deeply"),
    ("SELECT " + "CASE WHEN true THEN " * 600 + "1" + " END" * 600, "nested"),
    ("SELECT '\udcff'", "no text"),
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_a_select_over_the_store_passes(sql: str) -> None:
    check(sql)


@pytest.mark.parametrize(("sql", "words"), REFUSED, ids=[f"{n}-{sql[:40]!r}" for n, (sql, _) in enumerate(REFUSED)])
def test_anything_else_is_refused_in_words(sql: str, words: str) -> None:
    with pytest.raises(SqlError, match=words):
        check(sql)


def test_a_refusal_says_where() -> None:
    with pytest.raises(SqlError) as caught:
        check("SELECT *\nFROM samples, read_csv('x')")
    assert (caught.value.line, caught.value.column) == (2, 15)
    assert str(caught.value).startswith("Line 2, column 15: read_csv() cannot be read")


def test_letters_of_several_bytes_count_as_one_column() -> None:
    with pytest.raises(SqlError) as caught:
        check("SELECT '🐄é', getenv('x')")
    assert caught.value.column == 14


def test_a_syntax_error_says_where_even_in_a_long_line() -> None:
    with pytest.raises(SqlError) as caught:
        check("SELECT 1\nWHERE x = 2 frm y z")
    assert caught.value.line == 2 and "syntax error" in caught.value.words
    long = (
        "SELECT * FROM samples WHERE label = 'cow' AND " + " AND ".join(f"a{n} = {n}" for n in range(80)) + " frm y z"
    )
    with pytest.raises(SqlError) as caught:
        check(long)
    assert caught.value.column is not None and long[caught.value.column - 1 :].startswith(("frm", "y", "z"))
