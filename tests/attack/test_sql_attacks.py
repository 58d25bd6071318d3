"""Hundreds of attacks on user SQL; after each the app must be as well as before.

Checked after every attack: the answer came in time and in one line, the worker stayed within its memory, the next
harmless query runs, nothing was written, and nothing was told of the files beside the store, of the machine or of the
store's place.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import QueryError
from core.sql.pool import MEMORY, SECONDS, SqlResult, run_sql
from core.store import Store, open_for_writing
from tests.attack.sql_attacks import FAMILIES, Family
from tests.support.patience import grace
from tests.support.store_factory import make_store

CANARY = "canary-7f3a91"
LITTLE: dict[str, Any] = {"seconds": 1.5, "memory": "400MB"}


@dataclass
class World:
    """A store, files beside it that nobody may touch, and the most memory a child of this process has held."""

    store: Store
    canary: Path
    most: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Looks from outside every few milliseconds."""
        while not self.done.wait(0.005):
            for child in psutil.Process().children():
                try:  # a child that has not yet become a worker still shares the pages of this process
                    if "core.sql.worker" in child.cmdline():
                        self.most = max(self.most, child.memory_info().rss)
                except psutil.Error:
                    continue

    def files(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of every file that must stay as it is."""
        places = (self.store.folder, self.canary, Path.cwd())
        return sorted(
            (entry.path, entry.stat().st_size, entry.stat().st_mtime_ns)
            for place in places
            for entry in os.scandir(place)
            if entry.is_file()
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    import duckdb

    canary = tmp_path_factory.mktemp("beside")
    for name in ("canary.csv", "canary.txt"):
        (canary / name).write_text(f"a\n{CANARY}\n")
    (canary / "canary.json").write_text(f'{{"a": "{CANARY}"}}\n')
    con = duckdb.connect(str(canary / "canary.duckdb"))
    con.execute(f"CREATE TABLE x AS SELECT '{CANARY}' AS a")
    con.execute(f"COPY x TO '{canary}/canary.parquet'")
    con.close()
    made = World(make_store(tmp_path_factory.mktemp("attacked"), rows=60)[0], canary)
    watcher = threading.Thread(target=made.watch)
    watcher.start()
    yield made
    made.done.set()
    watcher.join()


def wrong(world: World, family: Family, sql: str) -> str | None:
    """What was wrong about an attack's end, None when all is well."""
    seconds, memory = (1.5, 400e6) if family.heavy else (SECONDS, 1e9)
    before, world.most = world.files(), 0
    started = time.monotonic()
    try:
        result: SqlResult | None = run_sql(world.store, sql, **(LITTLE if family.heavy else {}))
        told = str(result.table.slice(0, 50).to_pylist()) if result else ""
    except QueryError as error:
        result, told = None, str(error)
    took = time.monotonic() - started
    places = [str(world.store.folder), str(world.canary), "/tmp/whylook", CANARY, "root:x:", "Traceback", "Stack Trace"]
    told_of_itself = told
    for place in places:
        if place in sql:
            told_of_itself = told_of_itself.replace(place, "")
    if result is not None and family.refused:
        return "it ran"
    if result is None and "\n" in told.strip():
        return f"more than one line: {told}"
    if any(place in told_of_itself for place in places) or CANARY in told:
        return f"it told {told}"
    if took > seconds + grace():
        return f"it took {took:.1f} s"
    if world.most > memory:
        return f"its process held {world.most / 1e6:.0f} MB"
    if world.files() != before:
        return "a file has changed"
    try:
        if run_sql(world.store, "SELECT count(*) AS n FROM samples", **(LITTLE if family.heavy else {})).rows != [
            {"n": 60}
        ]:
            return "the next query was answered wrongly"
    except QueryError as error:
        return f"the next query failed: {error}"
    return None


def test_there_are_enough_attacks() -> None:
    assert MEMORY == "1GB" and sum(len(set(family.attacks)) for family in FAMILIES) >= 500


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_attack_does_no_harm(world: World, family: Family) -> None:
    harmed = {}
    for attack in dict.fromkeys(family.attacks):
        sql = attack.replace("{canary}", str(world.canary)).replace("{store}", str(world.store.folder))
        sql = sql.replace("{{", "{").replace("}}", "}")
        found = wrong(world, family, sql)
        if found:
            harmed[sql[:200]] = found
    told = "\n".join(f"{sql}: {found}" for sql, found in harmed.items())
    assert not harmed, told


def test_readers_never_notice_a_publisher(tmp_path: Path) -> None:
    """Four people ask while a run publishes again and again."""
    folder = tmp_path / "store"
    store, _ = make_store(folder, rows=6)
    done, failed, asked = threading.Event(), [], [0] * 4

    def publish() -> None:
        with open_for_writing(folder) as writer:
            while not done.wait(0.3):
                writer.publish()

    def ask(reader: int) -> None:
        while not done.is_set():
            try:
                assert run_sql(store, "SELECT count(*) AS n FROM samples").rows == [{"n": 6}]
            except (QueryError, AssertionError) as error:
                failed.append(str(error))
            asked[reader] += 1

    threads = [threading.Thread(target=publish), *(threading.Thread(target=ask, args=(n,)) for n in range(4))]
    for thread in threads:
        thread.start()
    time.sleep(float(os.environ.get("WHYLOOK_ATTACK_SECONDS", "20")))
    done.set()
    for thread in threads:
        thread.join()
    print(f"{sum(asked)} queries over {store.generation()} generations, {len(failed)} failed")
    assert not failed and sum(asked) > 50
