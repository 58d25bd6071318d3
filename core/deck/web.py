"""A deck as one HTML file that needs no network: keys, light and dark, one slide a page in print, its JSON inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.deck.carried import MARK, bar_words, clean, notes, pack
from core.deck.layout import BARS, EDGE, PAIRS, ROWS, SHOTS, TITLE_SIZES, WIDTH, fitted
from core.deck.pictures import Pictures, pair_pictures
from core.deck.slide import Slide

_FOLDER = Path(__file__).parent
_UNIT = WIDTH * 72 / 100
"""Points in a hundredth of the slide's width."""


@dataclass(frozen=True)
class Bar:
    """A bar: its words, and its ends as shares."""

    name: str
    words: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Shown:
    """A slide and what the template cannot make by itself; pictures are data addresses, empty where they are gone."""

    slide: Slide
    size: float
    shots: tuple[tuple[str, str], ...]
    pairs: tuple[tuple[str, str, str], ...]
    bars: tuple[Bar, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: str


def web(slides: Sequence[Slide], pictures: Pictures) -> str:
    """The slides as a page; everything that came from outside is escaped."""
    script = (_FOLDER / "deck.js").read_text(encoding="utf-8")
    templates = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    return templates.get_template("deck.html").render(
        shown=[_shown(slide, pictures) for slide in slides],
        title=slides[0].title if slides else "",
        mark=MARK,
        script=Markup(script),  # noqa: S704, our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        json=Markup(pack(slides)),  # noqa: S704, all that could end the script is an escape
    )


def _shown(slide: Slide, pictures: Pictures) -> Shown:
    size, _ = fitted(slide.title, WIDTH - 2 * EDGE, TITLE_SIZES, most=2.4)
    shots = tuple(
        (_address(pictures.get((slide.run, shot.image_id, shot.view))), shot.words) for shot in slide.shots[:SHOTS]
    )
    pairs = []
    for pair in slide.pairs[:PAIRS]:
        before, after = pair_pictures(pair) or (None, None)
        pairs.append((_address(before), _address(after), pair.words))
    bars = tuple(
        Bar(name, words, value, low, high)
        for (name, words), value, low, high in zip(
            bar_words(slide), *((slide.bars.values, slide.bars.low, slide.bars.high) if slide.bars else ((), (), ())),
            strict=True,
        )
    )  # fmt: skip
    rows = slide.grid.rows[:ROWS] if slide.grid else ()
    return Shown(slide, round(size / _UNIT, 2), shots, tuple(pairs), bars[:BARS], rows, notes(slide))


def _address(content: bytes | None) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}" if content else ""
