"""Right for the right reason: two claims, corrected for the judge's errors where its card carries that."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import queries
from core.queries.reasons import rogan_gladen
from core.records import CausalCheck
from tests.support.store_factory import make_store


def test_the_correction_gives_back_the_share_that_made_the_counts() -> None:
    for true in (0.1, 0.5, 0.9):
        said = true * 0.8 + (1 - true) * 0.1
        assert float(rogan_gladen(said, 0.8, 0.1)) == pytest.approx(true)
    assert float(rogan_gladen(0.05, 0.8, 0.1)) == 0.0


def world(folder: Path, *, rests: bool) -> tuple[queries.Connection, str]:
    """A run whose answers rest on the attended part, or on nothing there."""

    def redraw(tables: dict[str, list]) -> None:
        tables["checks"] = [CausalCheck(row.image_id, 0.6 if rests else 0.2, 0.2, 6) for row in tables["checks"]]

    store, name = make_store(folder, rows=240, change=redraw, pictures=False)
    return store.reader(), name


def test_the_right_reason_needs_the_answer_to_rest_on_what_is_seen(tmp_path: Path) -> None:
    con, name = world(tmp_path / "rests", rests=True)
    found = queries.reasons(con, name)
    assert found is not None and found.measured
    n, right = con.execute("SELECT count(cell), count(*) FILTER (cell = 'correct_high') FROM samples").fetchall()[0]
    assert found.right_reason.counted.value == pytest.approx(right / n) and found.right_reason.counted.value > 0
    con, name = world(tmp_path / "not", rests=False)
    found = queries.reasons(con, name)
    assert found is not None and found.right_reason.counted.value == 0


def test_without_a_report_card_nothing_is_corrected(tmp_path: Path) -> None:
    con, name = world(tmp_path, rests=True)
    found = queries.reasons(con, name)
    assert found is not None and found.right_reason.corrected is None
    assert queries.judge_card(con, name) is None
