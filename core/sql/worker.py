"""The process in which user SQL runs: it can be killed, and it cannot take more memory, time or disk than it was given.

Knows: the pipe protocol, limits, one read-only generation. Does not know: the app, the store's folder, who asks.
Run as `python -P -m core.sql.worker BYTES`; messages are length-prefixed JSON headers, replies may carry Arrow data.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, NotRequired, TypedDict

import duckdb
import psutil
import pyarrow as pa

from core.sql.functions import MACROS
from core.sql.gate import SqlError, check, translate
from core.store.extensions import load_fts
from core.store.generations import Hold
from core.store.quoting import identifier, literal
from core.store.reading import look_for_shards

MAX_RESULT_BYTES = 64 << 20
ORPHAN_SECONDS = 2.0
SORTED_ALONE = 5000
"""Up to so many rows DuckDB 1.5 takes the first of a sorted query without sorting all of it."""
DUCKDB_SHARE = 0.6
"""Of the memory that a worker may take beside what it starts with; the rest is for what DuckDB does not count."""
UNTOUCHED = 32 << 20
"""Bytes mapped at the start that may yet be touched: libraries and stacks."""
_LENGTH = struct.Struct(">QQ")
_FATAL = re.compile("has been invalidated|INTERNAL Error|FATAL Error|Stack Trace")
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\"]+/)+[^\s'\"]*")


class Query(TypedDict):
    """A request for rows: the text, the seconds it may take, and how many rows at most."""

    sql: str
    seconds: float
    max_rows: int
    tags: NotRequired[list[tuple[str, str, str]]]
    """Image id, tag and time of what people said since the generation was published, where that changed."""


class Reply(TypedDict, total=False):
    """What came of a query: whether more rows were left, or words on what failed, and where in the text."""

    truncated: bool
    error: str
    line: int | None
    column: int | None
    broken: bool


def write_message(pipe: BinaryIO, header: Mapping[str, object], payload: bytes | memoryview = b"") -> None:
    """Sends a JSON header and bytes."""
    data = json.dumps(header).encode()
    pipe.write(_LENGTH.pack(len(data), len(payload)) + data)
    pipe.write(payload)  # by itself: joined it would be in memory twice
    pipe.flush()


def read_message(pipe: BinaryIO) -> tuple[Any, bytes]:
    """Receives what write_message sent.

    Raises:
        EOFError: the other side is gone.
    """
    sizes = _read_exactly(pipe, _LENGTH.size)
    header_size, payload_size = _LENGTH.unpack(sizes)
    header = json.loads(_read_exactly(pipe, header_size))
    return header, _read_exactly(pipe, payload_size)


def _read_exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def open_locked(path: Path, *, memory: int, temporary: Path) -> duckdb.DuckDBPyConnection:
    """A generation, read-only, with everything shut that reaches outside it; the settings cannot be changed back.

    `memory` is DuckDB's share, in bytes.
    """
    con = duckdb.connect(
        str(path),
        read_only=True,
        config={
            "memory_limit": f"{memory >> 10}KiB",
            "threads": 2,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "allow_community_extensions": False,
        },
    )
    con.execute(f"SET temp_directory = {literal(temporary)}")
    con.execute("SET max_temp_directory_size = '256MB'")
    load_fts(con)
    shards = look_for_shards(con, path.parent) / "shards"
    con.execute(f"SET allowed_directories = ['shards/', {literal(shards)}]")  # and the gate names no file
    for name, meaning in MACROS.items():
        con.execute(f"CREATE TEMP MACRO {name} {meaning}")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def put_tags(con: duckdb.DuckDBPyConnection, rows: Sequence[tuple[str, str, str]]) -> None:
    """Puts the tags of now in place of those of the generation: table `tags`, and column `tags` of `samples`.

    Where they are the same nothing is put in place: DuckDB reads a table faster than a join with one.
    """
    database = literal_name(con)
    con.execute("DROP VIEW IF EXISTS temp.samples")
    con.execute("DROP TABLE IF EXISTS temp.tags")
    if _are_published(con, database, rows):
        return
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    con.execute(
        """CREATE TEMP TABLE tags AS SELECT unnest(?::VARCHAR[]) AS image_id, unnest(?::VARCHAR[]) AS tag,
        unnest(?::TIMESTAMP[]) AS saved""",
        columns,
    )
    described = con.execute(f"DESCRIBE {database}.main.samples").fetchall()
    had = any(row[0] == "tags" for row in described)
    shown = "s.* REPLACE (coalesce(t.tags, []) AS tags)" if had else "s.*, coalesce(t.tags, []) AS tags"
    con.execute(
        f"""CREATE TEMP VIEW samples AS SELECT {shown} FROM {database}.main.samples s LEFT JOIN
        (SELECT image_id, list(tag ORDER BY tag) AS tags FROM temp.tags GROUP BY image_id) t USING (image_id)"""
    )


def _are_published(con: duckdb.DuckDBPyConnection, database: str, rows: Sequence[tuple[str, str, str]]) -> bool:
    try:
        known = con.execute(f"SELECT image_id, tag, saved FROM {database}.main.tags").fetchall()
    except duckdb.CatalogException:  # an older generation
        return False
    return {(row[0], row[1], row[2].isoformat()) for row in known} == {tuple(row) for row in rows}


def literal_name(con: duckdb.DuckDBPyConnection) -> str:
    """The name of the open database, as SQL."""
    return identifier(str(con.execute("SELECT current_database()").fetchall()[0][0]))


def fetch(con: duckdb.DuckDBPyConnection, sql: str, *, max_rows: int) -> tuple[pa.Table, bool]:
    """At most `max_rows` rows and MAX_RESULT_BYTES of a result, and whether there was more."""
    reader = _first(con, sql, max_rows + 1).to_arrow_reader(min(max_rows + 1, 2048))
    batches: list[pa.RecordBatch] = []
    rows, size = 0, 0
    schema = pa.schema(_distinct(reader.schema))
    for batch in reader:
        left = max_rows - rows
        size += batch.nbytes
        if size > MAX_RESULT_BYTES:
            if not rows:
                raise SqlError(
                    f"The result is larger than {MAX_RESULT_BYTES >> 20} MB; select fewer or shorter columns"
                )
            return pa.Table.from_batches(batches, schema), True
        named = zip(batch.slice(0, left).columns, schema.types, strict=True)
        columns = [column if column.type == kind else column.view(kind) for column, kind in named]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        rows += min(left, batch.num_rows)
        if batch.num_rows > left:
            return pa.Table.from_batches(batches, schema), True
    return pa.Table.from_batches(batches, schema), False


def _first(con: duckdb.DuckDBPyConnection, sql: str, rows: int) -> duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation:
    """Runs a query for its first rows, so that DuckDB need not sort the rest: a million do not fit into memory."""
    kinds = [statement.type for statement in con.extract_statements(sql)]
    if rows > SORTED_ALONE or kinds != [duckdb.StatementType.SELECT]:
        return con.execute(sql)
    try:
        return con.sql(sql).limit(rows)
    except duckdb.Error:
        return con.execute(sql)  # the same error, with its place in the text


def _distinct(fields: Iterable[pa.Field]) -> list[pa.Field]:
    """Fields with every name made different, also within structs, as rows of Python need it."""
    taken: set[str] = set()
    made = []
    for item in fields:
        name, number = item.name, 1
        while name in taken:
            number += 1
            name = f"{item.name}_{number}"
        taken.add(name)
        made.append(item.with_name(name).with_type(_distinct_type(item.type)))
    return made


def _distinct_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct(_distinct(kind.fields))
    if pa.types.is_map(kind):
        key, value = _distinct_type(kind.key_type), _distinct_type(kind.item_type)
        return pa.map_(kind.key_field.with_type(key), kind.item_field.with_type(value))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_distinct_type(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_distinct_type(kind.value_type)))
    return kind


def answer(con: duckdb.DuckDBPyConnection, request: Query) -> tuple[Reply, bytes | memoryview]:
    """Runs one request in a transaction that is rolled back; errors come back as words.

    A reply with `broken` says that DuckDB cannot be trusted with another query.
    """
    sql, seconds = str(request["sql"]), float(request["seconds"])
    late = threading.Event()

    def stop() -> None:
        late.set()
        con.interrupt()

    # the parent kills a process that does not stop; the second timer is for one whose parent is gone
    timers = [threading.Timer(seconds, stop), threading.Timer(seconds + ORPHAN_SECONDS, os._exit, (3,))]
    for timer in timers:
        timer.daemon = True
        timer.start()
    header: Reply
    payload: bytes | memoryview = b""
    try:
        if (tags := request.get("tags")) is not None:
            put_tags(con, tags)
        runnable = check(sql)
        con.begin()
        table, truncated = fetch(con, runnable, max_rows=int(request["max_rows"]))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        header, payload = {"truncated": truncated}, memoryview(sink.getvalue())
    except SqlError as error:
        header = {"error": error.words, "line": error.line, "column": error.column}
    except (MemoryError, duckdb.Error, pa.ArrowException, OSError) as error:
        header = _failure(error, sql, late=late.is_set())
    finally:
        for timer in timers:
            timer.cancel()
    return header | _rolled_back(con), payload


def _failure(error: Exception, sql: str, *, late: bool) -> Reply:
    """What the reply says of an error."""
    text = str(error)
    if "Corrupt database file" in text:
        return {"error": "damaged", "broken": True}
    if isinstance(error, duckdb.FatalException | duckdb.InternalException) or _FATAL.search(text):
        return {"error": "broken", "broken": True}
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException | pa.ArrowMemoryError):
        return {"error": "memory"}
    if late or isinstance(error, duckdb.InterruptException):
        return {"error": "time"}
    if "Out of Memory" in text or "bad_alloc" in text:
        return {"error": "memory"}
    words = translate(error, sql) if isinstance(error, duckdb.Error) else SqlError(text.partition("\n")[0])
    said = _PATH.sub(lambda path: path[0] if path[0] in sql else "…", words.words)
    return {"error": said, "line": words.line, "column": words.column}


def _rolled_back(con: duckdb.DuckDBPyConnection) -> Reply:
    """Ends a query's transaction, if it began one; whether DuckDB broke meanwhile."""
    try:
        con.rollback()
    except duckdb.TransactionException:  # none began
        return {}
    except duckdb.Error:
        return {"broken": True}
    return {}


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def limit_memory(total: int) -> None:
    """Lets this process grow to at most `total` bytes (Linux; elsewhere the parent watches)."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return
    mapped = int(status.read_text().split()[0]) * resource.getpagesize()
    most = mapped + max(0, total - resident() - UNTOUCHED)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def leave() -> NoReturn:
    """Ends this process and removes its folder, for nobody else is there to do it."""
    shutil.rmtree(Path.cwd(), ignore_errors=True)
    os._exit(0)


def leave_with(parent: int) -> None:
    """Ends this process once its parent is gone, also in the middle of a query."""
    while os.getppid() == parent:
        time.sleep(0.5)
    leave()


def _warm_up() -> None:
    """Loads what DuckDB and Arrow load at their first query, which would else be that query's time."""
    con = duckdb.connect()
    fetch(con, check("SELECT 1 AS one"), max_rows=1)
    con.close()


