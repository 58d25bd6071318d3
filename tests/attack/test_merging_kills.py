"""A writer that merges small shards is killed a hundred times while a reader looks: nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.killed_mergers import kill

KILLS = 100


@pytest.mark.timeout(900)
def test_a_hundred_kills(tmp_path: Path) -> None:
    kill(tmp_path / "store", KILLS, seed=1)
