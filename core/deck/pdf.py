"""A deck as PDF, one slide a page, laid out as in PowerPoint, with the slides' JSON attached.

The font is DejaVu, which matplotlib brings: Latin, Greek, Cyrillic and most signs. What it cannot write is said.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from pypdf import PdfReader, PdfWriter
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from core.deck import layout
from core.deck.carried import MARK, bar_words, clean, pack, right_to_left
from core.deck.layout import BARS, HEIGHT, ROWS, WIDTH, Box, Chart, Picture, Table, Words
from core.deck.pictures import Pictures
from core.deck.slide import Slide

FILE = f"{MARK}.json"
_FONTS = {False: "DejaVuSans", True: "DejaVuSans-Bold"}


def pdf(slides: Sequence[Slide], pictures: Pictures) -> bytes:
    """The slides as a PDF with one page each."""
    _fonts()
    sink = io.BytesIO()
    canvas = Canvas(sink, pagesize=(WIDTH * 72, HEIGHT * 72), invariant=1, lang="en")
    canvas.setTitle(clean(slides[0].title) if slides else "")
    canvas.setAuthor("whylook")
    for slide in slides:
        canvas.bookmarkPage(slide.key)
        canvas.addOutlineEntry(clean(slide.title)[:80], slide.key)
        for part in layout.parts(slide, pictures):
            if isinstance(part, Words):
                _words(canvas, part)
            elif isinstance(part, Picture):
                _picture(canvas, part)
            elif isinstance(part, Chart):
                _chart(canvas, slide, part.box)
            else:
                _table(canvas, part)
        canvas.showPage()
    canvas.save()
    writer = PdfWriter(clone_from=PdfReader(sink))
    writer.add_attachment(FILE, pack(slides).encode())
    final = io.BytesIO()
    writer.write(final)
    return final.getvalue()


def cannot_write(slides: Sequence[Slide]) -> str | None:
    """What a PDF cannot write as it should be, in a sentence; None when all is well."""
    known = _fonts()
    for place, slide in enumerate(slides, start=1):
        texts = [part.text for part in layout.parts(slide, {}) if isinstance(part, Words)]
        texts += [name for name, _ in bar_words(slide)] + (
            [text for row in slide.grid.rows for text in row] if slide.grid else []
        )
        for text in texts:
            missing = sorted({letter for letter in clean(text) if letter > " " and ord(letter) not in known})
            if missing:
                return (
                    f"the PDF's font cannot write {''.join(missing[:12])} on slide {place}; "
                    "write HTML or PowerPoint, or print the HTML with a browser"
                )
            if any(map(right_to_left, text.split())):
                return f"slide {place} has right-to-left words, which the PDF does not order; write HTML or PowerPoint"
    return None


@cache
def _fonts() -> frozenset[int]:
    """Registers the fonts; the characters that they can write."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [TTFont(name, str(folder / f"{name}.ttf")) for name in _FONTS.values()]
    for font in fonts:
        pdfmetrics.registerFont(font)
    face: Any = fonts[1].face
    return frozenset(face.charToGlyph)


def _ink(canvas: Canvas, colour: str) -> None:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4))
    canvas.setFillColorRGB(red, green, blue)
    canvas.setStrokeColorRGB(red, green, blue)


def _words(canvas: Canvas, part: Words) -> None:
    font = _FONTS[part.bold]
    _ink(canvas, part.colour)
    canvas.setFont(font, part.size)
    y = (HEIGHT - part.box.y) * 72 - part.size
    for line in wrapped(part.text, font, part.size, part.box.width * 72):
        if part.centred:
            canvas.drawCentredString((part.box.x + part.box.width / 2) * 72, y, line)
        elif right_to_left(line):
            canvas.drawRightString((part.box.x + part.box.width) * 72, y, line)
        else:
            canvas.drawString(part.box.x * 72, y, line)
        y -= part.size * 1.2


