"""Hostile words on every page, in a real browser: they are shown as they are, nothing runs, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import wide
from tests.support.hostile import NAMES, make_hostile_store

pytestmark = browsing.NEEDED
PAGES = {
    "?findings=1": "table.classes a",
    "slices?as=Pictures": "a.card",
    "slices?as=Table": "[data-testid=stDataFrame]",
    "slices?as=Charts": ".vega-embed",
    "search?q=heading": ".hit mark",
    "search?q=": "[data-testid=stMain] [data-testid=stButton]",
    "search?image=" + "00010000000000000000000000000000": "a.card",
    "sample?image=" + "00010000000000000000000000000000": ".facts",
    "sample?image=" + "00010000000000000000000000000003": ".facts",
    "runs?new=1": "[data-testid=stDataFrame]",
}
"""Address of every page and view, and what shows that it is drawn."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_hostile_store(tmp_path_factory.mktemp("hostile") / "store", rows=48)


@pytest.fixture(scope="module")
def address(hostile: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(hostile[0].folder) as served:
        yield served


@pytest.mark.parametrize("width", [1440, 800])
def test_hostile_words_are_shown_as_they_are_and_scroll_no_page_sideways(browser, address, hostile, width) -> None:
    outside: set[Any] = set()
    with browsing.watched_page(browser, address, width=width) as page:
        for path, drawn in PAGES.items():
            page.goto(f"{address}/{path}&run={hostile[1]}")
            page.get_by_role("heading", level=1).first.wait_for()
            page.locator(drawn).first.wait_for()
            page.wait_for_timeout(400)
            assert page.locator("[data-testid=stAlertContentError]").count() == 0, path
            outside |= browsing.connections(address)
            assert wide(page) == [], path
            assert page.title() == "whylook", path
            assert page.locator(".katex, img[src=x], iframe, img[alt='Streamlit logo']").count() == 0, path
            leads = page.locator("a[href]").evaluate_all("links => links.map(link => link.href)")
            assert all(link.startswith(f"{address}/") for link in leads), path
            assert page.locator("[data-testid=stMain] script, .stMarkdownBadge, .stMarkdownColoredText").count() == 0
    assert outside == set(), "the app's processes speak to others"


def test_a_name_of_another_writing_direction_reorders_nothing_around_it(browser, address, hostile) -> None:
    with browsing.watched_page(browser, address) as page:
        page.goto(f"{address}/sample?image={'0001' + '5'.zfill(28)}&run={hostile[1]}")
        page.locator(".facts").first.wait_for()
        shown = page.locator("[data-testid=stMain]").inner_text() + page.locator(".facts").first.inner_text()
        assert "\u202e" not in shown and "\ufffdgnp.exe" in shown


def test_a_class_of_any_name_leads_to_its_pictures(browser, address, hostile) -> None:
    with browsing.watched_page(browser, address) as page:
        for index in range(len(NAMES)):
            page.goto(f"{address}/?run={hostile[1]}")
            link = page.locator("table.classes td:first-child a.link").nth(index)
            link.wait_for()
            link.click()
            page.locator("a.card").first.wait_for()
            assert page.locator("[data-testid=stMetricValue]").first.inner_text() == str(48 // len(NAMES))


def test_the_watch_on_connections_sees_one(address) -> None:
    import socket

    with socket.socket() as listening, socket.socket() as asking:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        asking.connect(listening.getsockname())
        seen = browsing.connections("http://127.0.0.1:1", of=psutil.Process())
        assert listening.getsockname()[1] in {port for _, port in seen}
