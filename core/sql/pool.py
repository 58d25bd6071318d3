"""User SQL from the parent's side: a few worker processes, each killed when it overstays."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow as pa

from core.errors import QueryError, StoreError
from core.memory import parse_size
from core.records import Row
from core.sql.gate import SqlError, check_text
from core.sql.worker import Query, Reply, read_message, write_message
from core.store import Store
from core.store.reading import damaged_words, means_damaged

SECONDS = 5.0
"""How long a query may take, waiting for a free worker and its start included."""
GRACE_SECONDS = 1.0
"""After SECONDS + GRACE_SECONDS at most there is an answer, if only that the query was stopped."""
MOST_ROWS = 4000
"""Rows that are given back unless more are asked for; few enough that a sorted query is quick (SORTED_ALONE)."""
MEMORY = "1GB"
"""What the process of a query may hold altogether: Python, DuckDB and the result."""
_KILL_SECONDS = 0.5
_LOOK_SECONDS = 0.02
_GROWN = 512 << 20  # an idle worker that holds this much more than at its start is ended
_IDLE_KEPT = 2
_AT_ONCE = 4
_PREFIX = "whylook-sql-"
_LEFT_SECONDS = 60.0
Tags = list[tuple[str, str, str]]
"""Image id, tag and time."""


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
    def rows(self) -> list[Row]:
        """The rows as dicts."""
        rows: list[Row] = self.table.to_pylist()
        return rows


class _Stopped(Exception):
    """A worker was killed; its only argument says for what: time, memory or start."""


class _Worker:
    """One process with one generation open. Everything it may write is in its own folder, removed with it."""

    def __init__(self, memory: str) -> None:
        # what it imports takes about a second, which open() waits for
        self.memory = memory
        self.bytes = parse_size(memory, name="memory")
        self.base = 0
        self.folder = tempfile.mkdtemp(prefix=_PREFIX)
        package = str(Path(__file__).resolve().parents[2])
        environment = {"PYTHONPATH": package, "PATH": os.defpath, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.sql.worker", str(self.bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )
        self.path: Path | None = None
        self.tags: Tags | None = None
        """What it was told last; None since it opened a generation."""

    def open(self, store: Store, *, deadline: float) -> None:
        """Opens the newest generation, which a publisher may remove at any moment; ends itself if it cannot."""
        try:
            if self.path is None:
                self.start(deadline)
            while True:
                path = self.path = store.current_path()
                self.tags = None
                header, _ = self.ask({"path": str(path.resolve())}, deadline=deadline)
                if "ready" in header:
                    self.base = self.base or self._held()
                    return
                if store.current_path() == path:
                    if means_damaged(str(header.get("error"))):
                        raise StoreError(damaged_words(path))
                    words = "The newest generation cannot be read; the next run makes it again from the shards"
                    raise QueryError(words)
        except EOFError as error:
            self.end()
            raise QueryError("The SQL worker did not start; try again") from error
        except BaseException:
            self.end()
            raise

    def start(self, deadline: float) -> None:
        """Waits until it has started; if that takes too long, another is started for the next query."""
        try:
            self.receive(deadline)
        except _Stopped as error:
            _give_back(self, keep=False)
            raise _Stopped("start") from error

    def ask(self, request: Mapping[str, object], *, deadline: float) -> tuple[Reply, bytes]:
        """Sends a request and waits; the process is killed at the deadline or when it grows beyond its memory.

        Raises:
            EOFError: the process died.
            _Stopped: it was killed.
        """
        assert self.process.stdin
        try:
            write_message(self.process.stdin, request)  # type: ignore[arg-type]
        except BrokenPipeError as error:
            raise EOFError from error
        return self.receive(deadline)

    def receive(self, deadline: float) -> tuple[Reply, bytes]:
        """Waits for what the process says next."""
        assert self.process.stdout
        reply: list[tuple[Reply, bytes]] = []
        source = self.process.stdout

        def read() -> None:
            try:
                reply.append(read_message(source))  # type: ignore[arg-type]
            except (EOFError, ValueError, OSError):
                return

        receiver = threading.Thread(target=read, daemon=True)
        receiver.start()
        while receiver.is_alive():
            receiver.join(_LOOK_SECONDS)
            if receiver.is_alive() and time.monotonic() > deadline:
                self.kill()
                raise _Stopped("time")
            if receiver.is_alive() and self.base and self._held() > self.bytes:
                self.kill()
                raise _Stopped("memory")
        if not reply:
            raise EOFError
        return reply[0]

    def grown(self) -> bool:
        """Whether it holds so much more than at its start that another should take its place."""
        return self._held() > self.base + min(_GROWN, (self.bytes - self.base) * 2 // 3)

    def _held(self) -> int:
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
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


def run_sql(
    store: Store, sql: str, *, seconds: float = SECONDS, memory: str = MEMORY, max_rows: int = MOST_ROWS
) -> SqlResult:
    """Runs one SELECT that a person wrote, where it can harm neither the store nor the machine.

    Args:
        store: its newest generation is read.
        sql: one SELECT; see core.sql.gate for what passes.
        seconds: how long it may take; it is stopped then, and GRACE_SECONDS later at most there is an answer.
        memory: how much its process may hold altogether, such as "512MB".
        max_rows: rows to give back at most.

    Raises:
        QueryError: refused, failed, too slow or too large; in words, with line and column where they are known.
        StoreError: nothing has been published yet, or the generation is damaged.
    """
    if max_rows < 1:
        raise QueryError(f"max_rows must be 1 or more, got {max_rows}")
    check_text(sql)
    store.current_path()
    started = time.monotonic()
    if not _slots.acquire(timeout=seconds):
        raise QueryError("Too many queries run at the moment; try again shortly")
    try:
        worker = _take(store, memory, deadline=started + seconds)
        left = max(0.0, started + seconds - time.monotonic())
        request: Query = {"sql": sql, "seconds": left, "max_rows": max_rows}
        if (tags := _tags(store)) != worker.tags:
            request["tags"] = tags
        header, payload = _answer(worker, request)
    except _Stopped as error:
        raise _refusal(str(error), {}, seconds, memory) from error
    finally:
        _slots.release()
    words = header.get("error")
    if words == "damaged":
        raise StoreError(damaged_words(store.current_path()))
    if words is not None:
        raise _refusal(str(words), header, seconds, memory)
    with pa.ipc.open_stream(payload) as reader:
        table = reader.read_all()
    return SqlResult(table, bool(header["truncated"]), time.monotonic() - started)


def _tags(store: Store) -> Tags:
    """What people said of pictures; nothing where it cannot be read, which the pages say elsewhere."""
    try:
        return [(row["image_id"], row["tag"], row["saved"].isoformat()) for row in store.tag_rows()]
    except StoreError:
        return []


def _answer(worker: _Worker, request: Query) -> tuple[Reply, bytes]:
    """The worker's reply; afterwards it is idle again, or ended where it cannot be trusted with another query."""
    try:
        header, payload = worker.ask(request, deadline=time.monotonic() + request["seconds"] + _KILL_SECONDS)
    except EOFError:
        header, payload = {"error": "died", "broken": True}, b""
    except _Stopped as error:
        header, payload = {"error": str(error), "broken": True}, b""
    except BaseException:  # an interrupted rerun must not leave half a reply in the pipe
        worker.end()
        raise
    else:
        worker.tags = request.get("tags", worker.tags)
    spent = header.get("error") in ("memory", "time") or header.get("broken") or worker.grown()
    _give_back(worker, keep=not spent)
    return header, payload


