"""Charts of a slice: its scores against the rest, and what can be said of its groups by any column.

Accuracy is drawn only where the slice holds right and wrong answers; else how much of each group the slice takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core import queries
from core.columns import BY_NAME
from core.deck.tables import of_groups
from core.statistics import wilson
from pages import _charts
from pages._keep import keep_button
from pages._looks import by_answer
from pages._shared import coded_run, read, read_of, store, tags_by_picture
from pages._words import plain

GROUPS = 30
ACCURACY = "accuracy"
TAGS = "tags"
ANSWERS = ("correct", "cell", "mistake")
"""Columns that hold the answer itself: accuracy by them is 0 or 1 by definition."""


def charts(name: str, text: str, ids: tuple[str, ...]) -> None:
    """Scores against the rest, and a rate by any column."""
    stats = read_of(queries.slice_stats, name, ids)
    if stats.inside.scores.size:
        st.altair_chart(_charts.scores_inside_and_rest(stats.inside, stats.rest), width="stretch")
    coded = {column.column: column for column in coded_run(name).columns}
    tags = tags_by_picture()
    texts = read(queries.text_columns, name, tuple(coded))
    options = [*coded, *([TAGS] if tags else []), *texts]
    if not options:
        st.caption("No column tells these pictures apart.")
        return
    column = st.selectbox("Group by", options, key="by", bind="query-params", width=320)
    whole = stats.rest.n == 0
    chosen = column in ANSWERS or (by_answer(text) and not whole)
    found = _groups(name, column, ids, tags)
    title, rows = rates(found, stats.inside.n, whole=whole, by_answer=chosen)
    st.altair_chart(_charts.groups(rows, title=title), width="stretch")
    if title == ACCURACY and column in coded and not coded[column].edges:
        keep_button(f"{name}-{column}-{text}", lambda ask: of_groups(ask, name, column, within=text))
    known = f"{column}: {BY_NAME[column].meaning}. " if column in BY_NAME else ""
    most = f"; the {GROUPS} largest groups" if len(found) == GROUPS else ""
    several = "; a picture counts for each of its tags" if column == TAGS else ""
    st.caption(plain(f"{known}{title.capitalize()} with its 95% interval and the number of pictures{most}{several}."))


def _groups(
    name: str, column: str, ids: tuple[str, ...], tags: Mapping[str, Sequence[str]]
) -> Sequence[queries.GroupCount]:
    """The largest groups of a slice by any column."""
    if column == TAGS:
        return queries.tag_groups(store().reader(), name, tags, ids=ids, most=GROUPS)
    coded = coded_run(name)
    if any(item.column == column for item in coded.columns):
        return queries.groups(coded, ids, column)[:GROUPS]
    return read_of(queries.text_groups, name, ids, column=column, most=GROUPS)


def rates(
    found: Sequence[queries.GroupCount], pictures: int, *, whole: bool, by_answer: bool = False
) -> tuple[str, list[dict[str, object]]]:
    """What is worth drawing of the groups of a slice, with its name: accuracy, or the share of each that it takes.

    Args:
        found: the groups.
        pictures: how many the slice has.
        whole: the slice is the whole run.
        by_answer: the pictures or their groups are chosen by the answers, so that accuracy says nothing of them.
    """
    labelled, right, inside = (sum(getattr(row, of) for row in found) for of in ("labelled", "right", "inside"))
    if 0 < right < labelled and not by_answer:
        title, made = ACCURACY, [(row.words, wilson(row.right, row.labelled)) for row in found if row.labelled]
    elif whole:
        title, made = "share of the slice", [(row.words, wilson(row.inside, pictures)) for row in found]
    else:
        title, made = "share of the group in this slice", [(row.words, wilson(row.inside, row.whole)) for row in found]
        if labelled == inside and right in (0, labelled):
            title = f"share of the group that is {'right' if right else 'wrong'} and in this slice"
    return title, [
        {"value": value, "rate": rate.value, "low": rate.low, "high": rate.high, "n": rate.n} for value, rate in made
    ]
