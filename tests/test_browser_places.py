"""Nobody loses their place, in a real browser: each act is one entry of the history, Back restores what was left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import state, wait_for
from tests.support.store_factory import make_store

pytestmark = browsing.NEEDED
LEFT = 340
NEAR = 3


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_store(tmp_path_factory.mktemp("places") / "store", rows=130)


@pytest.fixture(scope="module")
def address(filled: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(filled[0].folder) as served:
        yield served


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with browsing.watched_page(browser, address) as opened:
        yield opened


def entries(page: Any) -> int:
    return int(page.evaluate("history.length"))


def at(page: Any) -> int:
    return int(page.evaluate("document.querySelector('[data-testid=stMain]')?.scrollTop ?? -1"))


def scroll(page: Any, top: int) -> None:
    page.evaluate("top => document.querySelector('[data-testid=stMain]').scrollTo(0, top)", top)
    calm(page)


def calm(page: Any) -> None:
    browsing.settled(page)
    page.wait_for_timeout(300)


def restored(page: Any, top: int) -> None:
    """Waits until the page has been drawn and stands where it was left, and stays there."""
    script = f"Math.abs((document.querySelector('[data-testid=stMain]')?.scrollTop ?? -99) - {top}) <= {NEAR}"
    page.wait_for_function(script)
    page.wait_for_timeout(1500)
    assert page.evaluate(script), at(page)


def test_back_leads_from_a_picture_to_its_grid_and_from_there_to_the_findings(page, address: str, filled) -> None:
    page.goto(address)
    wait_for(page, "", run=filled[1])
    page.get_by_role("button", name="Summarise").click()
    wait_for(page, "", findings="1")
    page.locator(".finding a.pictures").first.wait_for()
    calm(page)
    scroll(page, LEFT)
    before = entries(page)
    page.locator(".finding a.pictures").first.click()
    left = wait_for(page, "slices", sql="samples")
    page.locator("a.card").first.wait_for()
    calm(page)
    assert entries(page) == before + 1
    page.locator("a.card").first.click()
    wait_for(page, "sample", image="0")
    page.get_by_role("button", name="Back to the slice").wait_for()
    calm(page)
    assert entries(page) == before + 2
    page.go_back()
    assert wait_for(page, "slices", sql="samples") == left
    page.locator("a.card").first.wait_for()
    page.go_back()
    assert wait_for(page, "", findings="1")
    page.locator(".finding").first.wait_for()
    assert entries(page) == before + 2
    page.go_forward()
    wait_for(page, "slices", sql="samples")
    page.locator("a.card").first.wait_for()


def test_back_restores_the_page_sort_and_view_of_a_slice_and_where_it_stood(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}")
    page.locator("a.card").first.wait_for()
    first = page.locator("a.card").first.get_attribute("href")
    page.get_by_role("combobox", name="View").click()
    page.get_by_role("option", name="Overlay", exact=True).click()
    wait_for(page, "slices", view="Overlay")
    page.get_by_role("combobox", name="Sort").click()
    page.get_by_role("option", name="Confidence, lowest first").click()
    wait_for(page, "slices", sort="Confidence, lowest")
    calm(page)
    page.get_by_test_id("stPagination").get_by_text("2", exact=True).click()
    wait_for(page, "slices", page="2")
    page.wait_for_function("first => document.querySelector('a.card')?.getAttribute('href') !== first", arg=first)
    calm(page)
    left, card = state(page), page.locator("a.card").nth(5)
    href = card.get_attribute("href")
    scroll(page, LEFT)
    card.focus()
    scroll(page, LEFT)
    page.keyboard.press("Enter")
    wait_for(page, "sample", order="Confidence, lowest")
    page.get_by_text("54 of 130").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("55 of 130").wait_for()
    calm(page)
    page.go_back()
    page.get_by_text("54 of 130").wait_for()
    page.go_back()
    wait_for(page, "slices", page="2")
    assert state(page) == left
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect(page.locator("a.card").nth(5)).to_have_attribute("href", href, timeout=browsing.PATIENCE * 1000)
    restored(page, LEFT)
    page.reload()
    page.locator("a.card").nth(5).wait_for()
    assert page.locator("a.card").nth(5).get_attribute("href") == href
    assert state(page) == left
    restored(page, LEFT)


def test_the_button_back_to_the_slice_and_the_navigation_keep_what_was_left(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}&view=Overlay&page=2")
    page.locator("a.card").first.click()
    page.get_by_role("button", name="Back to the slice").click()
    assert wait_for(page, "slices", page="2")["view"] == "Overlay"
    page.locator("a.card").first.wait_for()
    calm(page)
    before = entries(page)
    page.get_by_role("link", name="Labels").first.click()
    wait_for(page, "labels", run=filled[1])
    page.get_by_role("heading", name="Labels", level=1).wait_for()
    calm(page)
    page.get_by_role("link", name="Slices").first.click()
    assert wait_for(page, "slices", page="2")["view"] == "Overlay"
    page.locator("a.card").first.wait_for()
    calm(page)
    assert entries(page) == before + 2


def test_back_leads_from_a_hit_to_the_search(page, address: str, filled) -> None:
    page.goto(f"{address}/search?run={filled[1]}")
    field = page.get_by_role("textbox").first
    field.fill("ground")
    field.press("Enter")
    page.locator(".hit mark").first.wait_for()
    calm(page)
    before = entries(page)
    page.locator(".hit a.pictures").first.click()
    wait_for(page, "sample", image="0")
    calm(page)
    assert entries(page) == before + 1
    page.go_back()
    wait_for(page, "search", q="ground")
    page.locator(".hit mark").first.wait_for()
    assert page.get_by_role("textbox").first.input_value() == "ground"


def test_a_new_query_begins_at_its_first_page(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}&page=3")
    page.locator("a.card").first.wait_for()
    page.get_by_role("combobox", name="Sort").click()
    page.get_by_role("option", name="Path").click()
    wait_for(page, "slices", sort="Path")
    page.locator("a.card").nth(20).wait_for()
    calm(page)
    assert "page" not in state(page)[1]
