"""User SQL end to end: real worker processes on a real store."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psutil
import pytest

from core import queries
from core.errors import QueryError, RequestError, StoreError
from core.sql import pool as user_sql
from core.sql.pool import run_sql
from core.sql.worker import fetch
from core.store import Store, open_for_writing
from tests.support.analysts_queries import QUERIES
from tests.support.patience import grace
from tests.support.store_factory import make_store

pytestmark = pytest.mark.slow
EXPENSIVE = [
    ("SELECT sum(x) FROM generate_series(1, 100000000000) t(x)", "stopped after"),
    ("SELECT generate_series(1, 1000000000)", "memory"),
    ("SELECT repeat('x', 2000000000)", "memory"),
    ("SELECT length(repeat(description, 100000000)) FROM samples", "memory|process"),
    ("SELECT repeat('x', 1000000) FROM samples a, samples b", "memory|larger|stopped"),
    ("WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t", "stopped|memory"),
    (
        "WITH RECURSIVE t(x) AS (SELECT 'xx' UNION ALL SELECT x || x FROM t) SELECT max(length(x)) FROM t",
        "memory|stopped",
    ),
    (
        "SELECT * FROM samples a, samples b, samples c, samples d, samples e ORDER BY random()",
        "stopped|memory|disk|temp",
    ),
    ("SELECT lpad('x', 2000000000, 'y')", "memory|stopped"),
    ("SELECT list_aggregate(range(200000000), 'sum')", "memory"),
]


@contextmanager
def watched() -> Iterator[list[int]]:
    """Memory of the largest SQL worker, looked at from outside every few milliseconds.

    A child that has not yet become one still shares the pages of this process, and is left out.
    """
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            for child in psutil.Process().children():
                try:
                    if "core.sql.worker" in child.cmdline():
                        most[0] = max(most[0], child.memory_info().rss)
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("sql"), rows=60)[0]


def test_a_query_gives_its_rows_and_says_when_some_are_missing(store: Store) -> None:
    result = run_sql(store, "SELECT image_id, label FROM samples ORDER BY image_id", max_rows=10)
    assert result.columns == ["image_id", "label"] and len(result.rows) == 10 and result.truncated
    assert run_sql(store, "SELECT 1 AS a, 2 AS a").rows == [{"a": 1, "a_2": 2}]
    everything = run_sql(store, "SELECT * FROM samples", max_rows=60)
    assert everything.table.num_rows == 60 and not everything.truncated
    assert run_sql(store, "SELECT * FROM samples WHERE false").rows == []


def test_the_first_rows_of_a_sorted_table_fit_where_the_whole_does_not(tmp_path: Path) -> None:
    con = duckdb.connect(tmp_path / "t.duckdb", config={"memory_limit": "150MB", "threads": 2})
    con.execute("CREATE TABLE t AS SELECT hash(i) AS x, repeat(i::VARCHAR, 40) AS words FROM range(600_000) t(i)")
    con.execute("SET temp_directory = ''")
    with pytest.raises(duckdb.OutOfMemoryException):
        con.execute("SELECT * FROM t ORDER BY x").fetchmany(10)
    table, truncated = fetch(con, "SELECT * FROM t ORDER BY x -- first", max_rows=queries.MOST_ROWS)
    assert truncated and table.num_rows == queries.MOST_ROWS
    least = con.execute("SELECT list(x ORDER BY x) FROM (FROM t SELECT x ORDER BY x LIMIT 4000)").fetchall()[0][0]
    assert table["x"].to_pylist() == least


def test_values_of_every_kind_arrive(store: Store) -> None:
    row = run_sql(
        store,
        """SELECT '{"a": 1}'::JSON AS j, 1::HUGEINT AS h, DATE '2020-01-01' AS d, [1, 2] AS l, {'x': 1} AS s,
        NULL AS n, INTERVAL 3 DAY AS i, uuid() AS u, '🐄' AS cow""",
    ).rows[0]
    unnamed = "SELECT row(1, 'a') AS r, [row(1, 2)] AS l, MAP {'k': row(1, row(2, 3))} AS m, [[1, 2]]::INT[2][1] AS f"
    assert run_sql(store, unnamed).rows == [
        {"r": {"": 1, "_2": "a"}, "l": [{"": 1, "_2": 2}], "m": [("k", {"": 1, "_2": {"": 2, "_2": 3}})], "f": [[1, 2]]}
    ]
    assert (row["l"], row["s"], row["n"], row["cow"]) == ([1, 2], {"x": 1}, None, "🐄")


@pytest.mark.parametrize(("sql", "words"), EXPENSIVE)
def test_an_expensive_query_ends_in_words_in_time_and_within_its_memory(store: Store, sql: str, words: str) -> None:
    run_sql(store, "SELECT 1", memory="300MB")  # a process stands ready
    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    with watched() as most, pytest.raises(QueryError, match=words):
        run_sql(store, sql, seconds=1.0, memory="300MB")
    assert time.monotonic() - started < 1.0 + grace()
    assert 50e6 < most[0] <= 300 * 2**20
    assert psutil.Process().memory_info().rss - before < 200e6
    assert run_sql(store, "SELECT count(*) AS n FROM samples").rows == [{"n": 60}]


def test_errors_are_words_with_a_place_and_a_hint(store: Store) -> None:
    with pytest.raises(queries.SqlError, match='Line 3, column 7: Referenced column "labl" not found') as caught:
        run_sql(store, "SELECT *\nFROM samples\nWHERE labl = 'cow'")
    assert (caught.value.line, caught.value.column) == (3, 7) and "label" in str(caught.value)
    assert "Traceback" not in str(caught.value) and "Binder Error" not in str(caught.value)
    with pytest.raises(queries.SqlError, match="(?i)convert"):
        run_sql(store, "SELECT label::INTEGER FROM samples")
    with pytest.raises(RequestError, match="memory must be a size"):
        run_sql(store, "SELECT 1", memory="lots")


def test_the_gate_stands_before_the_worker_too(store: Store, tmp_path: Path) -> None:
    for sql in (
        f"COPY samples TO '{tmp_path}/x.csv'",
        f"SELECT * FROM enable_logging(storage_path = '{tmp_path}')",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_text('/etc/passwd')",
    ):
        with pytest.raises(QueryError):
            run_sql(store, sql)
    assert not list(tmp_path.iterdir())


def test_a_locked_connection_reaches_no_file_even_without_the_gate(store: Store, tmp_path: Path) -> None:
    import duckdb

    from core.sql.worker import open_locked

    (tmp_path / "secret.csv").write_text("a\n1\n")
    con = open_locked(store.current_path(), memory=500 << 20, temporary=tmp_path / "t")
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM '{tmp_path}/secret.csv'",
        f"COPY samples TO '{tmp_path}/out.csv'",
        f"ATTACH '{tmp_path}/new.db'",
        f"SELECT * FROM glob('{tmp_path}/*')",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "DELETE FROM images",
        "DROP VIEW samples",
        "INSTALL httpfs",
    ):
        with pytest.raises(duckdb.Error):
            con.execute(sql).fetchall()
    con.close()
    assert [path.name for path in tmp_path.iterdir() if path.name != "t"] == ["secret.csv"]


def test_a_worker_knows_nothing_of_our_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    user_sql.end_workers()
    run_sql(store, "SELECT 1")
    environment = psutil.Process(user_sql._idle[0].process.pid).environ()
    assert "A_SECRET" not in environment and "HOME" not in environment


def test_the_next_query_reads_the_next_generation(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    assert run_sql(store, "SELECT count(*) AS n FROM samples").rows == [{"n": 6}]
    make_store(tmp_path, rows=12, seed=1)
    assert run_sql(store, "SELECT count(*) AS n FROM samples").rows == [{"n": 18}]


def test_several_people_at_once_get_their_own_answers(store: Store) -> None:
    answers: dict[int, object] = {}

    def ask(n: int) -> None:
        answers[n] = run_sql(store, f"SELECT {n} AS n", seconds=20).rows[0]["n"]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: n for n in range(6)}


def test_a_killed_worker_is_replaced_and_no_folder_stays(store: Store) -> None:
    run_sql(store, "SELECT 1")
    worker = user_sql._idle[-1]
    os.kill(worker.process.pid, 9)
    worker.process.wait()
    try:
        run_sql(store, "SELECT 1")
    except QueryError as error:
        assert "process" in str(error)
    assert run_sql(store, "SELECT 1 AS one").rows == [{"one": 1}]
    user_sql.end_workers()
    assert not Path(worker.folder).exists()


def test_without_a_store_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="whylook demo"):
        run_sql(Store(tmp_path / "none"), "SELECT 1")


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("analysts")
    make_store(folder, rows=60)
    return make_store(folder, rows=24, seed=3)[0]


def test_there_are_enough_analysts_queries() -> None:
    assert len(set(QUERIES)) == len(QUERIES) >= 200


@pytest.mark.parametrize("start", range(0, len(QUERIES), 20))
def test_every_query_that_analysts_ask_runs(two_runs: Store, start: int) -> None:
    failed = {}
    for sql in QUERIES[start : start + 20]:
        try:
            shown = str(run_sql(two_runs, sql).rows)
        except QueryError as error:
            failed[sql] = str(error)
        else:
            assert str(two_runs.folder) not in shown
    assert not failed


def test_a_pivot_finds_its_values_itself_and_leaves_nothing_behind(two_runs: Store) -> None:
    asked = "PIVOT samples ON habitat USING count(*) GROUP BY label ORDER BY label"
    found = run_sql(two_runs, asked)
    assert found.columns == ["label", "desert", "meadow", "snow"] and len(found.rows) == 3
    named = asked.replace("habitat", "habitat IN ('desert', 'meadow', 'snow')")
    assert run_sql(two_runs, named).rows == found.rows
    assert run_sql(two_runs, asked).rows == found.rows


def test_the_list_of_tables_names_what_can_be_read_and_no_more(two_runs: Store) -> None:
    names = [row["name"] for row in run_sql(two_runs, "SHOW TABLES").rows]
    assert "judge_card" in names and "faithfulness" in names and "store_info" not in names
    for name in names:
        run_sql(two_runs, f"FROM {name}")


CRASH = "SELECT reservoir_quantile(x, 0.5, 100000000) FROM range(1000) t(x)"


def test_a_query_that_breaks_duckdb_costs_only_itself_and_is_answered_in_one_line(store: Store) -> None:
    run_sql(store, "SELECT 1")
    for _ in range(2):
        with pytest.raises(QueryError, match="DuckDB crashed on this query") as caught:
            run_sql(store, CRASH)
        told = str(caught.value)
        assert "\n" not in told and "/" not in told and "Stack" not in told and "0x" not in told
        assert run_sql(store, "SELECT count(*) AS n FROM samples").rows == [{"n": 60}]


def test_no_message_names_a_place_on_this_machine(store: Store) -> None:
    crowded = (
        "SELECT * FROM samples a, samples b, samples c, samples d ORDER BY hash(a.path || b.path || c.path || d.path)"
    )
    for sql in (crowded, "SELECT error('/etc/passwd')", CRASH, "SELECT * FROM nothing", "SELECT nothing FROM samples"):
        with pytest.raises(QueryError) as caught:
            run_sql(store, sql, seconds=2.0, memory="300MB")
        told = str(caught.value).replace("/etc/passwd", "")
        assert str(store.folder) not in told and "/tmp" not in told and "\n" not in told


def test_a_worker_that_has_grown_is_ended_rather_than_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    user_sql.end_workers()
    run_sql(store, "SELECT 1")
    first = user_sql._idle[-1].process.pid
    run_sql(store, "SELECT 2")
    assert user_sql._idle[-1].process.pid == first
    monkeypatch.setattr(user_sql, "_GROWN", 1)
    user_sql._idle[-1].base = 1
    run_sql(store, "SELECT 3")
    assert first not in [worker.process.pid for worker in user_sql._idle]


def test_queries_that_wait_for_each_other_are_answered_in_time(store: Store) -> None:
    user_sql.end_workers()
    took: list[float] = []

    def ask() -> None:
        started = time.monotonic()
        with pytest.raises(QueryError):
            run_sql(store, "SELECT sum(hash(x)) FROM range(100000000000) t(x)", seconds=4.0)
        took.append(time.monotonic() - started)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 8 and max(took) < 4.0 + grace()


def test_queries_go_on_while_a_run_publishes(tmp_path: Path) -> None:
    store, _ = make_store(tmp_path, rows=6)
    done = threading.Event()

    published: list[int] = []

    def publish() -> None:
        with open_for_writing(tmp_path) as writer:
            while not done.is_set():
                published.append(writer.publish().generation)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        asked, until = 0, time.monotonic() + 60.0
        while (asked < 8 or len(published) < 3) and publisher.is_alive() and time.monotonic() < until:
            assert run_sql(store, "SELECT count(*) AS n FROM samples").rows == [{"n": 6}]
            asked += 1
    finally:
        alive = publisher.is_alive()
        done.set()
        publisher.join()
    assert alive and asked >= 8 and len(published) > 2


def test_a_generation_that_is_removed_before_it_is_opened_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = make_store(tmp_path, rows=6)
    user_sql.end_workers()
    ask, removed = user_sql._Worker.ask, []

    def ask_late(self: object, request: dict[str, object], **options: float) -> object:
        if "path" in request and not removed:
            with open_for_writing(tmp_path) as writer:
                writer.publish()
            removed.append(Path(str(request["path"])))
            removed[0].unlink()
        return ask(self, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(user_sql._Worker, "ask", ask_late)
    assert run_sql(store, "SELECT count(*) AS n FROM samples", seconds=30).rows == [{"n": 6}] and removed


def test_a_worker_that_starts_slowly_is_one_line_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "python"
    lines = (
        "import os, sys, time",
        "time.sleep(4)",
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])",
    )
    slow.write_text("\n".join((f"#!{sys.executable}", *lines)))
    slow.chmod(0o700)
    user_sql.end_workers()
    started = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(QueryError, match="did not start within 1 s; try again"):
        patch.setattr(sys, "executable", str(slow))
        run_sql(store, "SELECT 1", seconds=1.0)
    assert time.monotonic() - started < 1.0 + grace()
    assert run_sql(store, "SELECT 1 AS n", seconds=60).rows == [{"n": 1}]  # the one that was started meanwhile
