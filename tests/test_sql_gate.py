"""What the gate lets through, and with which words it refuses the rest."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from core.sql.functions import FUNCTIONS, TABLE_FUNCTIONS, TABLE_MACROS, TABLES, refused
from core.sql.gate import MAX_CHARACTERS, SqlError, check
from core.store.extensions import load_fts

SCHEMA = (Path(__file__).parent.parent / "core" / "schema.sql").read_text(encoding="utf-8")

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
    ("EXPLAIN ANALYZE DELETE FROM runs", "not DELETE"),
    ("EXPLAIN COPY samples TO '/tmp/x.csv'", "not COPY"),
    ("EXPLAIN SELECT * FROM read_csv('x')", "read_csv"),
    ("EXPLAIN EXPLAIN SELECT 1", "syntax error|not EXPLAIN"),
    ("EXPLAIN SELECT 1; DROP TABLE runs", "statements|not "),
    ("EXPLAIN PIVOT samples ON label USING count(*)", "name its values"),
    ("PREPARE x AS SELECT 1", "not PREPARE"),
    ("VACUUM", "not VACUUM"),
    ("CHECKPOINT", "not "),
    ("PIVOT duckdb_settings() ON name", "duckdb_settings"),
    ("PIVOT '/etc/passwd.csv' ON label", "no table /etc/passwd.csv"),
    ("PIVOT samples ON getenv(label)", r"getenv\(\)"),
    ("PIVOT samples ON label IN (SELECT content FROM read_text('/etc/passwd'))", "name its values"),
    ("PIVOT samples ON label IN ('the values that DuckDB will find'), cell USING count(*)", "name its values"),
    ("PIVOT samples ON label; DROP TABLE runs", "name its values"),
    ("CREATE TYPE x AS ENUM ('a'); PIVOT samples ON label", "name its values"),
    ('CREATE TABLE "pivot" AS SELECT 1; SELECT 2', "name its values"),
    ("CREATE TEMP TABLE t AS SELECT 1; SELECT 2", "not CREATE"),
    ("SELECT * FROM (WITH duckdb_databases AS (SELECT 1) SELECT 1) x, duckdb_databases", "duckdb_databases"),
    ("WITH sample_rows AS (SELECT 1 FROM store_info) FROM sample_rows", "no table store_info"),
    ("SELECT * FROM (WITH store_info AS (SELECT 1) SELECT 1) x, store_info", "no table store_info"),
    ("(WITH store_info AS (SELECT 1) FROM store_info) UNION ALL FROM store_info", "no table store_info"),
    ("SELECT (WITH store_info AS (SELECT 1) FROM store_info), (SELECT max(version) FROM store_info)", "no table"),
    ("WITH a AS (FROM store_info), store_info AS (SELECT 1) FROM a", "no table store_info"),
    ("WITH store_info AS (FROM store_info) FROM store_info", "no table store_info"),
    ("WITH RECURSIVE store_info AS (FROM store_info UNION ALL FROM store_info) FROM store_info", "no table"),
    ("WITH store_info AS (SELECT 1) FROM main.store_info", "no table main.store_info"),
    ("WITH t AS (SELECT 1) FROM recurring.t", "no table recurring.t"),
    ("SELECT json_serialize_plan('SELECT * FROM duckdb_databases()')", "json_serialize_plan"),
    ("SELECT ('SELECT 1').json_serialize_plan()", "json_serialize_plan"),
    ("SELECT json_deserialize_sql('{}')", "json_deserialize_sql"),
    ("FROM histogram(duckdb_settings, name)", "histogram.. needs a table"),
    ("FROM histogram('/etc/passwd', content)", "histogram.. needs a table"),
    ("FROM histogram(col_name := x, source := '/etc/passwd')", "histogram.. needs a table"),
    ("FROM histogram(samples, x, source := store_info)", "histogram.. needs a table"),
    ("FROM main.read_csv('x')", "read_csv"),
    ("SELECT label.getenv() FROM samples", "getenv"),
    ("SELECT sum(x) OVER () FROM duckdb_columns", "duckdb_columns"),
    ("SELECT no_such_function(1)", "no_such_function"),
    ("FROM '/etc/passwd.csv'", "no table /etc/passwd.csv"),
    ('SELECT * FROM "https://example.org/x.parquet"', "no table https"),
    ('WITH "/etc/passwd" AS (SELECT 1) SELECT * FROM "/etc/passwd"', "cannot be called /etc/passwd"),
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
    ("SHOW DATABASES", "SHOW TABLES"),
    ("FROM (SHOW DATABASES)", "SHOW TABLES"),
    ("SHOW TABLES FROM temp", "SHOW TABLES"),
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


def test_every_table_of_the_schema_can_be_read_or_is_bookkeeping() -> None:
    made = set(re.findall(r"^CREATE (?:OR REPLACE )?(?:TABLE|VIEW) (?:loaded\.)?(\w+)", SCHEMA, re.MULTILINE))
    bookkeeping = {"store_info", "loaded_shards", "superseded", "metadata_names", "chosen", "checked"}
    assert made - TABLES == bookkeeping | {"documents", "texts", "postings"}
    assert made | {"samples"} >= TABLES


def test_every_function_of_this_duckdb_is_allowed_or_refused_on_purpose() -> None:
    con = duckdb.connect()
    load_fts(con)
    rows = con.execute("SELECT DISTINCT lower(function_name), function_type FROM duckdb_functions()").fetchall()
    tables = {name for name, kind in rows if kind in ("table", "table_macro")}
    others = {name for name, kind in rows if kind in ("scalar", "aggregate", "macro")}
    assert len(others) > 700 and {name for name in others if (name in FUNCTIONS) == refused(name)} == set()
    assert others >= FUNCTIONS - TABLE_FUNCTIONS and tables >= TABLE_FUNCTIONS | TABLE_MACROS


def test_what_runs_is_the_text_itself_but_for_a_list_of_tables() -> None:
    for sql in ("FROM samples -- x", "PIVOT samples ON label USING count(*)", "DESCRIBE samples"):
        assert check(sql) == sql
    shown = check("SHOW TABLES")
    assert shown.startswith("SELECT") and "judge_card" in shown and "store_info" not in shown
    assert check("EXPLAIN\nSELECT 1").split() == ["EXPLAIN", "SELECT", "1"]


def test_a_refusal_in_what_is_explained_keeps_its_place() -> None:
    with pytest.raises(SqlError) as caught:
        check("EXPLAIN SELECT *\nFROM samples, read_csv('x')")
    assert (caught.value.line, caught.value.column) == (2, 15)
