"""Duplicates and leaks, and pictures unlike all others: the part of Labels about pictures among pictures."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core import queries
from core.labels import DuplicateSet, duplicates, outliers
from core.statistics import format_count, format_number
from pages._pictures import views
from pages._shared import of_labels, read
from pages._view import grid
from pages._words import plain, short

MOST_SETS = 12
IN_A_SET = 6


def duplicates_section(run: str) -> None:
    """The section: what disagrees, with its pictures; how many there are besides."""
    st.divider()
    st.header("Duplicates and leaks")
    found = of_labels(run, duplicates)
    if not found.exact and not found.near:
        st.write("No picture is there twice, and none are nearly the same.")
    else:
        st.write(
            f"Pictures under several paths: **{format_count(found.exact)}** · sets of nearly the same picture: "
            f"**{format_count(found.near)}** · across labels: **{format_count(len(found.across_labels))}** · across "
            f"splits: **{format_count(len(found.across_splits))}**"
        )
        _sets(run, "Under several labels: at most one can be right", found.across_labels)
        _sets(run, "In several splits: what is tested was trained on", found.across_splits)
    _outliers(run)


def _sets(run: str, title: str, sets: Sequence[DuplicateSet]) -> None:
    if not sets:
        return
    st.markdown(f"**{title}**")
    for number, item in enumerate(sets[:MOST_SETS]):
        st.caption(f"{plain(item.words)} · {format_count(item.n)} files: {plain(short(', '.join(item.paths), 160))}")
        ids = list(item.image_ids[:IN_A_SET])
        rows = read(queries.pictures, run, ids=ids, order="path", descending=False)
        grid(rows, views(run, ids), run=run, key=f"{title[:8]}-{number}", size=150)
    if len(sets) > MOST_SETS:
        st.caption(f"{len(sets) - MOST_SETS:,} more sets are not shown.")


def _outliers(run: str) -> None:
    """On demand, since in a large run it takes some seconds."""
    if not st.toggle("Show pictures unlike all others", key="outliers", bind="query-params"):
        return
    with st.spinner("Measuring how far each picture is from its neighbours …"):
        found = of_labels(run, outliers)
    if found is None:
        st.caption("This run has no features of its pictures, or too few pictures, to tell.")
        return
    if not found:
        st.caption("None stands out: no picture is much further from its neighbours than the others are.")
        return
    times = format_number(found[0].times)
    st.caption(
        f"Furthest first; the first is {times} times as far from its 10th neighbour as the picture in the middle."
    )
    ids = [item.image_id for item in found]
    by_id = {row["image_id"]: row for row in read(queries.pictures, run, ids=ids)}
    grid([by_id[image_id] for image_id in ids], views(run, ids), run=run, key="outlier-grid", size=150)
