"""A pass of a run on a Ray cluster: blocks of pictures to workers that hold the models, tried again where one dies.

Workers write shards into the shared store; the driver keeps the lock, the record and the publications. What is stored
is keyed by picture and fingerprint, so work that is done twice counts once, and a run whose driver was killed goes on
from the shards. Ray's own checkpoints are not used: they promise at least once.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import shutil
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import RequestError, WhylookError
from core.pipeline.blocks import Block, Job, Pass, Told, Worker, notes_of
from core.pipeline.journal import Journal
from core.records import Failure, ImageEntry

LARGEST: Mapping[Pass, int] = {"explain": 256, "judge": 64}
SMALLEST = 16
"""Pictures of a block: what is worked on again when a worker dies; fewer where every worker would get no four."""
MOST_ATTEMPTS = 10
"""Of a block whose workers die, enough to find two pictures that kill them; then all that it lacks is a failure."""
MOST_LOST = 30
"""Workers that die one after the other while they load their models: after that the run ends and says so."""
CORES = 8
"""A worker gets at most so many; more workers use the rest."""
PATIENCE = 120.0
"""Seconds that a cluster without any free worker is waited for before that is said."""
REACH = 5.0
"""Seconds in which the cluster's head must answer."""
_ROOT = Path(__file__).resolve().parents[2]


