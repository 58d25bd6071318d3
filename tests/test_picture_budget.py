"""The budget: what all pictures together may take, from the memory that is free and never more."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from core.errors import RequestError
from core.memory import Budget, NoRoom, free_memory, parse_size
from core.pipeline.request import RunRequest


def test_threads_never_hold_more_than_the_budget_and_a_large_want_is_held_alone() -> None:
    budget, lock = Budget(2**20), threading.Lock()
    held: list[int] = []
    seen: list[tuple[int, int]] = []

    def work(amount: int) -> None:
        with budget.hold(amount):
            with lock:
                held.append(amount)
                seen.append((sum(held), len(held)))
            time.sleep(0.002)
            with lock:
                held.remove(amount)

    wants = [2**19, 2**18, 2**18, 2**21, 2**17] * 12
    threads = [threading.Thread(target=work, args=(amount,)) for amount in wants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(seen) == len(wants)
    assert all(total <= 2**20 or beside == 1 for total, beside in seen)
    assert max(beside for _, beside in seen) > 1


def test_what_cannot_fit_at_all_is_refused_and_leaves_the_budget_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", "1MB")
    budget = Budget(2**20)
    with pytest.raises(NoRoom, match="need about 8 MB of memory"), budget.hold(2**23):
        pass
    with budget.hold(2**20):
        pass


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2**31), ("500m", 500 * 2**20), ("1.5 GiB", 3 * 2**29), ("4096", 4096)]
)
def test_a_memory_limit_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["much", "-1GB", "0", "2 apples"])
def test_a_memory_limit_that_is_no_size_is_refused_in_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", text)
    with pytest.raises(RequestError, match="WHYLOOK_MEMORY must be a size such as 2GB"):
        free_memory()


def kernel_file(root: Path, name: str, text: object) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts_also_that_of_a_group_around_it(tmp_path: Path, version: int) -> None:
    line = "5:cpu,cpuacct:/x\n4:memory:/outer/inner" if version == 1 else "0::/outer/inner"
    kernel_file(tmp_path, "proc/self/cgroup", line)
    top = "sys/fs/cgroup/memory" if version == 1 else "sys/fs/cgroup"
    names = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if version == 1 else ("max", "current", "")
    for place, limit, used in (("", 10**12, 9), ("/outer", 50 * 2**20, 20 * 2**20), ("/outer/inner", 10**12, 5)):
        kernel_file(tmp_path, f"{top}{place}/memory.{names[0]}", limit)
        kernel_file(tmp_path, f"{top}{place}/memory.{names[1]}", used)
    assert free_memory(tmp_path) == 30 * 2**20
    kernel_file(tmp_path, f"{top}/outer/memory.stat", f"anon 7\n{names[2] or 'inactive_file'} {2**20}")
    assert free_memory(tmp_path) == 31 * 2**20
    kernel_file(tmp_path, f"{top}/outer/memory.{names[0]}", "max" if version == 2 else 2**63 - 4096)
    assert free_memory(tmp_path) > 31 * 2**20


def test_who_leaves_the_line_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, served = Budget(10), threading.Event()

    def behind() -> None:
        with budget.hold(1):
            served.set()

    def interrupted(condition: object, *rest: object, **options: object) -> None:
        raise KeyboardInterrupt

    with budget.hold(10), monkeypatch.context() as patch:
        patch.setattr(threading.Condition, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt), budget.hold(5):
            pass
    threading.Thread(target=behind, daemon=True).start()
    assert served.wait(timeout=5)


def test_a_memory_limit_that_is_no_size_is_found_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHYLOOK_MEMORY", "lots")
    with pytest.raises(RequestError, match="WHYLOOK_MEMORY must be a size"):
        RunRequest(images=tmp_path, classifier="tiny", no_vlm=True).check()
