"""What tests share: one browser and one process that starts runs, each per session, and what counts as slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

from tests.support import browsing
from tests.support.clusters import two_nodes
from tests.support.killed_runs import Forker

SLOW_FIXTURES = frozenset({"browser", "forker", "judge", "judgements", "judged", "served", "planted", "run_words"})
"""Whatever needs a browser, a run in another process, a judge or a run of the demo world: not for `make quick`."""


@pytest.hookimpl(tryfirst=True)  # before `-m` picks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow each test that uses a slow fixture, of its own or through another."""
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_configure(config: pytest.Config) -> None:
    """Lets each of several test processes compute in one thread: with two each, they wait for each other."""
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)
        threadpool_limits(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium; every test opens its own context in it."""
    with browsing.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A Ray cluster of two nodes; a test that loses one adds another."""
    with two_nodes() as found:
        yield found


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """The process that starts runs: it has imported whylook once, and every run is a child of it."""
    process = Forker()
    yield process
    process.close()
