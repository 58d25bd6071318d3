"""The process in which user SQL runs: it can be killed, and it cannot take more memory, time or disk than it was given.

Knows: the pipe protocol, limits, one read-only generation. Does not know: the app, the store's folder, who asks.
Run as `python -P -m core.sql_worker`; messages are length-prefixed JSON headers, replies may carry Arrow data.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import duckdb
import pyarrow as pa

from core.sql_gate import SqlError, check, translate
from core.store.publish import load_fts

MAX_RESULT_BYTES = 64 << 20
HARD_STOP_SECONDS = 2.0
_LENGTH = struct.Struct(">QQ")


def write_message(pipe: BinaryIO, header: dict[str, Any], payload: bytes = b"") -> None:
    """Sends a JSON header and bytes."""
    data = json.dumps(header).encode()
    pipe.write(_LENGTH.pack(len(data), len(payload)) + data + payload)
    pipe.flush()


def read_message(pipe: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Receives what write_message sent.

    Raises:
        EOFError: the other side is gone.
    """
    sizes = _read_exactly(pipe, _LENGTH.size)
    header_size, payload_size = _LENGTH.unpack(sizes)
    header: dict[str, Any] = json.loads(_read_exactly(pipe, header_size))
    return header, _read_exactly(pipe, payload_size)


def _read_exactly(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def open_locked(path: Path, *, memory: str, temporary: Path) -> duckdb.DuckDBPyConnection:
    """A generation, read-only, with everything shut that reaches outside it; the settings cannot be changed back."""
    con = duckdb.connect(
        str(path),
        read_only=True,
        config={
            "memory_limit": memory,
            "threads": 2,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "allow_community_extensions": False,
        },
    )
    con.execute("SET temp_directory = '" + str(temporary).replace("'", "''") + "'")
    con.execute("SET max_temp_directory_size = '256MB'")
    load_fts(con)
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def fetch(con: duckdb.DuckDBPyConnection, sql: str, *, max_rows: int) -> tuple[pa.Table, bool]:
    """At most `max_rows` rows and MAX_RESULT_BYTES of a result, and whether there was more."""
    reader = con.execute(sql).to_arrow_reader(min(max_rows + 1, 2048))
    batches: list[pa.RecordBatch] = []
    rows, size = 0, 0
    schema = _distinct(reader.schema)
    for batch in reader:
        left = max_rows - rows
        size += batch.nbytes
        if size > MAX_RESULT_BYTES:
            if not rows:
                raise SqlError(
                    f"The result is larger than {MAX_RESULT_BYTES >> 20} MB; select fewer or shorter columns"
                )
            return pa.Table.from_batches(batches, schema), True
        batches.append(pa.RecordBatch.from_arrays(batch.slice(0, left).columns, schema=schema))
        rows += min(left, batch.num_rows)
        if batch.num_rows > left:
            return pa.Table.from_batches(batches, schema), True
    return pa.Table.from_batches(batches, schema), False


def _distinct(schema: pa.Schema) -> pa.Schema:
    """The schema with every column name made different, as a table of rows needs it."""
    taken: set[str] = set()
    fields = []
    for item in schema:
        name, number = item.name, 1
        while name in taken:
            number += 1
            name = f"{item.name}_{number}"
        taken.add(name)
        fields.append(item.with_name(name))
    return pa.schema(fields)


def answer(con: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Runs one request; errors come back as words."""
    sql, seconds = str(request["sql"]), float(request["seconds"])
    late = threading.Event()

    def stop() -> None:
        late.set()
        con.interrupt()

    timers = [threading.Timer(seconds, stop), threading.Timer(seconds + HARD_STOP_SECONDS, os._exit, (3,))]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        check(sql)
        table, truncated = fetch(con, sql, max_rows=int(request["max_rows"]))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return {"truncated": truncated}, sink.getvalue().to_pybytes()
    except SqlError as error:
        return {"error": error.words, "line": error.line, "column": error.column}, b""
    except (MemoryError, duckdb.OutOfMemoryException, pa.ArrowMemoryError):
        return {"error": "memory"}, b""
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if late.is_set() or isinstance(error, duckdb.InterruptException):
            return {"error": "time"}, b""
        if "Out of Memory" in str(error) or "bad_alloc" in str(error):
            return {"error": "memory"}, b""
        words = translate(error, sql) if isinstance(error, duckdb.Error) else SqlError(str(error).splitlines()[0])
        return {"error": words.words, "line": words.line, "column": words.column}, b""
    finally:
        for timer in timers:
            timer.cancel()


def limit_memory(extra: int) -> None:
    """Lets this process map at most `extra` bytes more than now (Linux; elsewhere the parent watches)."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return
    mapped = int(status.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + extra, mapped + extra))
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


def main() -> None:
    """Answers requests from standard input until it closes; the first one names the generation and the memory."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that DuckDB may print can mix with replies
    threading.Thread(target=leave_with, args=(os.getppid(),), daemon=True).start()
    try:
        opening, _ = read_message(source)
        con = open_locked(Path(opening["path"]), memory=opening["memory"], temporary=Path.cwd())
    except EOFError:
        return
    except duckdb.Error as error:
        write_message(sink, {"error": str(error).splitlines()[0]})
        return
    con.execute("SELECT count(*) FROM samples").fetchall()
    limit_memory(int(opening["bytes"]))
    write_message(sink, {"ready": True})
    while True:
        try:
            request, _ = read_message(source)
            write_message(sink, *answer(con, request))
        except (EOFError, BrokenPipeError):
            leave()


if __name__ == "__main__":
    main()
