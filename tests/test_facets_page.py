"""Facets and chips on the page Slices: what a click makes of the query, and that stale or odd clicks change nothing."""

from __future__ import annotations

import pytest

from core.sql.where import parse
from pages._facets import changed

RUN = "r-1"
ALL = "SELECT * FROM samples\nWHERE run = 'r-1'\nORDER BY confidence DESC"


def clicked(text: str, **act: object) -> str:
    return changed(parse(text, RUN), act).text


def test_clicks_on_a_value_and_a_range_show_in_the_where_clause() -> None:
    once = clicked(ALL, act="value", column="label", value="it's")
    assert "AND label = 'it''s'" in once
    assert "AND label <> 'it''s'" in clicked(once, act="value", column="label", value="it's")
    both = clicked(once, act="range", column="score", low=1, high=2.5)
    assert (
        both
        == "SELECT * FROM samples\nWHERE run = 'r-1'\n  AND label = 'it''s'\n  AND score BETWEEN 1 AND 2.5\n"
        + ("ORDER BY confidence DESC")
    )
    assert "(label = 'it''s' OR score BETWEEN 1 AND 2.5)" in clicked(both, act="either", place=1, other=2)
    assert "score NOT BETWEEN 1 AND 2.5" in clicked(both, act="negate", place=2)
    assert clicked(both, act="remove", place=2) == once


@pytest.mark.parametrize(
    "act",
    [
        {"act": "negate", "place": 7},
        {"act": "remove", "place": -1},
        {"act": "either", "place": 0, "other": 9},
        {"act": "nothing of ours", "place": 0},
        {},
    ],
)
def test_a_click_that_fits_no_condition_changes_nothing(act: dict[str, object]) -> None:
    assert clicked(ALL, **act) == ALL
