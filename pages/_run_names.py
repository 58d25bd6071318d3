"""What runs are called on the pages: the name that a person gave, else classifier and start; the form that gives it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.errors import StoreError
from core.records import Run
from core.store.named import LONGEST
from pages._shared import store
from pages._words import plain, short


def titles_of(runs: Sequence[Run]) -> dict[str, str]:
    """Each run in one line of a chooser, by id: what it is called, its pictures, and whether it is partial."""
    told = store().run_titles(runs)
    partial = {run.name: "" if run.state == "done" else "partial" for run in runs}
    return {
        run.name: " · ".join(
            short(part) for part in (told[run.name], run.settings.images_name, partial[run.name]) if part
        )
        for run in runs
    }


def name_form(run: str, title: str) -> None:
    """Gives a run its name and note; a change can be taken back."""
    known = store().run_names().get(run)
    with st.form(f"name-{run}", border=False):
        columns = st.columns([2, 4, 1], vertical_alignment="bottom")
        name = columns[0].text_input("Name", known.name if known else "", max_chars=LONGEST, placeholder=title)
        note = columns[1].text_input("Note", known.note if known else "", placeholder="what is new in this run")
        if columns[2].form_submit_button("Save", width="stretch"):
            try:
                store().name_run(run, name, note=note)
                st.rerun()
            except StoreError as problem:
                st.error(plain(problem), icon=":material/error:")
    if known and st.button("Undo the last name", type="tertiary", icon=":material/undo:"):
        said = store().undo("run_names")
        st.toast(plain(f"Taken back: {said}") if said else "Nothing to take back.")
        st.rerun()
