"""The map on Slices in a real browser: drawn with a button, a lasso becomes the slice, Back, reload, the picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import wait_for
from tests.support.store_factory import make_store

pytestmark = browsing.NEEDED
FIT = 0.94  # as in pages/_map_code.py
DRAWN = """() => [...document.querySelectorAll('*')].some(
    node => node.shadowRoot && node.shadowRoot.querySelector('.root[data-drawn]'))"""


@pytest.fixture
def page(browser: Any, tmp_path) -> Iterator[tuple[Any, Store]]:
    store, run = make_store(tmp_path / "store", rows=60)
    with (
        browsing.served(store.folder) as address,
        browsing.watched_page(browser, address, width=1440) as opened,
    ):
        opened.goto(f"{address}/slices?run={run}&as=Map")
        yield opened, store


def test_a_map_is_drawn_a_lasso_is_the_slice_and_a_click_opens_the_picture(page: tuple[Any, Store]) -> None:
    opened, store = page
    opened.get_by_role("button", name="Draw the map").click()
    opened.wait_for_function(DRAWN, timeout=90_000)
    opened.get_by_text("55 on the map").wait_for()
    canvas = opened.get_by_role("img", name="Map of 55 pictures")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y, side = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["height"] / 2
    known = "SELECT image_id, words_x, words_y FROM samples WHERE words_x IS NOT NULL ORDER BY words_y DESC LIMIT 1"
    highest = store.reader().execute(known).fetchall()[0]
    over, down = FIT * (2 * highest[1] - 1) * side, FIT * (2 * highest[2] - 1) * side
    shown = opened.locator(".over img")
    for _ in range(30):  # until the map has drawn what lies under the pointer; a slow click counts as a drag of the map
        opened.mouse.move(x + over - 30, y - down)
        opened.mouse.move(x + over, y - down, steps=3)
        opened.wait_for_timeout(1_000)
        if shown.is_visible():
            opened.mouse.click(x + over, y - down)
            opened.wait_for_timeout(2_000)
        if "/sample" in opened.url:
            break
    wait_for(opened, "sample", image=highest[0])
    opened.get_by_text("Original", exact=True).wait_for()
    opened.go_back()
    wait_for(opened, "slices", **{"as": "Map"})
    opened.get_by_text("55 on the map").wait_for()
    opened.wait_for_function(DRAWN)

    opened.get_by_role("button", name="Lasso", exact=True).click()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y, side = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["height"] / 2
    corners = [(-1, -0.98), (0, -0.98), (0, 0.98), (-1, 0.98), (-1, -0.9)]  # the left half
    opened.mouse.move(x + side * corners[0][0], y + side * corners[0][1])
    opened.mouse.down()
    for across, down in corners[1:]:
        opened.mouse.move(x + side * across, y + side * down, steps=12)
    opened.mouse.up()
    wait_for(opened, "slices", sql="in_lasso(words_x, words_y, [")
    opened.get_by_text("inside the lasso").wait_for()
    count = "SELECT count(*) FROM samples WHERE words_x < 0.5"  # the lasso reaches beyond the map, which has a margin
    left = store.reader().execute(count).fetchall()[0][0]
    assert 0 < left < 55
    opened.get_by_text(f"{left} in the slice, 55 on the map").wait_for()

    opened.reload()
    opened.get_by_text(f"{left} in the slice, 55 on the map").wait_for()
    opened.get_by_role("button", name="Without lasso").click()
    opened.get_by_text("55 on the map", exact=True).wait_for()
    opened.go_back()
    opened.get_by_text(f"{left} in the slice, 55 on the map").wait_for()


def test_the_picture_under_the_pointer_is_asked_of_the_app_alone(page: tuple[Any, Store]) -> None:
    opened, _ = page
    address = opened.url.partition("/slices")[0]
    run = opened.url.partition("run=")[2].partition("&")[0]
    said = opened.request.get(f"{address}/whylook-map/{run}/3").json()
    assert said["title"] and said["src"].startswith("data:image/") and len(said["image"]) == 32
    assert opened.request.get(f"{address}/whylook-map/{run}/60").status == 404
    assert opened.request.get(f"{address}/whylook-map/r-none/0").status == 404
    assert opened.request.get(f"{address}/whylook-assets/..%2F_server.py").status in (400, 404)
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert opened.request.get(f"{address}/whylook-map/{run}/3", headers=foreign).status == 403
