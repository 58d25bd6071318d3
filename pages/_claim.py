"""What was said of a slice where one came from: the finding or cue whose query it is, with its baseline."""

from __future__ import annotations

import streamlit as st

from core import queries
from core.findings.finding import KINDS
from pages._shared import read, store
from pages._words import plain, slice_sql


def claim_of(run: str, text: str) -> tuple[str, str, str] | None:
    """Heading, sentence and evidence of the finding or cue with this very query; None where none has it."""
    text = text.strip()
    for row in store().findings(run):
        if str(row["sql"]).strip() == text:
            heading = KINDS.get(str(row["kind"]), "Finding")
            return f"{heading} · finding {row['rank']}", str(row["sentence"]), str(row.get("evidence") or "")
    for cue in read(queries.cues, run):
        if slice_sql(run, f"({cue.sql})") == text:
            return f"Cue · {cue.verdict}", cue.words, " ".join(part for part in (cue.harm, cue.evidence) if part)
    return None


def show_claim(run: str, text: str) -> None:
    """The claim above its pictures; nothing for a query of one's own."""
    found = claim_of(run, text)
    if found is None:
        return
    heading, sentence, evidence = found
    with st.container(border=True, key="claim"):
        st.caption(plain(heading))
        st.markdown(f"**{plain(sentence)}**")
        if evidence:
            st.caption(plain(evidence))
