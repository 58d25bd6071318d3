"""The menu Export in a real browser: what is downloaded is what the slice holds, and Stop leaves nothing."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support import browsing
from tests.support.slice_files import World, world

pytestmark = browsing.NEEDED
SLICE = "SELECT * FROM samples WHERE path <> 'cow/a.png'"

OF_A_FILE = """() => [...document.querySelectorAll('*')].some(node => node.shadowRoot?.querySelector(
    'dialog[open] .large img[src^="data:image/jpeg"]'))"""
FOCUSED = """() => { let at = document.activeElement;
    while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    return at?.className; }"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def page(browser: Any, made: World) -> Iterator[Any]:
    with (
        browsing.served(made.store.folder) as address,
        browsing.watched_page(browser, address, width=1440) as opened,
    ):
        opened.goto(f"{address}/slices?run={made.run}&sql={SLICE}")
        opened.locator("a.card").first.wait_for()
        opened.get_by_role("button", name="Export").click()
        yield opened


def test_an_enlarged_picture_is_the_file_itself_and_the_arrows_lead_on(page: Any) -> None:
    page.keyboard.press("Escape")
    page.locator("a.card").first.focus()
    page.keyboard.press("z")
    shown = page.locator("dialog[open] .large img")
    page.wait_for_function(OF_A_FILE)  # thumbnails are WebP
    before = shown.get_attribute("src")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(OF_A_FILE)
    assert shown.get_attribute("src") != before
    page.keyboard.press("Escape")
    shown.wait_for(state="detached")
    assert page.evaluate(FOCUSED) == "card"


def chosen(page: Any, form: str) -> None:
    page.get_by_role("combobox", name="As").click()
    page.get_by_role("option", name=form).click()


def downloaded(page: Any, words: str) -> tuple[str, Path]:
    found = browsing.downloaded(page, page.get_by_role("button", name=words))
    return found.suggested_filename, Path(found.path())


def test_each_kind_of_file_holds_the_slice(page: Any, made: World) -> None:
    wanted = {row[0] for row in made.store.reader().execute(SLICE.replace("*", "image_id")).fetchall()}
    name, file = downloaded(page, "Download")
    assert re.fullmatch(r"whylook-synthetic-\d+-\w+-\d+-\d+-slice\.csv", name)
    assert {row["image_id"] for row in csv.DictReader(file.open(newline=""))} == wanted

    chosen(page, "Parquet")
    page.get_by_text("with their types").wait_for()
    assert set(pq.read_table(downloaded(page, "Download")[1])["image_id"].to_pylist()) == wanted

    chosen(page, "Pictures as a zip")
    page.get_by_text("With overlays").click()
    page.get_by_role("button", name=f"Make the file of {len(wanted)} pictures").click()
    name, file = downloaded(page, "Download ")
    page.get_by_text("only as the kept thumbnail").wait_for()
    with zipfile.ZipFile(file) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("samples.csv").decode())))
        assert {row["image_id"] for row in rows} == wanted and rows[0]["overlay"] in archive.namelist()

    chosen(page, "Label Studio")
    page.get_by_role("button", name="Make the file").click()
    name, file = downloaded(page, "Download ")
    with zipfile.ZipFile(file) as archive:
        folder = name.removesuffix(".zip")
        tasks = json.loads(archive.read(f"{folder}/tasks.json"))
        place = unquote(tasks[0]["data"]["image"].partition("?d=")[2])
        assert {task["data"]["image_id"] for task in tasks} <= wanted and place in archive.namelist()
    assert browsing.wide(page) == [] and Axe().run(page).response["violations"] == []
