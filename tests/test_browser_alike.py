"""From a file's name to the pictures that the model sees like it, to a slice, with Back and reload, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

from tests.support import browsing
from tests.support.browsing import wait_for
from tests.support.seen_alike import seen_store

pytestmark = browsing.NEEDED


def test_pictures_alike_are_found_kept_in_the_address_and_opened_as_a_slice(browser: Any, tmp_path: Path) -> None:
    store, run, _ = seen_store(tmp_path / "store")
    with (
        browsing.served(store.folder) as address,
        browsing.watched_page(browser, address, width=800) as page,
    ):
        page.goto(f"{address}/search?run={run}")
        page.get_by_label("Part of its file name").fill("horse/")
        page.keyboard.press("Enter")
        page.get_by_text("Choose one to see").wait_for()
        page.locator("a.card").first.click()
        wait_for(page, "search", alike="seen", image="0")
        page.get_by_role("heading", name="Seen like this one").wait_for()
        page.locator("a.card", has_text="alike").first.wait_for()
        near = page.locator("a.card", has_text="alike").count()
        assert near >= 10 and browsing.wide(page) == [] and Axe().run(page).response["violations"] == []
        page.get_by_role("radio", name="What the judge said").click()
        wait_for(page, "search", alike="said")
        page.get_by_role("heading", name="Explained like this one").wait_for()
        page.go_back()
        wait_for(page, "search", alike="seen")
        page.get_by_role("heading", name="Seen like this one").wait_for()
        page.reload()
        page.locator("a.card", has_text="alike").nth(near - 1).wait_for()
        page.get_by_role("button", name="Open as a slice").click()
        wait_for(page, "slices", sql="list_position")
        page.locator("[data-testid=stMetricValue]", has_text=str(near + 1)).first.wait_for()
        page.locator("a.card").first.click()
        wait_for(page, "sample")
        page.get_by_role("heading", name="Seen alike by the model").wait_for()
        page.get_by_role("button", name="More that look like this").click()
        wait_for(page, "search", alike="seen")
