"""Attacks on user SQL, in families: each is a query, or what looks like one, that must do no harm.

`{canary}` stands for a folder of files that must stay unread and unchanged, `{store}` for the store's.
"""
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

_FILES = ("{canary}/canary.csv", "{canary}/canary.json", "{canary}/canary.parquet", "{canary}/canary.txt")
_FILES += ("{canary}/canary.duckdb", "{canary}/*", "/etc/passwd", "/proc/self/environ", "{store}/CURRENT")
_FILES += ("file://{canary}/canary.csv", "https://example.org/x.csv", "s3://bucket/x.parquet", "/dev/stdin")
_READERS = ("read_csv", "read_csv_auto", "read_text", "read_blob", "read_json", "read_json_auto", "read_parquet")
_READERS += ("read_ndjson", "read_json_objects", "parquet_scan", "parquet_metadata", "parquet_schema", "sniff_csv")
_READERS += ("glob", "parquet_kv_metadata", "parquet_file_metadata", "read_ndjson_objects", "read_duckdb")
_HIDINGS = (
    "SELECT * FROM {0}", "FROM {0}", "SELECT (SELECT count(*) FROM {0})", "WITH a AS (FROM {0}) FROM a",
    "SELECT 1 UNION ALL SELECT 1 FROM {0}", "SELECT * FROM samples WHERE path IN (SELECT 1 FROM {0})",
    "SELECT * FROM samples s, LATERAL (SELECT * FROM {0}) t", "DESCRIBE FROM {0}", "SUMMARIZE FROM {0}",
    "EXPLAIN FROM {0}", "EXPLAIN ANALYZE SELECT * FROM {0}", "PIVOT (FROM {0}) ON column0", "UNPIVOT (FROM {0}) ON *",
    "SELECT * FROM samples ORDER BY (SELECT 1 FROM {0})", "SELECT list_transform([1], x -> (SELECT 1 FROM {0}))",
    "SELECT * FROM samples JOIN {0} ON true", "FROM (VALUES ((SELECT 1 FROM {0})))", "SELECT 1 LIMIT (SELECT 1 FROM {0})",
    "SELECT * FROM samples QUALIFY (SELECT true FROM {0})", "SELECT COLUMNS(*) FROM (FROM {0})",
    "WITH RECURSIVE t AS (SELECT 1 UNION ALL (SELECT 1 FROM {0})) FROM t", "FROM samples ASOF JOIN {0} ON 1 > 2",
    "SELECT CASE WHEN EXISTS (FROM {0}) THEN 1 END", "SELECT sum((SELECT 1 FROM {0})) OVER () FROM samples",
)  # fmt: skip
_CATALOG = ("duckdb_settings()", "duckdb_databases()", "duckdb_secrets()", "duckdb_logs()", "duckdb_functions()")
_CATALOG += (
    "duckdb_tables()",
    "duckdb_databases",
    "duckdb_columns",
    "information_schema.tables",
    "pg_catalog.pg_class",
)
_CATALOG += ("sqlite_master", "pragma_database_list", "pragma_version()", "pragma_database_size()", "store_info")
_CATALOG += ("loaded_shards", "duckdb_extensions()", "duckdb_temporary_files()", "duckdb_variables()", "pg_settings")
_CATALOG += ("system.main.duckdb_databases", "temp.main.x", "main.store_info", "pragma_storage_info('samples')")
_STATEMENTS = (
    "ATTACH '{canary}/canary.duckdb'", "ATTACH '{canary}/new.duckdb' AS n", "DETACH store", "USE memory",
    "COPY samples TO '{canary}/out.csv'", "COPY (SELECT 1) TO '{canary}/out.parquet' (FORMAT parquet)",
    "COPY samples FROM '{canary}/canary.csv'", "EXPORT DATABASE '{canary}/export'", "IMPORT DATABASE '{canary}'",
    "INSTALL httpfs", "LOAD httpfs", "LOAD '{canary}/canary.txt'", "FORCE INSTALL spatial FROM community",
    "SET memory_limit = '100GB'", "SET enable_external_access = true", "SET GLOBAL threads = 100", "RESET ALL",
    "SET temp_directory = '{canary}'", "SET home_directory = '{canary}'", "SET VARIABLE x = 1", "SET lock_configuration = 0",
    "PRAGMA database_list", "PRAGMA enable_profiling", "PRAGMA profiling_output='{canary}/p.json'", "PRAGMA version",
    "PRAGMA disable_optimizer", "PRAGMA show_tables", "CALL enable_logging()", "CALL pragma_version()",
    "CALL enable_logging(storage_path = '{canary}')", "CREATE TABLE t AS SELECT 1", "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1", "CREATE MACRO m(x) AS x", "CREATE SECRET (TYPE s3)", "CREATE SCHEMA s",
    "CREATE TYPE t AS ENUM ('a')", "CREATE SEQUENCE q", "CREATE INDEX i ON runs(run)", "DROP VIEW samples", "DROP TABLE runs",
    "ALTER TABLE runs ADD COLUMN x INT", "INSERT INTO runs VALUES (1)", "UPDATE runs SET run = 'x'", "DELETE FROM runs",
    "TRUNCATE runs", "MERGE INTO runs USING samples ON true WHEN MATCHED THEN DELETE", "BEGIN", "COMMIT", "ROLLBACK",
    "CHECKPOINT", "FORCE CHECKPOINT", "VACUUM", "ANALYZE", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p",
    "COMMENT ON TABLE runs IS 'x'", "SHOW DATABASES", "SHOW ALL SETTINGS", "SHOW VARIABLES", "UPDATE EXTENSIONS",
)  # fmt: skip
_CALLS = (
    "getenv('HOME')", "current_setting('temp_directory')", "write_log('x')", "sleep_ms(100000)", "pg_sleep(100)",
    "json_serialize_plan('SELECT * FROM duckdb_databases()')", "json_serialize_sql('SELECT 1')",
    "json_deserialize_sql('{{}}')", "nextval('x')", "currval('x')", "getvariable('x')", "current_query()",
    "parse_duckdb_log_message('x', 'y')", "stats(1)", "vector_type(1)", "txid_current()", "in_search_path('a', 'b')",
    "create_sort_key(1, 'ASC')", "pg_get_viewdef(1)", "has_table_privilege('samples', 'x')", "inet_server_addr()",
    "__internal_decompress_string('x')", "variant_normalize(1)", "st_geomfromwkb('x')", "current_connection_id()",
    "icu_sort_key('a', 'b')", "get_block_size('store')", "remap_struct(1, 2, 3, 4)", "no_such_function(1)", "icu_collate_de('a')",
)  # fmt: skip
_WAYS = (
    "SELECT {0}", "SELECT upper({0}::VARCHAR)", "SELECT * FROM samples WHERE label = {0}::VARCHAR", "SELECT list(({0}))",
    "SELECT main.{0}", "SELECT system.main.{0}", "SELECT list_transform([1], lambda x: {0})", "SELECT [({0}) FOR x IN [1]]",
    "WITH a AS (SELECT {0}) FROM a", "SELECT CASE WHEN true THEN {0} END", "SELECT {{'a': {0}}}", "EXPLAIN SELECT {0}",
    "PIVOT samples ON {0}", "SELECT count(*) FROM samples GROUP BY {0}", "SELECT 1 ORDER BY {0}", "VALUES ({0})",
)  # fmt: skip
_WRAPPED = (
    "FROM query('SELECT 1')", "FROM query('DROP TABLE runs')", "FROM query_table('duckdb_settings')",
    "FROM query_table(['runs', 'samples'])", "FROM json_execute_serialized_sql('{{}}')", "FROM which_secret('s3://x', 's3')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "FROM enable_logging(storage_path = '{canary}')",
    "FROM enable_profiling()", "FROM disable_logging()", "FROM truncate_duckdb_logs()", "FROM checkpoint()",
    "FROM force_checkpoint()", "FROM seq_scan('x')", "FROM arrow_scan(1, 2, 3)", "FROM pandas_scan(1)", "FROM test_all_types()",
    "FROM python_map_function()", "FROM histogram(duckdb_settings, name)", "FROM histogram('{canary}/canary.csv', a)",
    "FROM histogram_values(source := '{canary}/canary.csv', col_name := a)", "FROM histogram(samples, a, source := runs)",
    "FROM histogram((SELECT '/etc/passwd'), a)", "FROM histogram('sam' || 'ples', a)", "FROM summary((FROM runs))",
)  # fmt: skip
_SCOPES = (
    "SELECT * FROM (WITH {0} AS (SELECT 1) SELECT 1) x, {0}", "(WITH {0} AS (SELECT 1) FROM {0}) UNION ALL FROM {0}",
    "WITH a AS (FROM {0}), {0} AS (SELECT 1) FROM a", "WITH {0} AS (FROM {0}) FROM {0}",
    "WITH RECURSIVE {0} AS (FROM {0} UNION ALL FROM {0}) FROM {0}", "SELECT (WITH {0} AS (SELECT 1) FROM {0}), (FROM {0})",
    "SELECT * FROM samples WHERE 1 IN (WITH {0} AS (SELECT 1) FROM {0}) AND 1 IN (SELECT 1 FROM {0})",
    "WITH b AS (WITH {0} AS (SELECT 1) FROM {0}) SELECT * FROM b, {0}", "WITH {0} AS (SELECT 1) FROM main.{0}",
    "WITH a AS (SELECT 1) SELECT * FROM a {0}, {0}", "WITH RECURSIVE t AS (FROM {0} UNION ALL FROM t) FROM t",
)  # fmt: skip
_HIDDEN_NAMES = ("duckdb_databases", "duckdb_settings", "store_info", '"{canary}/canary.csv"', "sqlite_master")
_SEVERAL = ("SELECT 1; {0}", "{0}; SELECT 1", ";;{0}", "SELECT 1;\n--\n{0}", "SELECT 1/*;*/; {0}", "SELECT $$a$$; {0}")
_SEVERAL += ("SELECT ';'; {0} --'", "PIVOT samples ON label; {0}", "EXPLAIN SELECT 1; {0}", "SELECT 1;\u00a0{0}")
_PIVOTS = (
    "CREATE TYPE x AS ENUM ('a'); PIVOT samples ON label", "CREATE TABLE x AS SELECT 1; PIVOT samples ON label",
    "PIVOT samples ON label IN (SELECT content FROM read_text('{canary}/canary.txt'))", "PIVOT samples ON label; SELECT 1",
    "PIVOT '{canary}/canary.csv' ON a", "PIVOT duckdb_settings() ON name", "PIVOT samples ON getenv(label)",
    "PIVOT samples ON label USING count(*), max(getenv('HOME'))", "WITH p AS (PIVOT store_info ON version) FROM p",
    "PIVOT samples ON label IN ('the values that DuckDB will find'), habitat", "PIVOT samples ON label IN no_such_type; DROP x",
    "PIVOT samples ON (SELECT 1 FROM read_csv('x'))", "FROM (PIVOT read_csv('x') ON a), (PIVOT samples ON label)",
)  # fmt: skip
_STRANGE = (
    "SELECT 'a\0b'", "\0", "SELECT '\ud800'", "SELECT \udfff", "\ufeffDROP TABLE runs", "ＳＥＬＥＣＴ 1", "SELECT\u200b1;DROP TABLE runs",
    "SELECT 1 \u202e", "DR/**/OP TABLE runs", "/*!DROP TABLE runs*/", "-- SELECT 1\nDROP TABLE runs", "/* /* */ DROP TABLE runs",
    "SELECT 1 --\rDROP", "SELECT ?", "SELECT $1", "SELECT $name", "SELECT :name", "SELECT * FROM samples WHERE $$", "'", '"', "$$", "`",
    "SELECT U&'\\0000'", "SELECT E'\\xff'::BLOB::VARCHAR FROM read_text('x')", "", " ", ";", "--", "/*", "\\", "SELECT",
    "SELECT * FROM \"\"", 'SELECT * FROM ""."".""', "SELECT * FROM samples AS OF x", "{canary}/canary.csv", "FROM $$/etc/passwd$$",
    "FROM '{canary}/canary.csv'", 'FROM "{canary}/canary.csv"', "FROM '{canary}/canary.duckdb'.x", "FROM E'/etc/passwd'",
)  # fmt: skip
_DEEP = (
    "SELECT " + "(" * 5000 + "1" + ")" * 5000, "SELECT " + "1+" * 9000 + "1", "SELECT " + "NOT " * 4500 + "true",
    "SELECT " + "CASE WHEN true THEN " * 600 + "1" + " END" * 600, "SELECT " + "- " * 9000 + "1", "SELECT " + "[" * 6000,
    "SELECT 1" + " UNION ALL SELECT 1" * 1000, "FROM (" * 3000, "SELECT " + "x -> " * 3500 + "1", "SELECT 1" + "::INT" * 3500,
    "SELECT a" + ".a" * 9000, "SELECT 'x'" + ".upper()" * 2000, "WITH a AS (" * 1500 + "SELECT 1", "SELECT " + "~" * 15000 + "1",
    "SELECT 1" + " AND 1" * 3000, "SELECT 1" + " OR (1" * 140 + ")" * 140, "SELECT " + "EXISTS(SELECT " * 140 + "1" + ")" * 140,
    "SELECT " + "upper(" * 149 + "'x'" + ")" * 149, "SELECT " + "{{'a':" * 149 + "1" + "}}" * 149, "SELECT " + "9" * 19000,
    "SELECT '" + "x" * 19000 + "'", "SELECT '" + "x" * 30000 + "'", "SELECT 1e" + "9" * 5000, "SELECT " + "1," * 9000 + "1",
    "SELECT * FROM samples" + ", samples" * 1000, "SELECT * FROM samples" + " JOIN samples USING (path)" * 700,
    "SELECT CASE" + " WHEN 1 THEN 1" * 1200 + " END", "WITH " + ", ".join(f"a{n} AS (SELECT 1)" for n in range(800)) + " FROM a1",
    "WITH a0 AS (SELECT 1 x)" + "".join(f", a{n} AS (SELECT a.x FROM a{n - 1} a, a{n - 1} b)" for n in range(1, 40)) + " FROM a39",
    "SELECT INTERVAL '99999999999999999' YEAR", "SELECT 1 << 100000", "SELECT '[' || repeat('[', 18000) || ']'::JSON",
    "SELECT regexp_matches(repeat('a', 5000), '(a*)*b')", "SELECT regexp_matches('a', '" + "(" * 149 + "a" + ")" * 149 + "')",
    "SELECT regexp_matches('a', 'a{{1000}}{{1000}}')", "SELECT json_extract(repeat('[', 100000), '$[0]')",
)  # fmt: skip
_BOMBS = (
    "SELECT reservoir_quantile(x, 0.5, 100000000) FROM range(1000) t(x)", "SELECT repeat('x', 2000000000)",
    "SELECT list_aggregate(range(10), 'reservoir_quantile', 0.5, 1000000000)", "SELECT generate_series(1, 1000000000)",
    "SELECT sum(hash(x)) FROM range(100000000000) t(x)", "SELECT length(repeat('x', 700000000))",
    "SELECT repeat('x', 1000000) FROM samples a, samples b", "SELECT lpad('x', 2000000000, 'y')",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "WITH RECURSIVE t(x) AS (SELECT 'xx' UNION ALL SELECT x || x FROM t) SELECT max(length(x)) FROM t",
    "WITH RECURSIVE t(a, b) USING KEY (a) AS (SELECT 1, 2 UNION SELECT a, b FROM recurring.t) FROM t",
    "SELECT * FROM samples a, samples b, samples c, samples d ORDER BY random()", "SELECT list_resize([1], 2000000000, 0)",
    "SELECT list(a) FROM range(100000000) t(a)", "SELECT string_agg(a::VARCHAR) FROM range(100000000) t(a)",
    "SELECT a, count(*) FROM range(200000000) t(a) GROUP BY a", "SELECT DISTINCT md5(a::VARCHAR) FROM range(200000000) t(a)",
    "SELECT histogram(a) FROM range(100000000) t(a)", "SELECT quantile_cont(a, 0.5) FROM range(300000000) t(a)",
    "SELECT * FROM range(50000000) a(x) JOIN range(50000000) b(y) ON x = y ORDER BY hash(x)",
    "SELECT regexp_replace(repeat('a', 50000000), 'a', 'bbbbbbbbbb', 'g')", "SELECT to_json(range(100000000))",
    "SELECT array_agg(repeat('x', 100000)) FROM range(100000)", "SELECT format('{{:>2000000000}}', 'x')",
    "SELECT printf('%2000000000d', 1)", "SELECT repeat([1], 1000000000)", "SELECT repeat('ab'::BLOB, 1000000000)",
    "SELECT approx_quantile(a, 0.5) OVER (ORDER BY a) FROM range(10000000) t(a)", "SELECT factorial(100000000)",
    "SUMMARIZE SELECT * FROM range(1000000000)", "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    "PIVOT (SELECT a FROM range(1000000) t(a)) ON a USING count(*)", "SELECT bitstring('1', 2000000000)",
    "SELECT json_group_array(a) FROM range(100000000) t(a)", "SELECT unnest(string_split(repeat('a ', 100000000), ' '))",
    "SELECT sum(sha256(repeat('x', 10000000)).length()) FROM range(1000000)", "SELECT list_distinct(range(100000000))",
    "SELECT * FROM samples USING SAMPLE reservoir(1000000000 ROWS)", "FROM repeat('x', 10000000000) ORDER BY 1",
    "SELECT approx_top_k(a, 10000000) FROM range(10000000) t(a)", "SELECT max(a, 1000000) FROM range(10000000) t(a)",
    "SELECT equi_width_bins(0, 1000000000, 100000000, true)", "EXPLAIN ANALYZE SELECT sum(hash(x)) FROM range(100000000000) t(x)",
    "SELECT time_bucket(INTERVAL 1 SECOND, x) FROM range(TIMESTAMP '1900-01-01', TIMESTAMP '2100-01-01', INTERVAL 1 SECOND) t(x)",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """Attacks of one kind; `heavy` ones want time or memory and get little of both."""

    name: str
    attacks: tuple[str, ...]
    refused: bool = True
    heavy: bool = False


def _spread(ways: tuple[str, ...], things: tuple[str, ...], *, each: int) -> tuple[str, ...]:
    """Every thing in `each` of the ways, so that every way is taken too."""
    return tuple(
        ways[(index * each + step) % len(ways)].replace("{0}", thing)
        for index, thing in enumerate(things)
        for step in range(each)
    )


_READ = tuple(f"{reader}('{file}')" for reader, file in product(_READERS, _FILES[:6]))
_NAMED = tuple(name for file in _FILES for name in (f"'{file}'", f'"{file}"'))
FAMILIES = (
    Family("file readers", _spread(_HIDINGS, _READ, each=1)),
    Family("files named as tables", _spread(_HIDINGS, _NAMED, each=2)),
    Family("catalogs", _spread(_HIDINGS, _CATALOG, each=3)),
    Family("other statements", _STATEMENTS),
    Family("several statements", _spread(_SEVERAL, _STATEMENTS, each=1)),
    Family("explained statements", tuple(f"EXPLAIN {statement}" for statement in _STATEMENTS[::2])),
    Family("functions", _spread(_WAYS, _CALLS, each=3)),
    Family("SQL in SQL", _WRAPPED),
    Family("names out of scope", tuple(way.replace("{0}", name) for way, name in product(_SCOPES, _HIDDEN_NAMES))),
    Family("pivots", _PIVOTS),
    Family("strange characters", _STRANGE, refused=False),
    Family("deep and long", _DEEP, refused=False, heavy=True),
    Family("bombs and crashes", _BOMBS, refused=False, heavy=True),
)