def wrapped(text: str, font: str, size: float, width: float) -> list[str]:
    """A text as lines of at most `width` points; a word that is longer than a line is cut."""
    lines: list[str] = []
    for given in text.split("\n"):
        line = ""
        for word in given.split(" "):
            wider = f"{line} {word}" if line else word
            if pdfmetrics.stringWidth(wider, font, size) <= width:
                line = wider
                continue
            lines += [line] if line else []
            while pdfmetrics.stringWidth(word, font, size) > width and len(word) > 1:
                cut = next(
                    at
                    for at in range(len(word) - 1, 0, -1)
                    if at == 1 or pdfmetrics.stringWidth(word[:at], font, size) <= width
                )
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    return lines


def _picture(canvas: Canvas, part: Picture) -> None:
    box = part.box
    if part.content is None:
        _ink(canvas, layout.PANEL)
        canvas.rect(box.x * 72, (HEIGHT - box.y - box.height) * 72, box.width * 72, box.height * 72, stroke=0, fill=1)
        return
    image = ImageReader(io.BytesIO(part.content))
    wide, high = image.getSize()
    factor = min(box.width / wide, box.height / high) * 72
    y = (HEIGHT - box.y - box.height / 2) * 72 - high * factor / 2
    canvas.drawImage(image, box.x * 72, y, wide * factor, high * factor)


def _chart(canvas: Canvas, slide: Slide, box: Box) -> None:
    """Bars with their intervals: name, bar and words side by side."""
    bars = slide.bars
    assert bars is not None
    rows = bar_words(slide)[:BARS]
    _words(canvas, Words("chart", clean(bars.heading), Box(box.x, box.y, box.width, 0.3), 14, colour=layout.SOFT))
    step = min(0.6, (box.height - 0.4) / max(1, len(rows)))
    size = min(16.0, step * 72 * 0.5)
    name, said = box.width * 0.22, box.width * 0.32
    track = box.width - name - said
    for index, (word, truth) in enumerate(rows):
        y = box.y + 0.4 + index * step
        text = (y + step / 2) - size / 144
        line = wrapped(clean(word), _FONTS[False], size, name * 72 - 6)
        _words(canvas, Words("bar", line[0], Box(box.x, text, name, step), size))
        value, low, high = bars.values[index], bars.low[index], bars.high[index]
        x, middle = (box.x + name) * 72, (HEIGHT - y - step / 2) * 72
        if value == value:
            _ink(canvas, layout.ACCENT)
            canvas.rect(x, middle - step * 18, track * value * 72, step * 36, stroke=0, fill=1)
            _ink(canvas, layout.INK)
            canvas.line(x + track * low * 72, middle, x + track * high * 72, middle)
        _words(canvas, Words("bar", truth, Box(box.x + name + track + 0.1, text, said, step), size))


def _table(canvas: Canvas, part: Table) -> None:
    rows = [part.grid.head, *part.grid.rows[:ROWS]]
    columns = max([*map(len, rows), 1])
    wide, high = part.box.width / columns, part.box.height / len(rows)
    for y, row in enumerate(rows):
        top = part.box.y + y * high
        _ink(canvas, layout.ACCENT if y == 0 else layout.PANEL)
        canvas.rect(
            part.box.x * 72, (HEIGHT - top - high + 0.015) * 72, part.box.width * 72, high * 72 - 1.5, stroke=0, fill=1
        )
        for x, text in enumerate(row):
            font = _FONTS[y == 0]
            size = part.size
            while size > 7 and pdfmetrics.stringWidth(clean(text), font, size) > wide * 72 - 12:
                size -= 0.5
            line = wrapped(clean(text), font, size, wide * 72 - 10)[0]
            place = Box(part.box.x + x * wide + 0.08, top + (high - size / 72) / 2, wide, high)
            _words(canvas, Words("cell", line, place, size, y == 0, layout.PAPER if y == 0 else layout.INK))
