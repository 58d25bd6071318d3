"""The ranked findings of a run on Summary: each with its pictures, its SQL and a way to keep it; and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.deck.keep import of_finding
from core.errors import QueryError, StoreError, WhylookError
from core.queries import literal
from core.statistics import format_pictures
from pages._keep import keep_or_undo, keep_words
from pages._pictures import views
from pages._shared import findings, read_only, report, run_file, sql, store
from pages._view import draw, target
from pages._words import plain

if TYPE_CHECKING:
    from core.findings import Finding

FINDINGS = 10
STRIP = 4
COMPARED = 3  # pictures on each side


def summarise(name: str) -> None:
    """The ranked findings; each has its number, its pictures and its SQL."""
    left, *rest = st.columns([2, 1, 1], vertical_alignment="bottom")
    left.header("What should the team know?")
    with st.spinner("Looking for what stands out …"):
        found = findings(name)
    keep(name, found)
    if not found:
        st.info("Nothing stands out: no group of pictures differs from the rest by more than chance.")
        return
    downloads(name, rest)
    told = [finding for finding in found if finding.kind == "cue"]
    news = [finding for finding in found if finding.kind != "cue"]
    everything = len(news) <= FINDINGS or st.toggle(f"Show all {len(news)} findings", key="all", bind="query-params")
    listed = news if everything else news[:FINDINGS]
    if listed:
        _draw_findings(name, "findings", listed)
    if told:
        count = "The cause below" if len(told) == 1 else f"The {len(told)} causes below"
        with st.expander(f"{count}, with what follows from {'it' if len(told) == 1 else 'them'}"):
            _draw_findings(name, "told", told)


def _draw_findings(name: str, key: str, found: Sequence[Finding]) -> None:
    by = {finding.sql: finding for finding in found}

    def keep_it(query: str) -> None:
        keep_or_undo(f"{name}-{query}", lambda ask: of_finding(ask, name, by[query]))

    draw("findings", key=key, items=[_finding(name, finding) for finding in found], on_keep=keep_it)


def keep(name: str, found: list[Finding]) -> None:
    """Saves the findings as rows of table `findings`, once per session; a read-only store does without."""
    if read_only() or st.session_state.get("kept_findings") == (name, store().generation()):
        return
    try:
        store().save_findings(name, [item.row() for item in found])
    except (StoreError, OSError) as problem:
        st.caption(f"Not saved in the store: {plain(problem)}")
    st.session_state["kept_findings"] = (name, store().generation())


def downloads(name: str, columns: list[DeltaGenerator]) -> None:
    """The findings as Markdown and as one self-contained HTML file, made once they are asked for."""
    for column, kind, words, mime in zip(
        columns, ("md", "html"), ("Markdown", "HTML"), ("text/markdown", "text/html"), strict=True
    ):
        column.download_button(
            words,
            partial(_report, name, kind),
            run_file(name, "findings", suffix=f".{kind}"),
            mime,
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
        )


def _report(name: str, kind: str) -> str:
    """The document, or the sentence that says why there is none."""
    try:
        return report(name, kind)
    except WhylookError as problem:
        return plain(problem)


def _finding(name: str, finding: Finding) -> dict[str, object]:
    """One ranked sentence with some of its pictures, the way to all of them, and its SQL."""
    kinds = ("overlay",) if finding.kind == "attention" or "attention_" in finding.sql else ("original",)
    unseen = ""
    try:
        here, labels = _strip(finding.sql, COMPARED if finding.contrast_sql else STRIP)
        there = _strip(finding.contrast_sql, COMPARED, like=labels)[0] if finding.contrast_sql else []
    except QueryError as problem:  # one query that cannot run takes no other finding along
        here, there, unseen = [], [], f" No pictures are shown: {plain(problem)}."
    shown = views(name, [*here, *there], kinds)
    return {
        "rank": finding.rank,
        "heading": finding.heading,
        "sentence": finding.sentence,
        "evidence": finding.evidence + unseen,
        "pictures": [shown[image_id][0] for image_id in here],
        "contrast": [shown[image_id][0] for image_id in there],
        "contrast_target": target("slices", run=name, sql=finding.contrast_sql) if there else None,
        "link": f"{format_pictures(finding.n)} on Labels" if finding.about_labels else format_pictures(finding.n),
        "target": target("labels", run=name) if finding.about_labels else target("slices", run=name, sql=finding.sql),
        "sql": "" if finding.about_labels else finding.sql,
        "keep": keep_words(f"{name}-{finding.sql}", finding.sql),
    }


def _strip(query: str, most: int, *, like: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Image ids and labels of the pictures that show a claim best: labels `like` these, then mistakes, the surest."""
    first = f"label IN ({', '.join(map(literal, like))}) DESC, " if like else ""
    rows = sql(
        f"SELECT image_id, label FROM (\n{query}\n) "
        f"ORDER BY {first}correct NULLS LAST, confidence DESC NULLS LAST, image_id LIMIT {most}"
    ).table
    return rows.column("image_id").to_pylist(), [text for text in rows.column("label").to_pylist() if text is not None]
