"""What a deck's file shows and what it carries: its texts by slide and place, and the slides inside it."""

from __future__ import annotations

import io
import logging
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core.deck.carried import MARK, unpack
from core.deck.files import Form
from core.deck.slide import Slide
from core.errors import RequestError

MOST_UNPACKED = 2**30
"""Bytes of a PowerPoint file when unpacked: a small file can unpack to more than the memory holds."""
Texts = Mapping[tuple[str, str], str]
"""By the slide's key and the place on it; an empty place where a form does not tell its places apart."""


@dataclass(frozen=True)
class Content:
    """A file's visible texts, and the slides that it carries."""

    texts: Texts
    slides: tuple[Slide, ...]


def read_back(content: bytes, form: Form) -> Content:
    """What a file shows and carries.

    Raises:
        RequestError: it is damaged, or none that whylook wrote.
    """
    from lxml import etree
    from pptx.exc import PackageNotFoundError
    from pypdf.errors import PyPdfError

    readers = {"pptx": _powerpoint, "html": _web, "pdf": _pdf, "md": _markdown}
    broken = (zipfile.BadZipFile, zlib.error, PackageNotFoundError, PyPdfError, etree.LxmlError, OSError)
    try:
        carried, texts = readers[form](content)
        shown = list(texts)
    except (*broken, ValueError, LookupError, TypeError, AttributeError, RecursionError, NotImplementedError) as error:
        # of damaged parts; the last of zipfile, for a way to compress that it does not know
        raise RequestError(f"the file cannot be read as .{form} ({error}): write it again") from error
    if carried is None:
        raise RequestError("the file carries no slides of whylook, so nothing can be checked: write it again")
    found: dict[tuple[str, str], str] = {}
    for slide, place, text in shown:
        found[slide, place] = f"{found[slide, place]} {text}" if (slide, place) in found else text
    return Content(found, unpack(carried))


_Read = tuple[str | None, Iterator[tuple[str, str, str]]]


def _powerpoint(content: bytes) -> _Read:
    from lxml import etree
    from pptx import Presentation

    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        if (size := sum(part.file_size for part in packed.infolist())) > MOST_UNPACKED:
            raise ValueError(f"unpacked it would take {size:,} bytes, at most {MOST_UNPACKED:,} are read")
        for name in packed.namelist():
            if not (name.startswith("customXml/") and name.endswith(".xml")):
                continue
            root = etree.fromstring(packed.read(name), etree.XMLParser(resolve_entities=False, huge_tree=True))
            if etree.QName(root).localname == MARK:
                return root.text or "", iter(list(_slides_of(Presentation(io.BytesIO(content)))))
    return None, iter(())


def _slides_of(deck: object) -> Iterator[tuple[str, str, str]]:
    for made in deck.slides:  # type: ignore[attr-defined]
        key = made._element.cSld.get("name", "")
        yield key, "", ""
        for shape in made.shapes:
            if shape.has_chart:
                yield from _chart_of(key, shape)
            elif shape.has_table:
                for y, row in enumerate(shape.table.rows):
                    yield from ((key, f"cell {y}, {x}", cell.text) for x, cell in enumerate(row.cells, start=1))
            elif shape.has_text_frame:
                yield key, shape.name, shape.text_frame.text
            elif hasattr(shape, "shapes"):
                yield from ((key, part.name, part.text_frame.text) for part in shape.shapes if part.has_text_frame)
        if made.has_notes_slide and made.notes_slide.notes_text_frame is not None:
            yield key, "notes", made.notes_slide.notes_text_frame.text


def _chart_of(key: str, shape: object) -> Iterator[tuple[str, str, str]]:
    """The bars of a native chart: its sheet, their names and values, and the reach of their intervals."""
    from openpyxl import load_workbook
    from pptx.oxml.ns import qn

    chart = shape.chart  # type: ignore[attr-defined]
    if (book := chart.part.chart_workbook.xlsx_part) is not None:  # what PowerPoint opens to edit the chart
        for sheet in load_workbook(io.BytesIO(book.blob), read_only=True, data_only=True):
            for row in sheet.iter_rows():
                yield from (
                    (key, f"sheet cell {cell.coordinate}", str(cell.value)) for cell in row if cell.value is not None
                )
    if chart.has_title:
        yield key, "chart", chart.chart_title.text_frame.text
    for plot in chart.plots:
        for place, name in enumerate(plot.categories, start=1):
            yield key, f"bar {place} name", str(name)
        for series in plot.series:
            for place, value in enumerate(series.values, start=1):
                yield key, f"bar {place}", "–" if value is None else str(value)
            for reach in series._element.iter(qn("c:errBars")):
                yield key, "intervals", " ".join(point.text or "" for point in reach.iter(qn("c:v")))


def _web(content: bytes) -> _Read:
    from lxml import html

    page = html.document_fromstring(content, parser=html.HTMLParser(encoding="utf-8", huge_tree=True))
    scripts = page.xpath(f"//script[@id='{MARK}']")
    return (scripts[0].text or "" if scripts else None), _shown_in(page)


def _shown_in(page: object) -> Iterator[tuple[str, str, str]]:
    for made in page.xpath("//*[@data-slide]"):  # type: ignore[attr-defined]
        key = made.get("data-slide")
        yield key, "", ""
        for part in made.iter():
            place = next((up.get("data-place") for up in (part, *part.iterancestors()) if up.get("data-place")), "")
            if isinstance(part.tag, str) and part.text and part.text.strip():
                yield key, place, part.text.strip()
            if part.get("data-drawn"):
                yield key, f"{part.get('data-drawn')} as drawn", part.get("style", "")
            if part is not made and part.tail and part.tail.strip():
                above = part.getparent()
                place = next(
                    (up.get("data-place") for up in (above, *above.iterancestors()) if up.get("data-place")), ""
                )
                yield key, place, part.tail.strip()


def _pdf(content: bytes) -> _Read:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it says of damaged parts, the error says in a sentence
    reader = PdfReader(io.BytesIO(content))
    carried = reader.attachments.get(f"{MARK}.json")
    keys = {reader.get_destination_page_number(place): name for name, place in reader.named_destinations.items()}
    texts = (
        (keys.get(number) or f"page {number + 1}", "", page.extract_text()) for number, page in enumerate(reader.pages)
    )
    return (carried[0].decode() if carried else None), texts


def _markdown(content: bytes) -> _Read:
    text = content.decode()
    carried = re.search(rf"^<!-- {MARK} (.*) -->$", text, re.MULTILINE)
    shown = text if carried is None else text.replace(carried[0], "")
    shown = re.sub(r"\]\(data:image/[^)]*\)", "]", shown)
    parts = re.split(r"^<!-- slide (.*) -->$", shown, flags=re.MULTILINE)
    found = [(key, "", said) for key, said in zip(parts[1::2], parts[2::2], strict=True)]
    return (carried[1] if carried else None), iter([("", "", parts[0]), *found])