def check_engine() -> None:
    """Raise a RequestError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise RequestError("--engine ray needs Ray: pip install 'whylook[ray]' on every machine of the cluster")


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`; without one to that of this machine, or one started for the while.

    Raises:
        RequestError: Ray is not installed, or there is no cluster at that address.
    """
    check_engine()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    options: dict[str, Any] = {"log_to_driver": False, "runtime_env": {"env_vars": {"PYTHONPATH": paths}}}
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            _reach(address)
            with _in_words(address):
                ray.init(address=address, **options)
        else:
            with suppress(ConnectionError):
                ray.init(address="auto", **options)
            if not ray.is_initialized():
                ray.init(include_dashboard=False, **options)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray would end the process where a run ends after its batch
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise a RequestError where nobody listens at an address: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise RequestError(f"--address must look like 10.0.0.5:6379 or ray://head:10001, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=REACH).close()
    except (OSError, OverflowError) as error:
        raise RequestError(f"no Ray cluster answers at {address}: {error}") from error


@contextmanager
def _in_words(address: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"no Ray cluster answers at {address}: {reason}") from error


def share_of(ray: Any) -> tuple[int, int, int]:
    """Workers, and the cores and GPUs of each: one worker per GPU where there are some, else up to CORES cores each."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        return gpus, max(1, min(CORES, sum(cores) // gpus)), 1
    each = max(1, min([CORES, *(count for count in cores if count)]))
    return max(1, sum(count // each for count in cores)), each, 0


def pass_of(
    kind: Pass,
    entries: Sequence[ImageEntry],
    job: Job,
    done: Mapping[str, Set[str]],
    checked: Set[str] = frozenset(),
    close: Set[str] = frozenset(),
    *,
    journal: Journal,
    stop: Callable[[], bool],
) -> bool:
    """One pass over the pictures that lack a row, on the cluster of the request; False when stopped.

    Args:
        kind: which pass.
        entries: the pictures, in the order in which they are looked at.
        job: what the workers are told; kind, run and threads are filled in here.
        done: pictures with rows already, by stage.
        checked: those that get the causal check.
        close: those of them that get all draws.
        journal: where progress and failures go.
        stop: asked twice a second.
    """
    stages = [stage for stage in done if stage != "causal"]
    missing = [
        entry
        for entry in entries
        if any(entry.image_id not in done[stage] for stage in stages)
        or (entry.image_id in checked and entry.image_id not in done["causal"])
    ]
    finished, total = len(entries) - len(missing), len(entries)
    journal.begin("pictures" if kind == "explain" else "judge", done=finished, total=total)
    if not missing:
        return True

    def told(block: Block, found: Told) -> None:
        nonlocal finished
        finished += found.pictures
        for stage, seconds in found.seconds.items():
            journal.beside(stage, seconds)
        journal.note_rows()
        journal.report(finished, total)
        journal.publish_if_due()

    shutil.rmtree(notes_of(job.request.store), ignore_errors=True)
    with cluster(job.request.address) as ray:
        workers, cores, _ = share_of(ray)
        told_job = dataclasses.replace(job, kind=kind, run=journal.run, threads=cores)
        blocks = _blocks(
            missing, done, checked, close, size=min(LARGEST[kind], max(SMALLEST, len(missing) // (4 * workers)))
        )
        return work_through(ray, told_job, blocks, journal=journal, told=told, stop=stop)


def _blocks(
    missing: Sequence[ImageEntry],
    done: Mapping[str, Set[str]],
    checked: Set[str],
    close: Set[str],
    *,
    size: int,
) -> list[Block]:
    """The pictures in blocks of at most `size`, of nearly equal length."""
    parts = max(1, math.ceil(len(missing) / size))
    ends = [len(missing) * part // parts for part in range(parts + 1)]
    blocks = []
    for number, (first, last) in enumerate(zip(ends, ends[1:], strict=False)):
        some = tuple(missing[first:last])
        ids = frozenset(entry.image_id for entry in some)
        blocks.append(
            Block(number, some, {stage: ids & known for stage, known in done.items()}, ids & checked, ids & close)
        )
    return blocks


class Crew:
    """The workers of a pass: those that load their models, those at work and those that wait for a block.

    A block is given to a worker that has its models: one that finds no room in the cluster holds nothing up.
    """

    def __init__(self, ray: Any, job: Job) -> None:
        self._ray, self._job = ray, job
        self.count, self.cores, gpus = share_of(ray)
        self._kind = ray.remote(num_cpus=self.cores, num_gpus=gpus, max_restarts=0)(Worker)
        self._starting: dict[Any, Any] = {}  # the task that is done once it has its models -> the worker
        self._at_work: dict[Any, tuple[Any, Block, int]] = {}  # the task -> its worker, block and attempt
        self._idle: list[Any] = []
        self._lost = 0
        self._last = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether any worker has a block."""
        return bool(self._at_work)

    def take(self, waiting: deque[tuple[Block, int]]) -> None:
        """Blocks to the workers that are idle; as many more workers as there are blocks left, and room."""
        while waiting and self._idle:
            worker, (block, attempt) = self._idle.pop(), waiting.popleft()
            self._at_work[worker.work.remote(block, attempt)] = worker, block, attempt
        while len(self._starting) < min(self.count - len(self._at_work), len(waiting)):
            worker = self._kind.remote(self._job)
            self._starting[worker.ready.remote()] = worker

    def news(self) -> Iterator[tuple[Block, int, Told | None]]:
        """What came in half a second: a block, its attempt and what its worker said; None where that died.

        Raises:
            WhylookError: what a worker says that is no fault of a picture, such as a classifier that does not load; or
                workers die again and again before they begin.
            RequestError: the cluster has no room for a worker.
        """
        ready, _ = self._ray.wait([*self._at_work, *self._starting], num_returns=1, timeout=0.5)
        if not ready and not _anybody(self._ray) and time.monotonic() - self._last > PATIENCE:
            raise RequestError(f"the cluster has had no room for a worker of {self.cores} cores for {PATIENCE:.0f} s")
        for task in ready:
            self._last = time.monotonic()
            found = _answer(self._ray, task)
            if task in self._starting:
                worker = self._starting.pop(task)
                self._lost = self._lost + 1 if found is None else 0  # over which no picture has a say
                if self._lost > MOST_LOST:
                    raise WhylookError(f"{self._lost} workers died one after the other while they loaded their models")
            else:
                worker, block, attempt = self._at_work.pop(task)
                yield block, attempt, found
            if found is not None:
                self._idle.append(worker)

    def close(self) -> None:
        """End every worker, whatever it does."""
        at_work = [worker for worker, *_ in self._at_work.values()]
        for worker in (*self._idle, *self._starting.values(), *at_work):
            with suppress(Exception):  # whatever became of it: the run is over for it
                self._ray.kill(worker)


def work_through(
    ray: Any,
    job: Job,
    blocks: Sequence[Block],
    *,
    journal: Journal,
    told: Callable[[Block, Told], None],
    stop: Callable[[], bool],
) -> bool:
    """Every block to a worker; False when `stop` ended it, with the blocks at work left unfinished.

    Args:
        ray: as `cluster` gives it.
        job: what the workers are told.
        blocks: the pictures.
        journal: where failures go.
        told: called with each block that is done.
        stop: asked twice a second.

    Raises:
        WhylookError, RequestError: as of `Crew.news`.
    """
    crew, waiting = Crew(ray, job), deque((block, 1) for block in blocks)
    try:
        while waiting or crew.busy:
            if stop():
                return False
            crew.take(waiting)
            for block, attempt, found in crew.news():
                if found is None:
                    _again(block, attempt, waiting, journal, told)
                else:
                    journal.fail(found.failures)
                    told(block, found)
    finally:
        crew.close()
        shutil.rmtree(notes_of(job.request.store), ignore_errors=True)
    return True


def _answer(ray: Any, task: Any) -> Any:
    """What a worker said; None where it died.

    Raises:
        WhylookError: what it raised, or why it could not load its models.
    """
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from error
    except (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError, ray.exceptions.OwnerDiedError) as error:
        if (reason := _never_began(error)) is not None:
            raise reason from error
        return None


def _anybody(ray: Any) -> bool:
    """Whether any core of the cluster is in use, so that somebody works."""
    return bool(ray.available_resources().get("CPU", 0) < ray.cluster_resources().get("CPU", 0))


def _again(
    block: Block,
    attempt: int,
    waiting: deque[tuple[Block, int]],
    journal: Journal,
    told: Callable[[Block, Told], None],
) -> None:
    """A block whose worker died is tried again first; at last its pictures are recorded as failed."""
    if attempt < MOST_ATTEMPTS:
        waiting.appendleft((block, attempt + 1))
        return
    reason = f"{attempt} workers died over the block that holds this picture"
    failures = tuple(Failure("classifier", entry.image_id, entry.relative_paths[0], reason) for entry in block.entries)
    journal.fail(failures)
    told(block, Told(len(block.entries), failures, {}))


def _cause(error: Any) -> Exception:
    """What a worker raised: in whylook's words where they are some."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, WhylookError):
        return cause
    return WhylookError(f"a worker failed: {' '.join(str(cause or error).split())[-300:]}")


def _never_began(error: Any) -> Exception | None:
    """What a worker raised while it loaded its models; None where it was killed."""
    text = str(error)
    if "The actor died because of an error raised in its creation task" not in text:
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return RequestError(f"a worker could not load its models: {lines[-1][:300] if lines else text}")
