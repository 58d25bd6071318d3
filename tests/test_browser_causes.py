"""Causes in a real browser: looked for with a button, read, folded out, and followed to their pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import wait_for
from tests.support.discovered import make_discovered_store
from tests.support.tiny_world import MODEL, make_folder

pytestmark = browsing.NEEDED
ODD = ("<img src=x onerror=\"document.title='owned'\">", "cow", "horse")
SLOW = """

class Slow(Tiny):
    def forward(self, batch):
        import pathlib, time
        time.sleep(1.0 if pathlib.Path(__file__).with_name("wait").exists() else 0)
        return super().forward(batch)


def slow():
    return Slow(3), to_tensor, ("blue", "green", "red")
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("found") / "store", classes=ODD)


@pytest.fixture(scope="module")
def address(found: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(found[0].folder) as served:
        yield served


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1440, 1920])
def test_stories_fit_the_page_in_both_themes_and_their_pictures_load(
    browser: Any, address: str, found: tuple[Store, str], scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(browsing.PATIENCE * 1000)
    page.goto(f"{address}/?run={found[1]}")
    story = page.locator(".story")
    story.first.wait_for()
    assert not browsing.wide(page)
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert story.locator("img").count() == 4 + 2 * 3
    assert story.locator("img").evaluate_all(loaded)
    assert story.locator(".shows").evaluate("shows => shows.scrollWidth <= shows.clientWidth")
    assert page.title() != "owned"
    context.close()


def test_a_story_leads_to_its_pictures_and_the_folded_verdicts_open(
    browser: Any, address: str, found: tuple[Store, str]
) -> None:
    with browsing.watched_page(browser, address) as page:
        page.goto(f"{address}/?run={found[1]}")
        page.locator("abbr").first.wait_for()
        assert "same size without the cue" in (page.locator("abbr").first.get_attribute("title") or "")
        assert page.get_by_text("Bright pictures: there but not used").count() == 0 or (
            not page.get_by_text("Bright pictures: there but not used").is_visible()
        )
        page.get_by_text("There but not used · 1").click()
        page.get_by_text("Bright pictures: there but not used").wait_for()
        n = int(page.locator(".story .held .link").inner_text().split()[0])
        page.locator(".story a.held").click()
        wait_for(page, "slices", sql="strategy =")
        page.locator("a.card").first.wait_for()
        assert page.locator("a.card").count() == n
        page.locator("a.card").first.click()
        wait_for(page, "sample", image="")
        page.get_by_role("heading", name="How it was seen").wait_for()
        page.locator(".story.alone .change").first.wait_for()


def test_causes_are_looked_for_with_a_button_and_can_be_cancelled(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("looking")
    make_folder(folder / "pictures", per_class=40)
    (folder / "model.py").write_text(MODEL + SLOW)
    words = ["run", folder / "pictures", "--classifier", f"{folder / 'model.py'}:slow", "--no-vlm", "--store"]
    command = [sys.executable, "-m", "core", *map(str, words), str(folder / "store"), "-q"]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
    (folder / "wait").touch()
    with browsing.served(folder / "store") as address, browsing.watched_page(browser, address) as page:
        page.goto(address)
        page.get_by_role("button", name="Look for causes that no column lists").click()
        page.get_by_text("Looking for causes").wait_for()
        page.get_by_text(re.compile("looking at what was seen|testing cues")).first.wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("nothing of it was kept").wait_for()
        (folder / "wait").unlink()
        page.get_by_role("button", name="Look for causes that no column lists").click()
        page.get_by_text(re.compile("Not tested · |There but not used · ")).first.wait_for()
        assert page.locator("[data-testid=stAlertContentError]").count() == 0
        page.reload()
        page.get_by_role("heading", name="What do the answers rest on?").wait_for()
        assert page.get_by_role("button", name="Look for causes").count() == 0
