"""A deck as Markdown: one section a slide, its pictures inside, the slides' JSON in a comment at the end."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from core.deck.carried import MARK, bar_words, clean, notes, pack
from core.deck.layout import BARS, PAIRS, ROWS, SHOTS
from core.deck.pictures import Pictures, pair_pictures
from core.deck.slide import Slide


def markdown(slides: Sequence[Slide], pictures: Pictures) -> str:
    """The slides as Markdown, a rule between two."""
    told = "\n\n---\n\n".join("\n\n".join(_slide(slide, pictures)) for slide in slides)
    return f"{told}\n\n<!-- {MARK} {pack(slides)} -->\n"


def _slide(slide: Slide, pictures: Pictures) -> list[str]:
    parts = [f"<!-- slide {_key(slide.key)} -->", f"# {escaped(slide.title)}"]
    parts += [f"**{escaped(item.shown)}** {escaped(item.words)} · {escaped(item.quiet)}" for item in slide.figures]
    parts += ["\n".join(f"- {escaped(line)}" for line in slide.body)] if slide.body else []
    for shot in slide.shots[:SHOTS]:
        content = pictures.get((slide.run, shot.image_id, shot.view))
        parts.append(f"{_image(content, shot.view)} {escaped(shot.words)}".strip())
    for pair in slide.pairs[:PAIRS]:
        made = pair_pictures(pair) or (None, None)
        parts.append(f"{_image(made[0], 'before')} → {_image(made[1], 'after')} {escaped(pair.words)}")
    if slide.bars is not None:
        rows = [(name, words) for name, words in bar_words(slide)[:BARS]]
        parts.append(_table((slide.bars.heading, "share"), rows))
    parts += [_table(slide.grid.head, slide.grid.rows[:ROWS])] if slide.grid is not None else []
    parts += [f"*{escaped(slide.quiet)}*"] if slide.quiet.strip() else []
    said = notes(slide)
    longest = max((len(run) for run in re.findall("`+", said)), default=0)
    fence = "`" * max(3, longest + 1)
    return [*parts, f"{fence}text\n{said}\n{fence}"]


def _image(content: bytes | None, words: str) -> str:
    return f"![{words}](data:image/jpeg;base64,{base64.b64encode(content).decode()})" if content else "(no picture)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    wide = max([len(head), *map(len, rows), 1])
    lines = [[*map(escaped, row), *[""] * (wide - len(row))] for row in (head, *rows)]
    lines.insert(1, ["---"] * wide)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _key(key: str) -> str:
    return re.sub(r"[^\w.:]", "_", key)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, one line."""
    flat = " ".join(clean(text).split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", safe)
