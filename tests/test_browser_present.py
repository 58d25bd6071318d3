"""The meeting in a real browser: keep, order, rename, present, look at the pictures, come back, undo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from core.deck.slide import Figure, Shot, Slide
from core.store import Store
from tests.support import browsing
from tests.support.browsing import wait_for
from tests.support.discovered import make_discovered_store

pytestmark = browsing.NEEDED
ODD = ("<img src=x onerror=\"document.title='owned'\">", "cow", "horse")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("found") / "store", classes=ODD)


@pytest.fixture(scope="module")
def address(found: tuple[Store, str]) -> Iterator[str]:
    with browsing.served(found[0].folder) as served:
        yield served


@pytest.fixture(autouse=True)
def _empty_deck(found: tuple[Store, str]) -> Iterator[None]:
    yield
    for name in ("saved.json", "saved.json.bak"):
        (found[0].folder / name).unlink(missing_ok=True)


def titles(store: Store) -> list[str]:
    return [entry["slide"]["title"] for entry in store.deck()]


def until(page: Any, store: Store, wanted: list[str]) -> None:
    for _ in range(browsing.PATIENCE * 10):
        if titles(store) == wanted:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"expected the deck {wanted}, got {titles(store)}")


def shown(page: Any, place: int, title: str) -> None:
    """Waits until the list shows that title there."""
    for _ in range(browsing.PATIENCE * 10):
        if page.get_by_label(f"Title of slide {place}").input_value() == title:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"slide {place} is not called {title}")


def test_a_story_and_a_slice_are_kept_ordered_presented_opened_and_undone(
    browser: Any, address: str, found: tuple[Store, str]
) -> None:
    store, run = found
    with browsing.watched_page(browser, address, width=1440) as page:
        page.goto(f"{address}/?run={run}")
        page.locator(".story .keep").first.click()
        page.get_by_text("Kept as slide 1: undo").wait_for()
        page.goto(f"{address}/slices?run={run}&sql=SELECT * FROM samples WHERE run='{run}' AND confidence > 0.6")
        page.get_by_role("button", name="Keep for the meeting").click()
        page.get_by_text("Kept as slide 2.").wait_for()
        story, slice_ = titles(store)

        page.get_by_role("link", name="Present").click()
        page.get_by_label("Title of slide 2").fill("Sure pictures, מעולה")
        page.get_by_label("Title of slide 2").press("Enter")
        until(page, store, [story, "Sure pictures, מעולה"])
        page.get_by_role("button", name="Move slide 2 up").click()
        until(page, store, ["Sure pictures, מעולה", story])
        shown(page, 1, "Sure pictures, מעולה")
        last = page.locator("li.slide").last
        below = {"x": 30, "y": last.bounding_box()["height"] - 8}
        page.locator(".handle").first.drag_to(last, target_position=below)
        until(page, store, [story, "Sure pictures, מעולה"])

        page.get_by_role("button", name="Present", exact=True).first.click()
        wait_for(page, "present", slide="1")
        page.locator(".stage h1").wait_for()
        page.keyboard.press("End")
        assert page.locator(".stage h1").inner_text() == "Sure pictures, מעולה"
        assert browsing.state(page)[1]["slide"] == "2"
        page.keyboard.press("s")
        assert "SELECT count(*) FILTER (correct)" in page.locator(".panel").inner_text()
        page.keyboard.press("Enter")
        query = wait_for(page, "slices", slide="2")
        assert "confidence > 0.6" in query["sql"]
        page.get_by_role("button", name="Back to slide 2").click()
        wait_for(page, "present", slide="2")
        page.locator(".stage h1").wait_for()
        page.locator(".stage a.picture").first.click()
        wait_for(page, "sample", slide="2")
        page.get_by_role("heading", name="Classifier").wait_for()
        page.go_back()
        wait_for(page, "present", slide="2")
        page.locator(".stage h1").wait_for()
        assert page.locator(".stage h1").inner_text() == "Sure pictures, מעולה"
        page.keyboard.press("Home")
        assert page.locator(".stage h1").inner_text() == story
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Delete slide 1").click()
        until(page, store, ["Sure pictures, מעולה"])
        page.get_by_text(f"Deleted “{story[:20]}").first.wait_for()
        page.get_by_role("button", name="Undo").click()
        until(page, store, [story, "Sure pictures, מעולה"])
        page.get_by_text(f"Taken back: deleting slide “{story[:20]}").first.wait_for()
        assert page.title() != "owned"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_slide_fits_a_projector_and_its_numbers_are_large(
    browser: Any, address: str, found: tuple[Store, str], scheme: str
) -> None:
    store, run = found
    figure = Figure("of these are right", "share", "SELECT 1, 2", "50%", "50.0% [9.45, 90.5] · n 2")
    shots = tuple(Shot(f"0000{place:028x}", "overlay") for place in range(6))
    for key, title in (("short", "Cows"), ("long", "wide words " * 45), ("rtl", "שלום עולם")):
        slide = Slide(key, "slice", run, title.strip(), (figure, figure), shots=shots, page="slices")
        store.save_slide(key, asdict(slide))
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(browsing.PATIENCE * 1000)
    page.goto(f"{address}/present?slide=1")
    for number in range(1, 4):
        page.locator(f"section[aria-label='slide {number} of 3']").wait_for()
        pixels = "node => parseFloat(getComputedStyle(node).fontSize)"
        assert page.locator(".stage h1").evaluate(pixels) >= 40
        assert min(page.locator(".stage .shown").evaluate_all(f"nodes => nodes.map({pixels})")) >= 96
        sizes = page.locator(".stage img").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert len(sizes) == 6
        assert min(sizes) > (250 if number != 2 else 120)
        boxes = page.locator(".stage h1, .stage .figure, .stage img, .stage footer").evaluate_all(
            "nodes => nodes.map(node => node.getBoundingClientRect()).map(box => [box.top, box.bottom, box.right])"
        )
        assert all(top >= 0 and bottom <= 1080 and right <= 1920 for top, bottom, right in boxes)
        page.keyboard.press("ArrowRight")
    context.close()


def test_what_is_typed_in_a_window_survives_the_deletion_of_its_slide_in_another(
    browser: Any, address: str, found: tuple[Store, str]
) -> None:
    store, run = found
    for key in ("a", "b"):
        store.save_slide(key, asdict(Slide(key, "text", run, key.upper())))
    with browsing.watched_page(browser, address) as page:
        page.goto(f"{address}/present?run={run}")
        page.get_by_label("Title of slide 1").fill("A better title")
        store.delete_slide("a")
        page.get_by_label("Title of slide 1").press("Enter")
        page.get_by_text("deleted, perhaps in another window").wait_for()
        page.get_by_text("A better title").wait_for()
        page.get_by_role("button", name="Undo").click()
        until(page, store, ["A", "B"])


def test_lines_are_edited_and_the_file_of_the_deck_runs_offline_with_the_same_keys(
    browser: Any, address: str, found: tuple[Store, str], tmp_path
) -> None:
    store, run = found
    for key in ("a", "b", "c"):
        store.save_slide(
            key, asdict(Slide(key, "text", run, key.upper(), body=("first", "second"), notes=f"say {key}"))
        )
    with browsing.watched_page(browser, address) as page:
        page.goto(f"{address}/present?run={run}")
        page.get_by_label("Lines of slide 1").fill("better\nthan before\n")
        page.get_by_label("Lines of slide 1").blur()
        for _ in range(browsing.PATIENCE * 10):
            if store.deck()[0]["slide"]["body"] == ["better", "than before"]:
                break
            page.wait_for_timeout(100)
        browsing.settled(page)
        page.get_by_role("button", name="Save as a file").click()
        loaded = browsing.downloaded(page, page.get_by_role("button", name="HTML"))
        assert loaded.suggested_filename.startswith("whylook-") and "r-" not in loaded.suggested_filename
        loaded.save_as(tmp_path / "deck.html")
        page.keyboard.press("Escape")
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "deck.html").as_uri())
    shown = page.locator("section.slide.shown")
    assert "than before" in shown.inner_text() and shown.count() == 1
    for key, place in (
        ("ArrowRight", "2"),
        ("End", "3"),
        ("ArrowRight", "3"),
        ("PageUp", "2"),
        ("Home", "1"),
        (" ", "2"),
    ):
        page.keyboard.press(key)
        assert page.locator("#place").inner_text() == f"{place} / 3" and page.url.endswith(f"#{place}")
    assert not page.get_by_text("say b").is_visible()
    page.keyboard.press("n")
    assert page.get_by_text("say b").is_visible()
    page.reload()
    assert page.locator("#place").inner_text() == "2 / 3"
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()