def _refusal(words: str, header: Reply, seconds: float, memory: str) -> QueryError:
    broken = "DuckDB crashed on this query and was restarted; nothing else was affected. Try writing it differently"
    known = {
        "time": f"The query was stopped after {seconds:g} s; narrow it with WHERE or LIMIT",
        "start": f"The SQL worker did not start within {seconds:g} s; try again in a moment",
        "memory": f"The query needs more than {memory} of memory; select fewer rows or columns, or aggregate",
        "died": broken,
        "broken": broken,
    }
    return SqlError(known.get(words, words), line=header.get("line"), column=header.get("column"))


def _take(store: Store, memory: str, *, deadline: float) -> _Worker:
    """An idle worker that has the newest generation open, one that can open it, or a new one."""
    path = store.current_path()
    with _guard:
        dead = [worker for worker in _idle if worker.process.poll() is not None]
        fit = [worker for worker in _idle if worker.memory == memory and worker not in dead]
        here = [worker for worker in fit if worker.path and worker.path.parent == path.parent]
        ready = [worker for worker in here if worker.path == path]
        spare = [worker for worker in fit if worker.path is None]
        chosen = next(iter((*ready, *here, *spare)), None)
        _idle[:] = [worker for worker in _idle if worker not in dead and worker is not chosen]
    for worker in dead:
        worker.end()
    chosen = chosen or _Worker(memory)
    if chosen.path != path:
        chosen.open(store, deadline=deadline)
    return chosen


def _give_back(worker: _Worker, *, keep: bool) -> None:
    """Keeps a worker for the next query, or ends it and lets another start meanwhile."""
    kept = [worker] if keep else []
    if not keep:
        worker.end()
        with contextlib.suppress(OSError):  # the next query starts one, or says why not
            kept = [_Worker(worker.memory)]
    with _guard:
        _idle.extend(kept)
        excess = [_idle.pop(0) for _ in range(len(_idle) - _IDLE_KEPT)]
    for old in excess:
        old.end()


@atexit.register
def end_workers() -> None:
    """Ends idle workers; a worker also ends by itself when its pipe closes."""
    with _guard:
        workers, _idle[:] = list(_idle), []
    for worker in workers:
        worker.end()


def remove_left_folders() -> None:
    """Removes folders of workers that were killed together with their parent: ours, old, and nobody works in them."""
    working = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            working.add(process.cwd())
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            old = time.time() - state.st_mtime > _LEFT_SECONDS
            if old and state.st_uid == os.getuid() and str(folder.resolve()) not in working:
                shutil.rmtree(folder, ignore_errors=True)
