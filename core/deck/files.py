"""A deck as a file that people hand on: PowerPoint, HTML, PDF or Markdown, by the end of its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal, cast, get_args

from core.deck.pictures import Pictures
from core.deck.slide import Slide
from core.errors import RequestError

Form = Literal["pptx", "html", "pdf", "md"]
KINDS = {
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "html": "text/html",
    "pdf": "application/pdf",
    "md": "text/markdown",
}
"""What a browser calls each form."""
EMPTY = "the deck is empty: keep something in the app (whylook app), or make a first deck with whylook deck --first"


def form_of(name: str) -> Form:
    """The form that a file's name asks for.

    Raises:
        RequestError: its end is none that whylook writes.
    """
    end = PurePath(name).suffix.lower().lstrip(".")
    end = {"htm": "html", "markdown": "md"}.get(end, end)
    if end not in get_args(Form):
        raise RequestError(f"a deck's file must end in .pptx, .html, .pdf or .md, got {PurePath(name).name}")
    return cast(Form, end)


def write(slides: Sequence[Slide], pictures: Pictures, form: Form) -> bytes:
    """The slides as a file of one form.

    Raises:
        RequestError: there are no slides.
    """
    if not slides:
        raise RequestError(EMPTY)
    # each is imported where it is used: what writes PowerPoint and PDF takes a second to load
    if form == "pptx":
        from core.deck.powerpoint import powerpoint

        return powerpoint(slides, pictures)
    if form == "pdf":
        from core.deck.pdf import pdf

        return pdf(slides, pictures)
    if form == "html":
        from core.deck.web import web

        return web(slides, pictures).encode()
    from core.deck.markdown import markdown

    return markdown(slides, pictures).encode()


def cannot_show(slides: Sequence[Slide], form: Form) -> str | None:
    """What a form cannot show of these slides, in a sentence; None when all is well."""
    if form != "pdf":
        return None
    from core.deck.pdf import cannot_write

    return cannot_write(slides)
