"""Files on paper and in other programs: the report printed by a browser, the deck opened by LibreOffice."""

from __future__ import annotations

import io
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader

from core import queries, report
from core.deck import files
from core.deck.first import first_deck
from core.deck.keep import asking
from core.deck.pictures import pictures
from core.findings import summarise
from core.store import Store
from tests.support.browsing import CHROMIUM
from tests.support.discovered import make_discovered_store

OFFICE = shutil.which("soffice")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("printed") / "store", classes=("cow", "deer", "horse"))


def squeezed(text: str) -> str:
    """A text without blanks, and without the joined letters of a font."""
    return "".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="chromium is not installed")
def test_the_report_prints_on_a4_and_no_finding_or_picture_is_cut_by_a_page(
    browser, found: tuple[Store, str], tmp_path: Path
) -> None:
    con, run = found[0].reader(), found[1]
    path = tmp_path / "report.html"
    findings = [replace(finding, rank=rank) for rank, finding in enumerate(summarise(con, run) * 5, start=1)]
    path.write_text(report.html(con, run, findings), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    items = page.locator("ol.cues > li, ol.findings > li")
    told = [items.nth(place).inner_text() for place in range(items.count())]
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))
    page.close()
    for sheet in printed.pages:
        assert [float(side) for side in sheet.mediabox[2:]] == pytest.approx([595.3, 841.9], abs=1)
    sheets = [squeezed(sheet.extract_text()) for sheet in printed.pages]
    assert len(told) > 5 and len(sheets) > 2
    for text in told:
        lines = [squeezed(line) for line in text.splitlines() if line.strip()]
        shown = [line for line in lines if line not in ("SQL", "Evidenceandsource")]
        assert any(all(line in sheet for line in shown) for sheet in sheets), shown


@pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed")
def test_libreoffice_opens_the_powerpoint_with_every_slide_and_title(found: tuple[Store, str], tmp_path: Path) -> None:
    store, run = found
    con = store.reader()
    slides = first_deck(asking(store), con, run, summarise(con, run))
    path = tmp_path / "deck.pptx"
    path.write_bytes(files.write(slides, pictures(con, slides), "pptx"))
    profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    words = [str(OFFICE), profile, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path), str(path)]
    subprocess.run(words, check=True, capture_output=True, timeout=180)
    pages = PdfReader(tmp_path / "deck.pdf").pages
    assert len(pages) == len(slides)
    for sheet, slide in zip(pages, slides, strict=True):
        shown = squeezed(sheet.extract_text())
        assert squeezed(slide.title) in shown
        assert all(figure.shown in shown for figure in slide.figures)


def test_the_title_of_a_report_is_its_main_finding_with_its_number(found: tuple[Store, str]) -> None:
    con, run = found[0].reader(), found[1]
    cause = queries.sections(queries.cues(con, run))[queries.CAUSE][0]
    said = report.markdown(con, run, []).splitlines()[0]
    assert any(letter.isdigit() for letter in said)
    assert said.startswith("# ") and cause.words[:20] in said
