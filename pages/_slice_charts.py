"""Charts of a slice: its scores against the rest, and what can be said of its groups by any column.

Accuracy is drawn only where the slice holds right and wrong answers; else how much of each group the slice takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core import queries
from core.columns import BY_NAME
from core.deck.tables import of_groups
from core.statistics import wilson
from pages import _charts
from pages._keep import keep_button
from pages._shared import coded_run, read_of
from pages._words import plain

GROUPS = 30
ACCURACY = "accuracy"


def charts(name: str, text: str, ids: tuple[str, ...]) -> None:
    """Scores against the rest, and a rate by any column."""
    stats = read_of(queries.slice_stats, name, ids)
    if stats.inside.scores.size:
        st.altair_chart(_charts.scores_inside_and_rest(stats.inside, stats.rest), width="stretch")
    coded = coded_run(name)
    options = [column.column for column in coded.columns]
    if not options:
        st.caption("No column tells these pictures apart.")
        return
    column = st.selectbox("Group by", options, key="by", bind="query-params", width=320)
    found = queries.groups(coded, ids, column)[:GROUPS]
    title, rows = rates(found, whole=stats.rest.n == 0)
    st.altair_chart(_charts.groups(rows, title=title), width="stretch")
    if title == ACCURACY and not next(item.edges for item in coded.columns if item.column == column):
        keep_button(f"{name}-{column}-{text}", lambda ask: of_groups(ask, name, column, within=text))
    known = f"{column}: {BY_NAME[column].meaning}. " if column in BY_NAME else ""
    most = f"; the {GROUPS} largest groups" if len(found) == GROUPS else ""
    st.caption(plain(f"{known}{title.capitalize()} with its 95% interval and the number of pictures{most}."))


def rates(found: Sequence[queries.GroupCount], *, whole: bool) -> tuple[str, list[dict[str, object]]]:
    """What is worth drawing of groups, with its name: accuracy, or the share of each group that a slice takes."""
    labelled, right, inside = (sum(getattr(row, of) for row in found) for of in ("labelled", "right", "inside"))
    if 0 < right < labelled:
        title, made = ACCURACY, [(row.words, wilson(row.right, row.labelled)) for row in found if row.labelled]
    elif whole:
        title, made = "share of the slice", [(row.words, wilson(row.inside, inside)) for row in found]
    else:
        said = {0: "share of the group that is wrong", labelled: "share of the group that is right"}
        title = said[right] if labelled == inside else "share of the group in this slice"
        made = [(row.words, wilson(row.inside, row.whole)) for row in found]
        if labelled == inside:
            title += " and in this slice"
    return title, [
        {"value": value, "rate": rate.value, "low": rate.low, "high": rate.high, "n": rate.n} for value, rate in made
    ]
