"""What tests share: one browser and one process that starts runs, each per session.

Knows: fixtures and files that cost seconds. Does not know: what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import browsing
from tests.support.killed_runs import Forker


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium; every test opens its own context in it."""
    with browsing.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """The process that starts runs: it has imported whylook once, and every run is a child of it."""
    process = Forker()
    yield process
    process.close()
