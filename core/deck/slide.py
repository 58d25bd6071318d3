"""A slide: a title in the presenter's words, figures with the query of each, and pictures. As JSON and back.

Knows: what stands on a slide. Does not know: where it is kept (core/store), how it is drawn or written to a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from core.errors import RequestError

Kind = Literal["title", "cause", "finding", "slice", "picture", "chart", "matrix", "comparison", "report_card", "text"]
Measure = Literal["count", "share", "mean", "change", "single"]
View = Literal["original", "overlay", "masked"]


@dataclass(frozen=True)
class Figure:
    """A number on a slide, and the SELECT of one row that gives it.

    `count` reads (n,), `share` (hits, n), `mean` (mean, standard deviation, n), `change` (change of a probability, low,
    high, n), `single` the probability of one picture. `shown` is what the back row reads
    (`81%`), `quiet` the whole truth (`81.3% [79.6, 83.0] · n 2,000`); both come from `core.deck.figures.told`.
    """

    words: str
    measure: Measure
    sql: str
    shown: str
    quiet: str


@dataclass(frozen=True)
class Shot:
    """A picture of the run: which view of it, and the words under it."""

    image_id: str
    view: View = "original"
    words: str = ""


@dataclass(frozen=True)
class Pair:
    """A picture before and after an intervention, as WebP in base64, and what the classifier says of it."""

    before: str
    after: str
    words: str


@dataclass(frozen=True)
class Bars:
    """A bar chart: shares (0 to 1) by name, with 95% bounds; `sql` gives rows (name, hits, n) in this order."""

    heading: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    sql: str


@dataclass(frozen=True)
class Grid:
    """A table: its head, and rows of words; `sql` gives the same rows, numbers unformatted."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sql: str


@dataclass(frozen=True)
class Slide:
    """One slide of the deck.

    `figures` holds two at most; `body` is for slides of words, one line each; `notes` only the presenter sees.
    `page` and `state` are the page of the app from which it was kept and its address, so that one can drill down.
    `sources` are the queries behind it.
    """

    key: str
    kind: Kind
    run: str
    title: str
    figures: tuple[Figure, ...] = ()
    shots: tuple[Shot, ...] = ()
    pairs: tuple[Pair, ...] = ()
    bars: Bars | None = None
    grid: Grid | None = None
    body: tuple[str, ...] = ()
    quiet: str = ""
    notes: str = ""
    sources: tuple[str, ...] = ()
    page: str = "summary"
    state: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """As JSON, one line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def from_json(text: str) -> Slide:
    """The slide that `Slide.to_json` wrote.

    Raises:
        RequestError: it is no such JSON.
    """
    try:
        found: Mapping[str, Any] = json.loads(text)
        return Slide(
            **{
                **found,
                "figures": tuple(Figure(**item) for item in found["figures"]),
                "shots": tuple(Shot(**item) for item in found["shots"]),
                "pairs": tuple(Pair(**item) for item in found["pairs"]),
                "bars": Bars(**{name: _tuple(value) for name, value in found["bars"].items()})
                if found["bars"]
                else None,
                "grid": Grid(
                    tuple(found["grid"]["head"]), tuple(map(tuple, found["grid"]["rows"])), found["grid"]["sql"]
                )
                if found["grid"]
                else None,
                "body": tuple(found["body"]),
                "sources": tuple(found["sources"]),
                "state": tuple((str(name), str(value)) for name, value in found["state"]),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError(f"this is no slide of a deck ({error}): delete it, or keep it again") from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
