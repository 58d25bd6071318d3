"""Everybody can use the pages, in a real browser: axe finds nothing, keys reach everything, nothing is cut or small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from core.store import Store
from tests.support import browsing
from tests.support.store_factory import make_store

pytestmark = browsing.NEEDED
PLACES = ("?findings=1", "slices", "slices?as=Table", "slices?as=Charts", "search", "search?q=ground", "sample",
          "labels", "compare", "present", "runs?new=1")  # fmt: skip
UNFOLD = """() => document.querySelectorAll('*').forEach((host) => host.shadowRoot?.querySelectorAll('summary')
    .forEach((summary) => { if (!summary.parentElement.open) summary.click(); }))"""
CLASSES = tuple(f"class {letter}" for letter in "abcdefghijkl")
LEAST_PIXELS, LEAST_CONTRAST = 16, 4.5
ZOOMED = 720, 450
"""A screen of 1440 x 900 at 200%."""

SMALL = """least => {
  const found = [], walk = (root) => {
    for (const node of root.querySelectorAll('*')) {
      if (node.shadowRoot) walk(node.shadowRoot);
      const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
      const icon = node.closest('[data-testid=stIconMaterial], svg, style, script, canvas');
      if (!own || icon || !node.getClientRects().length) continue;
      const size = parseFloat(getComputedStyle(node).fontSize);
      if (size < least - 0.1) found.push(`${size} ${node.textContent.trim().slice(0, 40)} <${node.tagName}>`);
    }
  };
  walk(document.querySelector('[data-testid=stMain]'));
  return [...new Set(found)];
}"""

CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const bright = (...layers) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of layers) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const host = document.querySelector('.st-key-confusion [data-testid=stBidiComponentRegular], .st-key-confusion');
  const all = [];
  const walk = (root) => root.querySelectorAll('*').forEach((node) => {
    if (node.shadowRoot) walk(node.shadowRoot);
    if (node.matches('.confusion a')) all.push(node);
  });
  walk(host);
  const ground = getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor;
  const sample = all.find((cell) => cell.classList.contains('wrong'));
  const found = [];
  for (let strength = 0; strength <= 1.0001; strength += 0.02) {
    sample.style.setProperty('--strength', Math.min(100, 12 + 88 * strength) + '%');
    sample.classList.toggle('strong', strength > 0.72);
    const style = getComputedStyle(sample);
    const [ink, back] = [bright(ground, style.color), bright(ground, style.backgroundColor)];
    found.push(Math.max(ink, back) / Math.min(ink, back));
  }
  return found;
}"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_store(tmp_path_factory.mktemp("access") / "store", rows=300, classes=CLASSES)


@pytest.fixture(scope="module")
def address(filled: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(filled[0].folder) as served:
        yield served


def opened(browser: Any, *, scheme: str = "light", width: int = 1440, height: int = 900) -> Any:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(browsing.PATIENCE * 1000)
    return page


def drawn(page: Any, address: str) -> None:
    page.goto(address)
    page.locator("h1").first.wait_for()
    page.wait_for_timeout(300)
    browsing.settled(page)
    page.wait_for_timeout(700)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_on_any_page(browser, address: str, scheme: str) -> None:
    page, found = opened(browser, scheme=scheme), []
    for place in PLACES:
        drawn(page, f"{address}/{place}")
        for rule in Axe().run(page).response["violations"]:
            found += [f"{place} {rule['id']}: {node['html'][:120]}" for node in rule["nodes"]]
    page.context.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_what_is_opened_chosen_or_wrong(browser, address: str, scheme: str) -> None:
    page, found = opened(browser, scheme=scheme), []

    def look(state: str) -> None:
        page.wait_for_timeout(300)
        without_toasts = {"exclude": [["[data-testid=stToast]"]]}  # Streamlit's own, gone after seconds
        for rule in Axe().run(page, context=without_toasts).response["violations"]:
            found.extend(f"{state} {rule['id']}: {node['html'][:120]}" for node in rule["nodes"])

    drawn(page, f"{address}/slices")
    page.evaluate(UNFOLD)
    page.locator("a.card").first.focus()
    page.keyboard.press("Space")
    page.locator(".box.chosen").wait_for()
    look("facets open, a picture chosen")
    page.keyboard.press("z")
    page.locator("dialog[open] img").wait_for()
    look("enlarged")
    drawn(page, f"{address}/slices?sql=SELECT * FROM samples WHERE labl = 1")
    page.locator(".cm-content .problem").wait_for()
    look("error")
    drawn(page, f"{address}/labels")
    page.get_by_role("button", name="Not sure").first.click()
    page.locator("[class*=st-key-decided-]").first.wait_for()
    look("label decided")
    page.get_by_role("button", name="Undo").first.click()
    drawn(page, f"{address}/present")
    page.get_by_role("button", name="Make a first deck").click()
    page.get_by_label("Title of slide 2").wait_for()
    look("deck")
    page.get_by_role("button", name="Present", exact=True).click()
    page.locator("dialog[open], .stage").first.wait_for()
    look("stage")
    page.context.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_number_in_a_cell_of_mistakes_can_be_read_at_every_strength(browser, address: str, scheme: str) -> None:
    page = opened(browser, scheme=scheme)
    drawn(page, address)
    page.locator(".confusion a.wrong").first.wait_for()
    contrasts = page.evaluate(CONTRAST)
    page.context.close()
    assert min(contrasts) >= LEAST_CONTRAST, [round(value, 2) for value in contrasts]


def test_the_confusion_matrix_is_one_stop_of_the_tab_key_with_arrows_inside(browser, address: str) -> None:
    page = opened(browser)
    drawn(page, address)
    cells = page.locator(".confusion a")
    cells.first.wait_for()
    assert cells.count() > 20
    assert sum(cell.get_attribute("tabindex") == "0" for cell in cells.all()) == 1
    cells.first.focus()
    focused = ".confusion a:focus"
    start = page.locator(focused).bounding_box()
    page.keyboard.press("ArrowDown")
    below = page.locator(focused).bounding_box()
    assert below["y"] > start["y"] and abs(below["x"] - start["x"]) < 1
    page.keyboard.press("End")
    end, named = page.locator(focused).bounding_box(), page.locator(focused).get_attribute("aria-label")
    assert end["x"] > below["x"] and abs(end["y"] - below["y"]) < 1
    page.keyboard.press("Tab")
    assert page.locator(focused).count() == 0
    page.keyboard.press("Shift+Tab")
    assert page.locator(focused).get_attribute("aria-label") == named
    page.keyboard.press("Enter")
    browsing.wait_for(page, "slices", sql="prediction =")
    page.context.close()


def test_the_focus_is_seen_in_the_navigation(browser, address: str) -> None:
    page = opened(browser)
    drawn(page, address)
    link = page.get_by_test_id("stTopNavLink").nth(1)
    for _ in range(40):
        page.keyboard.press("Tab")
        if link.evaluate("node => node === document.activeElement"):
            break
    style = link.evaluate("node => { const s = getComputedStyle(node); return [s.outlineStyle, s.outlineWidth] }")
    page.context.close()
    assert style == ["solid", "3px"]


@pytest.mark.parametrize(("width", "height"), [(800, 900)], ids=["800 pixels"])
def test_nothing_scrolls_sideways_on_a_narrow_screen(browser, address: str, width: int, height: int) -> None:
    page, found = opened(browser, width=width, height=height), []
    for place in PLACES:
        drawn(page, f"{address}/{place}")
        if browsing.wide(page):
            page.wait_for_timeout(2000)  # a chart takes the width of its place a moment after it is drawn
        found += [f"{place} {part}" for part in browsing.wide(page)]
        page.set_viewport_size({"width": ZOOMED[0], "height": ZOOMED[1]})
        page.wait_for_timeout(600)
        found += [f"{place} at 200%: {part}" for part in browsing.wide(page)]
        page.set_viewport_size({"width": width, "height": height})
    page.context.close()
    assert not found, found


def test_no_words_are_smaller_than_captions_may_be(browser, address: str) -> None:
    page, found = opened(browser), []
    for place in PLACES:
        drawn(page, f"{address}/{place}")
        found += [f"{place} {words}" for words in page.evaluate(SMALL, LEAST_PIXELS)]
    page.context.close()
    assert not found, "\n".join(found)


def test_the_act_that_matters_is_seen_without_scrolling(browser, address: str) -> None:
    page = opened(browser)
    drawn(page, address)
    box = page.get_by_role("button", name="Summarise this dataset").bounding_box()
    assert box["y"] + box["height"] < 500
    page.context.close()
