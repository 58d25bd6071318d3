"""The one language of the pages: safe text, SQL for a click, file names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from core.queries import literal

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_ADDRESS = re.compile(r"(?<=http)(?=s?://)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_DIRECTION = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Streamlit turns these into icons, its logo and arrows after Markdown is read, so that a backslash is of no use.
_DIRECTIVE = re.compile(r"(?<=:)(?=\w)")
_SYMBOL = re.compile(r"(?<!\S)(?:<->|->|<-|--|>=|<=|~=)(?!\S)")


def visible(text: object) -> str:
    """User data in one line, without what would reorder the words around it: such a character is shown as one."""
    return _DIRECTION.sub("\ufffd", _CONTROL.sub(" ", str(text)))


def plain(text: object) -> str:
    """User data as literal text in a Markdown widget: no markup, no formula, link, remote picture or directive."""
    # Markdown makes links of bare addresses even where they are escaped: an invisible word joiner breaks them.
    line = _SYMBOL.sub(_parted, _DIRECTIVE.sub("\u2060", _ADDRESS.sub("\u2060", visible(text))))
    return _PUNCTUATION.sub(r"\\\1", line)


def _parted(symbol: re.Match[str]) -> str:
    return symbol[0][0] + "\u2060" + symbol[0][1:]


def short(text: object, most: int = 80) -> str:
    """A name for a heading: its beginning and, where that is not all, an ellipsis."""
    line = visible(text)
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def segments(text: str, words: Sequence[str]) -> list[tuple[str, bool]]:
    """Cuts a text into (piece, marked) so that it can be drawn with marks without ever building HTML from it."""
    wanted = sorted({word for word in words if word}, key=len, reverse=True)
    if not text or not wanted:
        return [(text, False)] if text else []
    pattern = re.compile(r"(?<!\w)(" + "|".join(re.escape(word) for word in wanted) + r")(?!\w)", re.IGNORECASE)
    return [(piece, index % 2 == 1) for index, piece in enumerate(pattern.split(text)) if piece]


def slice_sql(run: str, *conditions: str, order: str = "confidence DESC") -> str:
    """SELECT over samples of one run with further conditions, laid out to be read."""
    lines = ["SELECT * FROM samples", f"WHERE run = {literal(run)}", *(f"  AND {text}" for text in conditions)]
    return "\n".join([*lines, f"ORDER BY {order}"])


def is_whole(sql: str, run: str) -> bool:
    """Whether a query is the one for every picture of a run, whose ids need not be looked for among the run's."""
    return " ".join(sql.split()) == " ".join(slice_sql(run).split())


def cell_condition(name: str | None) -> str:
    """The condition that selects one cell."""
    return "cell IS NULL" if name is None else f"cell = {literal(name)}"


def link(page: str, /, **values: object) -> str:
    """Address of a page with its state, relative to the app's root, for an anchor."""
    kept = {key: str(value) for key, value in values.items() if value not in (None, "")}
    return f"{page}?{urlencode(kept)}" if kept else page


def file_name(parts: Iterable[str], suffix: str) -> str:
    """A download's name made of run and slice, with nothing in it that a file system minds."""
    cleaned = [re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") for part in ("whylook", *parts)]
    return "-".join(part for part in cleaned if part)[:80] + suffix
