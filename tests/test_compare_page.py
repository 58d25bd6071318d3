"""The page Compare: what it says, where it leads, and what it says when there is nothing to compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store
from tests.support.two_runs import make_two_runs

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    st.cache_data.clear()
    yield


def right(rows: int, start: int) -> np.ndarray:
    return np.arange(rows) % 10 >= start


def test_two_runs_are_compared_and_the_address_holds_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, a, b = make_two_runs(tmp_path, rows=60, right=(right(60, 1), right(60, 4)), judged=True)
    app = opened(monkeypatch, "compare", store.folder, a=a, b=b)
    assert not app.exception and not app.error
    assert "A is right on 18 pictures more of 60" in words_on(app)
    assert [item.value for item in app.header][1:3] == ["Only A is right: 18 pictures", "Only B is right: 0 pictures"]
    assert {item.label: item.value for item in app.metric}["B less A, points"] == "-30.0"
    next(button for button in app.button if button.label == "Swap").click().run()
    assert (app.query_params["a"], app.query_params["b"]) == (b, a)
    assert "B is right on 18 pictures more of 60" in words_on(app)


def test_without_an_address_the_run_on_screen_is_compared_with_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, a, b = make_two_runs(tmp_path)
    store.name_run(a, "old net")
    app = opened(monkeypatch, "compare", store.folder, run=b)
    assert (app.query_params["a"], app.query_params["b"]) == (a, b)
    assert any("old net" in option for option in app.selectbox[1].options)


def test_of_one_classifier_only_what_can_differ_is_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, a, b = make_two_runs(tmp_path, rows=40, right=(right(40, 2), right(40, 2)), same=("classifier",))
    app = opened(monkeypatch, "compare", store.folder, a=a, b=b)
    assert [item.label for item in app.metric] == ["The attended parts overlap by", "Both are right"]


def test_what_cannot_be_compared_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, a, b = make_two_runs(tmp_path)
    app = opened(monkeypatch, "compare", store.folder, a=a, b=a)
    assert "choose two different runs" in app.info[0].value and not app.error
    app = opened(monkeypatch, "compare", store.folder, a="r-gone", b=b)
    assert "not in this store" in app.warning[0].value and not app.exception
    _, other = make_store(tmp_path, seed=5, judged=False)
    app = opened(monkeypatch, "compare", store.folder, a=a, b=other)
    assert "no picture in common" in app.info[0].value and not app.exception
