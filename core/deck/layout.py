"""Where everything stands on a slide of 16:9, in inches and points: the same for PowerPoint and for PDF."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.deck.carried import clean
from core.deck.pictures import Pictures, pair_pictures
from core.deck.slide import Bars, Grid, Slide

WIDTH, HEIGHT = 13.333, 7.5
EDGE = 0.6
FOOT = 6.95
"""Where the quiet line begins."""
INK, SOFT, ACCENT, PAPER, PANEL = "1B1F24", "5D6670", "2F5D8C", "FFFFFF", "F4F5F7"
TITLE_SIZES = (34, 28, 24, 20)
"""Points; at 1920 pixels a point is two, so that a title is 40 pixels at least."""
SHOTS, PAIRS, ROWS, BARS = 6, 3, 14, 14
"""What one slide holds at most; more of it is counted in a line."""
_LINE = 1.22
_GAP = 0.22


@dataclass(frozen=True)
class Box:
    """A place on the slide in inches."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Words:
    """A text: `place` says what it is, `size` is in points."""

    place: str
    text: str
    box: Box
    size: float
    bold: bool = False
    colour: str = INK
    centred: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture, as large as its box allows; without content an empty frame."""

    place: str
    content: bytes | None
    alt: str
    box: Box


@dataclass(frozen=True)
class Chart:
    """A bar chart."""

    bars: Bars
    box: Box


@dataclass(frozen=True)
class Table:
    """A table."""

    grid: Grid
    box: Box
    size: float


Part = Words | Picture | Chart | Table


def parts(slide: Slide, pictures: Pictures) -> Iterator[Part]:
    """What stands on a slide, in the order in which it is read."""
    size, high = fitted(slide.title, 0.88 * (WIDTH - 2 * EDGE), TITLE_SIZES, most=2.4)  # bold letters are wider
    alone = not (slide.figures or slide.shots or slide.pairs or slide.bars or slide.grid)
    if alone and slide.kind == "title":
        yield Words("title", clean(slide.title), Box(EDGE, 2.2, WIDTH - 2 * EDGE, high + 0.4), size + 6, True)
        yield from _body(slide, Box(EDGE, 3.0 + high, WIDTH - 2 * EDGE, FOOT - 3.2 - high))
    else:
        yield Words("title", clean(slide.title), Box(EDGE, 0.4, WIDTH - 2 * EDGE, high), size, True)
        yield from _below(slide, pictures, 0.4 + high + _GAP)
    if slide.quiet.strip():
        quiet, _ = fitted(slide.quiet, WIDTH - 2 * EDGE, (14, 12, 10), most=0.3)
        yield Words("quiet", clean(slide.quiet), Box(EDGE, FOOT, WIDTH - 2 * EDGE, 0.4), quiet, colour=SOFT)


def _below(slide: Slide, pictures: Pictures, top: float) -> Iterator[Part]:
    """Everything between the title and the quiet line: figures left, what shows them right, words under them."""
    room = Box(EDGE, top, WIDTH - 2 * EDGE, FOOT - top - 0.1)
    shown = bool(slide.shots) + bool(slide.pairs) + bool(slide.bars) + bool(slide.grid)
    left = 4.0 if slide.figures and shown else 0.0
    if slide.figures:
        box = Box(room.x, room.y, left or room.width, room.height if not slide.body or left else 2.6)
        yield from _figures(slide, box, stacked=bool(left))
    wide = Box(room.x + left + (0.3 if left else 0), room.y, room.width - left - (0.3 if left else 0), room.height)
    if not slide.figures and slide.body and shown:  # words left, what shows them right
        yield from _body(slide, Box(room.x, room.y, 4.0, room.height))
        wide = Box(room.x + 4.3, room.y, room.width - 4.3, room.height)
    elif slide.body and not shown:
        lower = 2.7 if slide.figures else 0.0
        yield from _body(slide, Box(room.x, room.y + lower, room.width, room.height - lower))
    elif slide.body:
        low = 0.3 * len(slide.body[:4]) + 0.1
        yield from _body(slide, Box(wide.x, wide.y + wide.height - low, wide.width, low), largest=14)
        wide = Box(wide.x, wide.y, wide.width, wide.height - low)
    each = wide.height / max(1, shown)
    boxes = iter(Box(wide.x, wide.y + index * each, wide.width, each - 0.1) for index in range(shown))
    if slide.shots:
        yield from _shots(slide, pictures, next(boxes))
    if slide.pairs:
        yield from _pairs(slide, next(boxes))
    if slide.bars is not None:
        yield Chart(slide.bars, next(boxes))
    if slide.grid is not None:
        yield from _table(slide.grid, next(boxes))


def _figures(slide: Slide, box: Box, *, stacked: bool) -> Iterator[Part]:
    count = len(slide.figures)
    wide = box.width if stacked else box.width / count
    high = box.height / count if stacked else box.height
    for index, figure in enumerate(slide.figures):
        x = box.x + (0 if stacked else index * wide)
        y = box.y + (index * min(high, 2.75) if stacked else 0)
        size, _ = fitted(figure.shown, wide - 0.2, (72, 60, 48, 36), most=1.3)
        yield Words(f"figure {index + 1}", clean(figure.shown), Box(x, y, wide - 0.1, 1.2), size, True, ACCENT)
        said, tall = fitted(figure.words, wide - 0.2, (20, 18, 16, 14), most=0.75)
        yield Words(f"figure {index + 1} words", clean(figure.words), Box(x, y + 1.2, wide - 0.1, tall), said)
        truth = Box(x, y + 1.25 + tall, wide - 0.1, 0.35)
        yield Words(f"figure {index + 1} interval", clean(figure.quiet), truth, 14, colour=SOFT)


def _body(slide: Slide, box: Box, *, largest: int = 24) -> Iterator[Part]:
    sizes = [size for size in (24, 20, 18, 16, 14, 12) if size <= largest]
    size = next((size for size in sizes if _tall(slide.body, size, box.width) <= box.height), sizes[-1])
    y = box.y
    for index, line in enumerate(slide.body):
        high = _tall([line], size, box.width)
        yield Words(f"line {index + 1}", clean(line), Box(box.x, y, box.width, high), size)
        y += high


def _tall(lines: Sequence[str], size: float, width: float) -> float:
    return sum(lines_of(line, size, width) * size * _LINE / 72 + size / 180 for line in lines)


def _shots(slide: Slide, pictures: Pictures, box: Box) -> Iterator[Part]:
    shots = slide.shots[:SHOTS]
    columns = min(len(shots), 3) if box.height > 3 else len(shots)
    rows = math.ceil(len(shots) / columns)
    wide, high = box.width / columns, box.height / rows
    under = 0.55 if any(shot.words for shot in shots) else 0.0
    for index, shot in enumerate(shots):
        x, y = box.x + index % columns * wide, box.y + index // columns * high
        content = pictures.get((slide.run, shot.image_id, shot.view))
        frame = Box(x, y, wide - 0.12, high - under - 0.08)
        yield Picture(f"picture {index + 1}", content, clean(f"{shot.view}: {shot.words}"), frame)
        if shot.words:
            size, _ = fitted(shot.words, wide - 0.15, (14, 12, 11), most=0.5)
            below = Box(x, y + high - under - 0.06, wide - 0.12, under)
            yield Words(f"caption {index + 1}", clean(shot.words), below, size, colour=SOFT)


def _pairs(slide: Slide, box: Box) -> Iterator[Part]:
    pairs = slide.pairs[:PAIRS]
    high = min(box.height / len(pairs), 2.6)
    side = min(high - 0.12, box.width * 0.28)
    for index, pair in enumerate(pairs):
        y, made = box.y + index * high, pair_pictures(pair)
        for place, name in enumerate(("before", "after")):
            x = box.x + place * (side + 0.55)
            content = made[place] if made else None
            yield Picture(f"{name} {index + 1}", content, name, Box(x, y, side, side))
        arrow = Box(box.x + side + 0.05, y + side / 2 - 0.25, 0.45, 0.5)
        yield Words(f"arrow {index + 1}", "→", arrow, 24, colour=SOFT, centred=True)
        x = box.x + 2 * side + 0.75
        size, tall = fitted(pair.words, box.x + box.width - x, (20, 18, 16, 14, 12), most=side)
        beside = Box(x, y + max(0.0, (side - tall) / 2), box.x + box.width - x, tall)
        yield Words(f"pair {index + 1}", clean(pair.words), beside, size)


def _table(grid: Grid, box: Box) -> Iterator[Part]:
    rows, columns = min(len(grid.rows), ROWS) + 1, max(1, len(grid.head))
    size = max(10.0, min(18.0, box.height / rows * 72 / 1.9, box.width / columns * 72 / 5))
    yield Table(grid, Box(box.x, box.y, box.width, min(box.height, rows * size * 1.9 / 72)), size)


def fitted(text: str, width: float, sizes: Sequence[int], *, most: float) -> tuple[float, float]:
    """The largest of `sizes` at which a text stays below `most` inches, and its height in inches."""
    for size in sizes:
        high = lines_of(text, size, width) * size * _LINE / 72
        if high <= most:
            break
    return size, high + 0.08


def lines_of(text: str, size: float, width: float) -> int:
    """How many lines of `width` inches a text takes, from the usual width of its letters, rather one too many."""
    room = max(1.0, width * 72 / size)
    letters = (line.split(" ") for line in text.split("\n"))
    return sum(_wrapped([sum(map(_em, word)) for word in words], room) for words in letters)


def _wrapped(widths: Sequence[float], room: float) -> int:
    lines, used = 1, 0.0
    for width in widths:
        if used and used + 0.35 + width > room:
            lines, used = lines + 1, 0.0
        used += width + (0.35 if used else 0)
        more = math.ceil(used / room) - 1
        if more > 0:
            lines, used = lines + more, used - more * room
    return lines


def _em(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return 0.36 if letter in "ilj.,:;'|!ftI " else 0.78 if letter.isupper() or letter in "mw%@" else 0.64
