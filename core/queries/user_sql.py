"""User SQL from the parent's side: a few worker processes, each killed when it overstays.

Knows: processes, deadlines, the reply as Arrow. Does not know: what SQL is let through (core/sql_gate), how it runs.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from core.errors import QueryError, StoreError
from core.sql_gate import SqlError, check_text
from core.sql_worker import read_message, write_message
from core.store import Store
from core.store.reading import damaged_generation

_START_SECONDS = 30.0
_GRACE_SECONDS = 0.5
_IDLE_KEPT = 2
_AT_ONCE = 4
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class SqlResult:
    """The rows of a user's query; `truncated` says that there were more than are shown."""

    table: pa.Table
    truncated: bool
    seconds: float

    @property
    def columns(self) -> list[str]:
        """Column names in order."""
        return list(self.table.column_names)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows


class _Worker:
    """One process with one generation open. Everything it may write is in its own folder, removed with it."""

    def __init__(self, path: Path, memory: str) -> None:
        self.path, self.memory = path, memory
        self.bytes = _bytes(memory)
        self.folder = tempfile.mkdtemp(prefix="whylook-sql-")
        package = str(Path(__file__).resolve().parents[2])
        environment = {"PYTHONPATH": package, "PATH": os.defpath, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.sql_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )
        self.base = 0
        opening = {"path": str(path.resolve()), "memory": memory, "bytes": self.bytes}
        try:
            header, _ = self.ask(opening, seconds=_START_SECONDS)
        except (QueryError, EOFError) as error:
            self.end()
            raise QueryError("The SQL worker did not start; try again") from error
        if "ready" not in header:
            self.end()
            said = damaged_generation(str(header.get("error")), path)
            raise QueryError(said or f"The SQL worker cannot open the store: {header.get('error')}")
        self.base = psutil.Process(self.process.pid).memory_info().rss

    def ask(self, request: dict[str, Any], *, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Sends a request and waits; the process is killed when it takes longer or grows beyond its memory.

        Raises:
            EOFError: the process died.
            QueryError: it was killed, for the reason that the message says.
        """
        assert self.process.stdin and self.process.stdout
        reply: list[tuple[dict[str, Any], bytes]] = []
        source = self.process.stdout
        try:
            write_message(self.process.stdin, request)  # type: ignore[arg-type]
        except BrokenPipeError as error:
            raise EOFError from error

        def receive() -> None:
            try:
                reply.append(read_message(source))  # type: ignore[arg-type]
            except (EOFError, ValueError, OSError):
                return

        receiver = threading.Thread(target=receive, daemon=True)
        receiver.start()
        deadline = time.monotonic() + seconds + _GRACE_SECONDS
        while receiver.is_alive():
            receiver.join(0.05)
            if receiver.is_alive() and time.monotonic() > deadline:
                self.kill()
                raise QueryError("time")
            if receiver.is_alive() and self.base and self._grown() > 1.5 * self.bytes:
                self.kill()
                raise QueryError("memory")
        if not reply:
            raise EOFError
        return reply[0]

    def _grown(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss) - self.base
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Ends the process and removes its folder."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                try:
                    pipe.close()
                except OSError:
                    continue
        shutil.rmtree(self.folder, ignore_errors=True)


_idle: list[_Worker] = []
_guard = threading.Lock()
_slots = threading.BoundedSemaphore(_AT_ONCE)


def run_sql(store: Store, sql: str, *, seconds: float = 5.0, memory: str = "1GB", max_rows: int = 5000) -> SqlResult:
    """Runs one SELECT that a person wrote, where it can harm neither the store nor the machine.

    Args:
        store: its newest generation is read.
        sql: one SELECT; see core.sql_gate for what passes.
        seconds: how long it may take; its process is stopped then.
        memory: how much the process may take beside what it starts with, such as "512MB".
        max_rows: rows to give back at most.

    Raises:
        QueryError: refused, failed, too slow or too large; in words, with line and column where they are known.
        StoreError: nothing has been published yet, or the generation is damaged.
    """
    check_text(sql)
    path = store.current_path()
    started = time.monotonic()
    if not _slots.acquire(timeout=seconds):
        raise QueryError("Too many queries run at the moment; try again shortly")
    try:
        header, payload = _ask_fresh_or_idle(path, memory, {"sql": sql, "seconds": seconds, "max_rows": max_rows})
    finally:
        _slots.release()
    words = header.get("error")
    if words is not None and (said := damaged_generation(str(words), path)):
        raise StoreError(said)
    if words is not None:
        raise _refusal(str(words), header, seconds, memory)
    with pa.ipc.open_stream(payload) as reader:
        table = reader.read_all()
    return SqlResult(table, bool(header["truncated"]), time.monotonic() - started)


def _ask_fresh_or_idle(path: Path, memory: str, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    worker = _take(path, memory)
    try:
        header, payload = worker.ask(request, seconds=request["seconds"])
    except EOFError:
        worker.end()
        return {"error": "died"}, b""
    except QueryError as error:
        worker.end()
        return {"error": str(error)}, b""
    except BaseException:  # an interrupted rerun must not leave half a reply in the pipe
        worker.end()
        raise
    _give_back(worker, keep=header.get("error") not in ("memory", "time"))
    return header, payload


def _refusal(words: str, header: dict[str, Any], seconds: float, memory: str) -> QueryError:
    known = {
        "time": f"The query was stopped after {seconds:g} s; narrow it with WHERE or LIMIT",
        "memory": f"The query needs more than {memory} of memory; select fewer rows or columns, or aggregate",
        "died": f"The query broke its process, which may use {memory}; nothing else is harmed. Make it simpler",
    }
    return SqlError(known.get(words, words), line=header.get("line"), column=header.get("column"))


def _take(path: Path, memory: str) -> _Worker:
    """An idle worker for this generation, or a new one; workers of older generations end."""
    with _guard:
        stale = [worker for worker in _idle if worker.path.parent == path.parent and worker.path != path]
        fit = [worker for worker in _idle if (worker.path, worker.memory) == (path, memory)]
        _idle[:] = [worker for worker in _idle if worker not in stale and worker is not (fit[0] if fit else None)]
    for worker in stale:
        worker.end()
    if fit and fit[0].process.poll() is None:
        return fit[0]
    if fit:
        fit[0].end()
    return _Worker(path, memory)


def _give_back(worker: _Worker, *, keep: bool) -> None:
    with _guard:
        if keep:
            _idle.append(worker)
        excess = [] if keep else [worker]
        while len(_idle) > _IDLE_KEPT:
            excess.append(_idle.pop(0))
    for old in excess:
        old.end()


def _bytes(memory: str) -> int:
    number, unit = memory.rstrip("BKMGi"), memory.lstrip("0123456789. ")
    if unit not in _UNITS or not number.strip().replace(".", "", 1).isdigit():
        raise QueryError(f"memory is a number with a unit such as 512MB, not {memory!r}")
    return int(float(number) * _UNITS[unit])


@atexit.register
def end_workers() -> None:
    """Ends idle workers; a worker also ends by itself when its pipe closes."""
    with _guard:
        workers, _idle[:] = list(_idle), []
    for worker in workers:
        worker.end()
