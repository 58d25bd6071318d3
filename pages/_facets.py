"""Facets and chips on Slices: clicks that change the WHERE clause of the query.

Knows: the query in the address, facets and conditions. Does not know: the grid, the editor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from core import queries
from core.columns import BY_NAME
from core.queries.facets import GROUPS, YOURS
from core.sql import chips
from core.sql.conditions import Clause, Condition, Group, Query, Raw
from core.sql.where import parse
from pages._facets_code import CSS, JS
from pages._map import is_lasso
from pages._shared import coded_run, store, store_folder, tags_by_picture
from pages._words import is_whole, visible

OPEN = ("Answer", YOURS)
_component = st.components.v2.component("whylook_facets", html='<div class="root"></div>', css=CSS, js=JS)
Use = Callable[[str], None]
"""Puts a query into the address."""


@st.cache_data(max_entries=64, show_spinner=False)
def _facets(folder: str, generation: int, run: str, mark: int, _ids: tuple[str, ...] | None) -> list[queries.Facet]:
    return queries.facets(coded_run(run), _ids)


def facet_panel(run: str, text: str, ids: tuple[str, ...], use: Use) -> None:
    """Every column of the run: the slice against the rest, each value and range a click."""
    found = _facets(
        str(store_folder()), store().generation(), run, hash(ids), _ids=None if is_whole(text, run) else ids
    )
    found = [*_tags(run, ids), *found]
    query = parse(text, run)
    groups = [
        {
            "name": name,
            "open": name in OPEN,
            "columns": [_column(facet, query) for facet in found if facet.group == name],
        }
        for name in GROUPS
    ]
    _draw("facets", run, text, use, groups=[group for group in groups if group["columns"]])


def _tags(run: str, ids: tuple[str, ...]) -> list[queries.Facet]:
    """The tags of now, which the published columns do not know yet."""
    tagged = tags_by_picture()
    if not tagged:
        return []
    inside, everywhere = set(ids), set(coded_run(run).image_ids.to_pylist())
    counts: dict[str, list[int]] = {}
    for image_id, tags in tagged.items():
        for tag in tags if image_id in everywhere else ():
            counts.setdefault(tag, [0, 0])[image_id not in inside] += 1
    bars = tuple(queries.Bar(tag, *n) for tag, n in sorted(counts.items(), key=lambda item: -sum(item[1])))
    return [queries.Facet("tags", YOURS, bars)] if bars else []


def chip_bar(run: str, text: str, use: Use) -> None:
    """The conditions of the query; the run's own is not shown, since the page has it."""
    query = parse(text, run)
    items = [
        {"place": place, **_chip(clause)}
        for place, clause in enumerate(query.clauses)
        if clause != Condition("run", "in", (run,))
    ]
    _draw("chips", run, text, use, items=items)


def _draw(kind: str, run: str, text: str, use: Use, **data: object) -> None:
    key = f"{kind}-of-slice"
    _component(key=key, data={"kind": kind, **data}, on_act_change=partial(_clicked, key, run, text, use))


def _clicked(key: str, run: str, text: str, use: Use) -> None:
    state: Any = st.session_state.get(key)
    act = state.get("act") if state else None
    if act:
        use(changed(parse(text, run), act).text)


def changed(query: Query, act: dict[str, Any]) -> Query:
    """What a click makes of a query; one that fits no condition changes nothing."""
    kind, place = act.get("act"), act.get("place")
    if kind == "value":
        return chips.toggled(query, act["column"], act["value"], within=bool(act.get("within")))
    if kind == "range":
        return chips.ranged(query, act["column"], act["low"], act["high"])
    if not isinstance(place, int) or not 0 <= place < len(query.clauses):
        return query
    if kind == "either" and place < int(act["other"]) < len(query.clauses):
        return chips.either(query, place, int(act["other"]))
    simple = {"negate": chips.negated, "remove": chips.removed, "both": chips.both}
    return simple[kind](query, place) if kind in simple else query


def _column(facet: queries.Facet, query: Query) -> dict[str, object]:
    """One column for the browser; a bin says its edges as SQL will."""
    known = BY_NAME.get(facet.column)
    bins = len(facet.edges) - 1 if facet.edges else 0
    values = [
        {
            "value": bar.value,
            "words": "not known" if bar.value is None else _words(bar.value),
            "inside": bar.inside,
            "rest": bar.rest,
            "state": chips.state_of(query, facet.column, bar.value, within=facet.column == "tags"),
        }
        for bar in facet.bars[bins:]
    ]
    less = 1 if facet.whole else 0
    ranges = [
        {
            "low": low,
            "high": high - less,
            "words": f"{low:g} to {high - less:g}",
            "inside": bar.inside,
            "rest": bar.rest,
        }
        for low, high, bar in zip(facet.edges, facet.edges[1:], facet.bars, strict=False)
    ]
    return {
        "column": facet.column,
        "help": known.meaning if known else "your metadata",
        "values": values,
        "bins": ranges,
        "range": chips.range_of(query, facet.column),
        "ends": [f"{edge:g}" for edge in facet.edges[:: len(facet.edges) - 1]] if facet.edges else [],
        "more": facet.more,
        "within": facet.column == "tags",
    }


def _words(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _chip(clause: Clause) -> dict[str, object]:
    """A condition in few words, whole on hover."""
    if isinstance(clause, Group):
        members = [_chip(member) for member in clause.members]
        joiner = clause.joiner.lower()
        return {"kind": "group", "members": members, "joiner": joiner, "negated": clause.negated, "hint": clause.sql}
    if isinstance(clause, Raw):
        words = "inside the lasso" if is_lasso(clause) else "SQL"
        return {"kind": "sql", "words": words, "negated": clause.negated, "hint": visible(clause.sql)}
    return {"kind": "condition", "words": _said(clause), "negated": clause.negated, "hint": clause.sql}


def _said(item: Condition) -> str:
    """`label = cow`, `score 1 to 2`, `colour not known`."""
    words = [_words(value) for value in item.values]
    no = "not " if item.negated else ""
    if item.operator == "null":
        return f"{item.column} {'known' if item.negated else 'not known'}"
    if item.operator == "between":
        return f"{item.column} {no}{words[0]} to {words[1]}"
    if item.operator == "has":
        return f"{item.column} {'without' if item.negated else 'with'} {words[0]}"
    if item.operator == "in":
        return f"{item.column} {'≠' if item.negated else '='} {' or '.join(words)}"
    return f"{item.column} {item.operator} {words[0]}"
