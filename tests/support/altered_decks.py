"""Files of a deck with one digit changed: where digits can be seen in each form, and the file with another there."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Iterator

from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, StreamObject

from core.deck.files import Form

SHEET = "xl/worksheets/sheet1.xml"
"""The sheet of the workbook inside a native chart: what one edits in PowerPoint."""
DIGIT = re.compile(r"\d")


def altered(content: bytes, form: Form, *, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` copies of a file in each of which another digit is changed: what stood around it, and the copy."""
    texts = parts_of(content, form)
    places = [
        (name, start + match.start())
        for name, text in texts.items()
        for start, shown in seen(text, form, name)
        for match in DIGIT.finditer(shown)
    ]
    dice = random.Random(seed)
    for name, at in dice.sample(places, count):
        text = texts[name]
        other = dice.choice([digit for digit in "0123456789" if digit != text[at]])
        words = f"{name}: {text[max(0, at - 40) : at]}[{text[at]}→{other}]{text[at + 1 : at + 20]}"
        yield words, with_part(content, form, name, f"{text[:at]}{other}{text[at + 1 :]}")


def parts_of(content: bytes, form: Form) -> dict[str, str]:
    """The texts of a file in which digits can be seen, by name."""
    if form == "pptx":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            wanted = re.compile(r"ppt/(slides/slide|notesSlides/notesSlide|charts/chart)\d+\.xml")
            texts = {name: packed.read(name).decode() for name in packed.namelist() if wanted.fullmatch(name)}
            for book in (name for name in packed.namelist() if name.endswith(".xlsx")):
                with zipfile.ZipFile(io.BytesIO(packed.read(book))) as inner:
                    texts[f"{book}!{SHEET}"] = inner.read(SHEET).decode()
            return texts
    if form == "pdf":
        pages = PdfReader(io.BytesIO(content)).pages
        return {str(at): page.get_contents().get_data().decode("latin-1") for at, page in enumerate(pages)}
    return {"": content.decode()}


def seen(text: str, form: Form, name: str) -> Iterator[tuple[int, str]]:
    """The pieces of a part that a reader sees, and where each begins."""
    pattern = {
        "pptx": r'<c r="[A-Z]\d+"(?![^>]*t="s")[^>]*><v>([^<]+)</v>'
        if name.endswith(SHEET)
        else r"<c:v>([^<]+)</c:v>"
        if "chart" in name
        else r"<a:t>([^<]+)</a:t>",
        "pdf": r"\(((?:[^()\\]|\\.)*)\) Tj",
        "html": r">([^<>]+)<",
        "md": r"(.+)",
    }[form]
    begin = text.index("<main>") if form == "html" else 0
    end = {"html": text.find("</main>"), "md": text.rfind("<!-- whylook-slides")}.get(form, len(text))
    hidden = [match.span() for match in re.finditer(r"&#\d+;|\\\d{3}|\]\(data:[^)]*\)|<!-- slide .*-->", text)]
    pieces = re.compile(pattern).finditer(text, begin, end)
    for piece in pieces:
        start = piece.start(1)
        shown = list(piece[1])
        for low, high in hidden:
            for at in range(max(low, start), min(high, piece.end(1))):
                shown[at - start] = " "
        yield start, "".join(shown)


def with_part(content: bytes, form: Form, name: str, text: str) -> bytes:
    """The file with another text in the place of one of its parts."""
    sink = io.BytesIO()
    if form == "pptx":
        outer, _, inner = name.partition("!")
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(sink, "w") as new:
            for item in old.infolist():
                kept = old.read(item)
                if item.filename == outer:
                    kept = with_part(kept, form, inner, text) if inner else text.encode()
                new.writestr(item, kept)
        return sink.getvalue()
    if form == "pdf":
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(content)))
        stream = StreamObject()
        stream.set_data(text.encode("latin-1"))
        writer.pages[int(name)][NameObject("/Contents")] = writer._add_object(stream)
        writer.write(sink)
        return sink.getvalue()
    return text.encode()