def _moved(con: duckdb.DuckDBPyConnection | None, path: Path, memory: int) -> tuple[duckdb.DuckDBPyConnection, Hold]:
    """Another generation in place of the one that was open."""
    hold = Hold(path)
    new = open_locked(path, memory=memory, temporary=Path.cwd())
    new.execute("SELECT count(*) FROM samples").fetchall()
    if con is not None:
        con.close()
    return new, hold


def main() -> None:
    """Answers requests from standard input until it closes; a request names a generation to open, or a query.

    The argument is how many bytes the process may hold altogether.
    """
    total = int(sys.argv[1])
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that DuckDB may print can mix with replies
    threading.Thread(target=leave_with, args=(os.getppid(),), daemon=True).start()
    _warm_up()
    write_message(sink, {"started": True})
    memory = int(DUCKDB_SHARE * max(0, total - resident()))
    con: duckdb.DuckDBPyConnection | None = None
    while True:
        try:
            request, _ = read_message(source)
            if con is not None and "sql" in request:
                write_message(sink, *answer(con, request))
                continue
            first = con is None
            con, hold = _moved(con, Path(request["path"]), memory)
            if first:
                limit_memory(total)
            write_message(sink, {"ready": True})
        except (
            duckdb.Error,
            FileNotFoundError,
            BlockingIOError,
        ) as error:  # the parent names another generation, or ends this process
            write_message(sink, {"error": str(error).partition("\n")[0]})
        except (EOFError, BrokenPipeError):
            leave()


if __name__ == "__main__":
    main()
