"""Runs in a real browser: start one, watch it, cancel it, resume it, and read what did not work."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.store import Store
from tests.support import browsing
from tests.support.browsing import wait_for
from tests.support.tiny_world import MODEL, make_folder

pytestmark = browsing.NEEDED
STOPS_WITHIN = 3.0
"""Seconds after Cancel."""
SLOW = """

class Slow(Tiny):
    def forward(self, batch):
        import time
        time.sleep(0.2)
        return super().forward(batch)


def slow():
    return Slow(3), to_tensor, ("blue", "green", "red")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pictures for several batches, one of them broken, and a file with a classifier that takes its time."""
    folder = tmp_path_factory.mktemp("world")
    make_folder(folder / "pictures", per_class=80)
    (folder / "pictures" / "red" / "broken.png").write_bytes(b"no picture")
    (folder / "model.py").write_text(MODEL + SLOW)
    return folder / "pictures", folder / "model.py"


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, Path]]:
    store = tmp_path_factory.mktemp("runs") / "store"
    with browsing.served(store) as address, browsing.watched_page(browser, address) as opened:
        yield opened, address, store


def test_a_run_is_started_watched_cancelled_and_resumed(page, world: tuple[Path, Path]) -> None:
    opened, address, folder = page
    pictures, model = world
    opened.goto(address)
    opened.get_by_role("button", name="Start a run").click()
    wait_for(opened, "runs", new="1")
    opened.get_by_role("textbox", name="Pictures").fill(str(pictures))
    opened.get_by_role("textbox", name="Classifier").fill(f"{model}:slow")
    opened.get_by_role("radio", name="No judge").or_(opened.get_by_role("button", name="No judge")).first.click()
    opened.get_by_role("button", name="Start", exact=True).click()
    opened.get_by_text(re.compile(r"of \d+ pictures")).first.wait_for()
    name = Store(folder).run_records()[0]["run"]
    wait_for(opened, "runs", run=name)
    opened.get_by_role("button", name="Cancel").click()
    asked = time.monotonic()
    opened.get_by_role("button", name="Stopping").or_(opened.get_by_role("button", name="Resume")).first.wait_for()
    while Store(folder).writer_alive():
        assert time.monotonic() - asked < STOPS_WITHIN
        time.sleep(0.05)
    resume = opened.get_by_role("button", name="Resume")
    resume.wait_for()
    opened.get_by_text("Partial").first.wait_for()
    opened.get_by_role("heading", name="interrupted").wait_for()
    first = Store(folder).run_records()[0]
    assert first["state"] in ("interrupted", "running")  # ended by force, it could not say so itself
    resume.click()
    opened.get_by_text(re.compile(r"· done$")).first.wait_for()
    [record] = Store(folder).run_records()
    assert (record["run"], record["state"]) == (first["run"], "done")
    opened.get_by_text("Partial").first.wait_for(state="hidden")


def test_a_run_that_cannot_start_says_why_beside_start(page) -> None:
    opened, address, _ = page
    opened.goto(f"{address}/runs?new=1")
    opened.get_by_role("textbox", name="Pictures").fill("/nowhere/at/all")
    opened.get_by_role("button", name="Start", exact=True).click()
    alert = opened.get_by_test_id("stExpander").get_by_test_id("stAlertContentError")
    alert.first.wait_for()
    opened.wait_for_timeout(2500)
    assert alert.count() == 1
    opened.goto(address)


def test_a_finished_run_says_what_did_not_work_and_leads_to_its_summary(page) -> None:
    opened, address, _ = page
    opened.goto(f"{address}/runs")
    opened.get_by_text("1 failure", exact=True).wait_for()
    failures = browsing.downloaded(opened, opened.get_by_test_id("stDownloadButton").get_by_role("button"))
    assert "broken.png" in Path(failures.path()).read_text()
    opened.get_by_role("button", name="See the summary").click()
    wait_for(opened, "")
    opened.get_by_role("heading", name="Summary").wait_for()
    opened.get_by_text("No judge looked at this run").wait_for()
    opened.locator(".confusion a").first.wait_for()
