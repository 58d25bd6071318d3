"""Slices in a real browser: facets that write SQL, the editor, pictures chosen and tagged, undo, reload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import wait_for
from tests.support.store_factory import make_store

ODD = ("cow", "<img src=x onerror=\"document.title='owned'\">", "o'hara")
pytestmark = browsing.NEEDED


@pytest.fixture
def filled(tmp_path) -> tuple[Store, str]:
    return make_store(tmp_path / "store", rows=60, classes=ODD)


@pytest.fixture
def page(browser: Any, filled: tuple[Store, str]) -> Iterator[Any]:
    with (
        browsing.served(filled[0].folder) as address,
        browsing.watched_page(browser, address, width=1440) as opened,
    ):
        opened.goto(f"{address}/slices?run={filled[1]}")
        opened.locator("a.card").first.wait_for()
        yield opened


def value(page: Any, words: str) -> Any:
    return page.locator("button.value", has_text=words).first


def editor(page: Any) -> Any:
    return page.get_by_role("textbox", name="SELECT over samples")


def test_a_facet_is_clicked_negated_edited_as_sql_and_its_pictures_are_tagged(page, filled) -> None:
    store, run = filled
    value(page, "o'hara").click()
    wait_for(page, "slices", sql="label = 'o''hara'")
    page.locator("button.value.in", has_text="o'hara").wait_for()
    page.get_by_role("group", name="Conditions").get_by_text("label = o'hara").wait_for()
    value(page, "o'hara").click()
    wait_for(page, "slices", sql="label <> 'o''hara'")
    page.locator("button.value.out", has_text="o'hara").wait_for()

    editor(page).click()
    page.keyboard.press("Control+A")
    page.keyboard.type("SELECT * FROM samples WHERE habitat = 'meadow")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    wait_for(page, "slices", sql="habitat = 'meadow'")
    page.get_by_role("group", name="Conditions").get_by_text("habitat = meadow").wait_for()

    first = page.locator("a.card[href*=meadow]").first
    first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.get_by_role("checkbox").nth(2).click()
    page.get_by_text("3 selected").wait_for()
    page.get_by_label("Tag", exact=True).fill("look again")
    page.keyboard.press("Enter")
    page.locator(".box .tag", has_text="look again").nth(2).wait_for()
    assert len(store.tags()) == 3
    value(page, "look again").click()
    wait_for(page, "slices", sql="list_contains(tags, 'look again')")
    page.wait_for_function("document.querySelector('[data-testid=stMetricValue]').innerText === '3'")

    page.reload()
    page.locator("a.card").nth(2).wait_for()
    assert page.locator("a.card").count() == 3
    page.get_by_role("button", name="Take back the last tag or decision").click()
    page.get_by_text("No picture matches this query.").wait_for()
    assert store.tags() == {}
    assert page.title() != "owned"


def test_a_wrong_query_shows_its_error_under_its_place_and_history_brings_the_last_back(page, filled) -> None:
    editor(page).click()
    page.keyboard.press("Control+A")
    page.keyboard.type("SELECT * FROM samples\nWHERE labl = 1")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    problem = page.locator(".cm-content .problem")
    problem.wait_for()
    assert problem.inner_text().startswith("      ^ ") and "labl" in problem.inner_text()
    assert page.locator(".cm-content .wrong").inner_text() == "labl"
    page.get_by_text("Of the last query that worked").wait_for()
    value(page, "o'hara").wait_for()
    page.get_by_role("button", name="History").click()
    page.locator(".history .entry", has_text=filled[1]).click()
    page.get_by_role("button", name="Run").last.click()
    page.locator("a.card").first.wait_for()


def test_a_brushed_range_and_the_keys_change_the_where_clause(page, filled) -> None:
    bins = page.get_by_role("group", name="confidence: arrows").locator("button")
    box = bins.first.bounding_box()
    last = bins.last.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(last["x"] + 2, last["y"] + 20, steps=4)
    page.mouse.up()
    query = wait_for(page, "slices", sql="confidence BETWEEN")
    assert query["sql"].rstrip().endswith("DESC")
    page.locator("button.bin.in").first.wait_for()
    margin = page.get_by_role("group", name="margin: arrows").locator("button")
    margin.first.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    wait_for(page, "slices", sql="margin BETWEEN 0")


def test_twelve_pictures_are_in_the_first_screen(page, filled) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.wait_for_timeout(500)
    inside = """() => [...document.querySelectorAll('*')].flatMap(node => node.shadowRoot
        ? [...node.shadowRoot.querySelectorAll('.box')] : [])
        .filter(box => box.getBoundingClientRect().bottom <= innerHeight).length"""
    assert page.evaluate(inside) >= 12
    assert not browsing.wide(page)


def test_the_library_of_the_editor_comes_from_the_app_alone(page) -> None:
    editor(page).wait_for()
    assert page.locator(".cm-content .keyword").first.inner_text() == "SELECT"
