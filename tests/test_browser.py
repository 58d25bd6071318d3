"""The app in a real browser: every page opens without an error, and every click does what the page promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import state, wait_for
from tests.support.store_factory import make_store

ODD = ("cow", "<img src=x onerror=\"document.title='owned'\">", 'o\'hara "q" [a](http://evil.example)')
pytestmark = browsing.NEEDED


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_store(tmp_path_factory.mktemp("browser") / "store", rows=60, classes=ODD)


@pytest.fixture(scope="module")
def address(filled: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(filled[0].folder) as served:
        yield served


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with browsing.watched_page(browser, address) as opened:
        yield opened


def test_a_link_to_a_page_works_as_the_very_first_visit(page, address: str, filled) -> None:
    page.goto(f"{address}/search?run={filled[1]}")
    page.get_by_role("link", name="Slices").first.wait_for()
    page.get_by_role("heading", name="Search").wait_for()
    assert page.get_by_text("run form").count() == 0
    assert state(page)[0] == "search"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_every_page_opens_in_both_themes_and_widths(browser, address: str, filled, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(browsing.PATIENCE * 1000)
    for name, heading in (
        ("", "Summary"),
        ("slices", "Slices"),
        ("search", "Search"),
        ("labels", "Labels"),
        ("runs", "Runs"),
        ("sample", ""),
    ):
        page.goto(f"{address}/{name}?run={filled[1]}")
        page.get_by_role("heading", name=re.compile(heading or "·"), level=1).wait_for()
        assert page.locator("[data-testid=stAlertContentError]").count() == 0
        assert page.locator("[data-testid=stException]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.title() != "owned"
    context.close()


def test_a_matrix_cell_leads_to_its_pictures_and_a_picture_to_its_page(page, address: str, filled) -> None:
    page.goto(f"{address}/?run={filled[1]}")
    page.locator("a.cell", has_text="right, judge finds little support").click()
    query = wait_for(page, "slices", sql="cell = 'correct_low'")
    assert query["run"] == filled[1]
    cards = page.locator("a.card")
    cards.first.wait_for()
    assert cards.first.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")
    cards.first.click()
    wait_for(page, "sample", sql="correct_low", image="0")
    page.get_by_text("right, judge finds little support").first.wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text(re.compile(r"^2 of \d+$")).wait_for()
    page.get_by_role("button", name="Back to the slice").click()
    wait_for(page, "slices", sql="correct_low")


def test_the_confusion_matrix_leads_to_its_pictures(page, address: str, filled) -> None:
    page.goto(f"{address}/?run={filled[1]}")
    cell = page.locator(".confusion a.wrong").first
    n = int(cell.inner_text())
    cell.click()
    query = wait_for(page, "slices", sql="prediction =")
    assert "label =" in query["sql"]
    page.locator("a.card").first.wait_for()
    assert page.locator("a.card").count() == n
    page.go_back()
    wait_for(page, "")
    page.locator(".confusion a.wrong").first.wait_for()


def test_a_class_leads_to_its_pictures_whatever_its_name(page, address: str, filled) -> None:
    page.goto(f"{address}/?run={filled[1]}")
    page.locator("table.classes a.link", has_text="<img").first.click()
    query = wait_for(page, "slices", sql="label = '<img")
    assert "''owned''" in query["sql"]
    page.locator("a.card").first.wait_for()
    assert page.title() != "owned"


def test_a_finding_leads_to_its_pictures(page, address: str, filled) -> None:
    pytest.importorskip("core.findings")
    page.goto(f"{address}/?run={filled[1]}")
    page.get_by_role("button", name="Summarise this dataset").click()
    wait_for(page, "", findings="1")
    page.get_by_role("button", name="Markdown").wait_for()
    report = browsing.downloaded(page, page.get_by_role("button", name="HTML"))
    assert report.suggested_filename.startswith("whylook-synthetic-")
    row = page.locator(".finding").first
    row.get_by_text("Evidence and SQL", exact=True).click()
    query = row.locator("pre").inner_text()
    n = int(row.locator("a .link").inner_text().split()[0].replace(",", ""))
    row.locator("a.pictures").click()
    assert wait_for(page, "slices", sql="samples")["sql"] == query
    page.locator("a.card").first.wait_for()
    assert page.locator("[data-testid=stMetricValue]").first.inner_text() == f"{n:,}"


def test_ctrl_enter_runs_the_query_and_the_address_carries_it_to_a_colleague(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}")
    editor = page.get_by_role("textbox", name="SELECT over samples")
    editor.fill("SELECT * FROM samples WHERE NOT correct")
    editor.press("Control+Enter")
    wait_for(page, "slices", sql="NOT correct")
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.locator("a.card").first.wait_for()
    expected = "SELECT * FROM samples WHERE NOT correct"
    assert page.get_by_role("textbox", name="SELECT over samples").inner_text() == expected


def test_a_query_error_stands_beside_the_editor_in_words(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}&sql={quote('SELECT nonsense FROM samples')}")
    alert = page.locator("[data-testid=stAlertContentError]")
    alert.wait_for()
    assert "nonsense" in alert.inner_text()
    assert "Traceback" not in page.content()


def test_the_other_views_and_the_table_show_the_same_pictures(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}&view={quote('All three')}")
    card = page.locator("a.card").first
    card.wait_for()
    assert card.locator(".frame").count() == 3
    page.get_by_role("radio", name="Table").or_(page.get_by_role("button", name="Table")).first.click()
    page.locator("[data-testid=stDataFrame]").first.wait_for()
    wait_for(page, "slices", **{"as": "Table"})


def test_search_marks_the_words_and_leads_to_similar_pictures(page, address: str, filled) -> None:
    page.goto(f"{address}/search?run={filled[1]}")
    field = page.get_by_label("What should the judge have said?")
    field.fill("ground")
    field.press("Enter")
    page.locator(".hit mark").first.wait_for(timeout=120_000)
    assert page.locator(".hit mark").first.inner_text().lower() == "ground"
    assert state(page)[1]["q"] == "ground"
    page.get_by_text("similar ones").first.click()
    wait_for(page, "search", image="0")
    page.get_by_role("heading", name="Explained like this one").wait_for()


def test_the_threshold_slider_changes_the_masked_picture_and_the_address(page, address: str, filled) -> None:
    page.goto(f"{address}/sample?run={filled[1]}")
    masked = page.get_by_role("img", name="masked", exact=True)
    masked.wait_for()
    before = masked.get_attribute("src")
    page.get_by_role("slider").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_for(page, "sample", threshold="0.6")
    # the picture is gone for a moment while the page is drawn anew
    source = "document.querySelector('img[alt=masked]')?.getAttribute('src') ?? before"
    page.wait_for_function(f"before => {source} !== before", arg=before)


def test_the_run_picker_keeps_its_run_across_pages(page, address: str, filled) -> None:
    page.goto(f"{address}/slices?run={filled[1]}")
    page.locator("a.card").first.wait_for()
    page.get_by_role("link", name="Search").first.click()
    wait_for(page, "search", run=filled[1])


def test_text_from_the_data_never_becomes_markup(page, address: str, filled) -> None:
    for name in ("", "slices", "sample", "runs"):
        page.goto(f"{address}/{name}?run={filled[1]}")
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_timeout(500)
        assert page.title() != "owned"
        assert page.evaluate("document.querySelectorAll('img[src=x], a[href*=\"//evil\"]').length") == 0
