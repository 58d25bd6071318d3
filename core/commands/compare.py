"""The command `compare`: two runs over the same pictures in sentences and tables, or as JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from core.cells import cell
from core.commands.read import existing
from core.commands.terminal import rows_table, write_table
from core.comparison import Comparison, Pair, compare, sentences
from core.comparison.words import p_words, points
from core.records import Run


def compare_runs(arguments: argparse.Namespace) -> int:
    """What differs between two runs, and whether it is more than chance."""
    store = existing(arguments.store)
    a, b = (store.run_called(name) for name in (arguments.a, arguments.b))
    found = compare(store.reader(), a, b, group=arguments.group)
    titles = store.run_titles((found.a, found.b))
    if arguments.json:
        print(json.dumps(_as_json(found, titles), indent=2, ensure_ascii=False))
        return 0
    for letter, run in (("A", found.a), ("B", found.b)):
        print(f"{letter} is {title(run, titles)}")
    print()
    for sentence in sentences(found):
        print(sentence)
    _tables(found, arguments.limit)
    return 0


def title(run: Run, titles: dict[str, str]) -> str:
    """What a run is called, its id and its classifier."""
    return f"{titles[run.name]} ({run.name}, {run.settings.classifier})"


def _tables(found: Comparison, most: int) -> None:
    listed = found.changes.listed[:most]
    if listed:
        rows: list[dict[str, object]] = [
            {
                "where": item.words, "n": item.n, "A": item.a, "B": item.b,
                "only A": item.only_a, "only B": item.only_b,
                "difference": points(item.difference), "p, adjusted": p_words(item.p), "stands": item.stands,
            }
            for item in listed
        ]  # fmt: skip
        _table("Classes, slices and confusions, those least likely by chance first", rows)
    if found.accuracy:
        _pictures("Regressions: only A is right", found.accuracy.regressions, most)
        _pictures("Wins: only B is right", found.accuracy.wins, most)
    if found.cells:
        cells: list[dict[str, object]] = [
            {"pictures": cell(item.cell).words, "A": item.a, "B": item.b} for item in found.cells
        ]
        _table("Correct and attention, pictures that both judged", cells)
    if found.attention and found.attention.overlap.value < 0.999:
        _pictures("Attention moved most", found.attention.most, most)


def _pictures(heading: str, pictures: Sequence[Pair], most: int) -> None:
    if not pictures:
        return
    shown = f", the first {most:,} of {len(pictures):,} (--limit)" if len(pictures) > most else f", {len(pictures):,}"
    rows: list[dict[str, object]] = [
        {"path": item.path, "label": item.label, "A": item.answer_a, "B": item.answer_b}
        | ({} if item.overlap is None else {"overlap": round(item.overlap, 2)})
        for item in pictures[:most]
    ]
    _table(heading + shown, rows)


def _table(heading: str, rows: list[dict[str, object]]) -> None:
    print(f"\n{heading}")
    write_table(rows_table(rows, list(rows[0])), "table")


def _as_json(found: Comparison, titles: dict[str, str]) -> object:
    runs = {
        letter: {"run": run.name, "name": titles.get(run.name), "classifier": run.settings.classifier}
        for letter, run in (("a", found.a), ("b", found.b))
    }
    return _finite({"sentences": sentences(found), **asdict(found), **runs})


def _finite(value: object) -> object:
    """The same without NaN, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
