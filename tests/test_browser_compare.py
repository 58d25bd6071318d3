"""The page Compare in a browser: from the sentence to the pictures and back, and a run's own name everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support import browsing
from tests.support.browsing import served, wait_for, watched_page, wide
from tests.support.two_runs import make_two_runs

pytestmark = browsing.NEEDED


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, str]]:
    number = np.arange(60)
    right = number % 10 >= 1, number % 10 >= 4
    store, a, b = make_two_runs(tmp_path_factory.mktemp("runs") / "s", rows=60, right=right, judged=True, pictures=True)
    with served(store.folder) as address:
        yield address, a, b


@pytest.fixture
def page(browser: Any, runs: tuple[str, str, str]) -> Iterator[Any]:
    with watched_page(browser, runs[0]) as page:
        yield page


def test_regressions_lead_to_their_slice_and_back(page: Any, runs: tuple[str, str, str]) -> None:
    address, a, b = runs
    page.goto(f"{address}/compare?a={a}&b={b}")
    page.get_by_text("A is right on 18 pictures more of 60").wait_for()
    page.locator("a.card").first.wait_for()
    assert [rule["id"] for rule in Axe().run(page).response["violations"]] == []
    assert page.locator("a.card").first.locator("img").count() == 2
    assert wide(page) == []
    page.get_by_role("button", name="All 18 as a slice").click()
    wait_for(page, "slices", sql="a.correct AND NOT b.correct", run=b)
    page.locator("a.card").first.wait_for()
    assert page.locator("a.card").count() == 18
    page.go_back()
    wait_for(page, "compare", a=a, b=b)
    page.get_by_text("A is right on 18 pictures more of 60").wait_for()


def test_a_run_is_called_by_its_name_once_it_has_one(page: Any, runs: tuple[str, str, str]) -> None:
    address, a, b = runs
    page.goto(f"{address}/runs?run={a}")
    page.get_by_label("Name", exact=True).fill("old net")
    page.get_by_label("Note", exact=True).fill("before augmentation")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("heading", name="old net").wait_for()
    page.get_by_role("button", name="Compare with another").click()
    wait_for(page, "compare", a=b, b=a)
    chosen = "[...document.querySelectorAll('input')].some(item => item.value.startsWith('old net · '))"
    page.wait_for_function(chosen)
    page.go_back()
    page.get_by_role("heading", name="old net").wait_for()
    browsing.settled(page)
    page.get_by_role("button", name="Undo the last name").click()
    page.get_by_role("heading", name="net0, ").wait_for()
