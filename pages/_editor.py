"""The SQL editor of Slices: CodeMirror with the store's tables, columns and values, and errors under their place.

Knows: what can be completed, where an error is. Does not know: what a query gives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from core import queries
from core.errors import QueryError
from pages._assets import EDITOR, library_address
from pages._editor_code import CSS, JS
from pages._shared import coded_run, read

MOST_VALUES = 200
_component = st.components.v2.component("whylook_editor", html='<div class="root"></div>', css=CSS, js=JS)


def sql_editor(run: str, text: str, problem: QueryError | None, use: Callable[[str], None]) -> None:
    """Draws the editor with the page's query; Ctrl+Enter or Run makes what it holds the page's query."""
    error = None
    if problem is not None:
        line, column = getattr(problem, "line", None), getattr(problem, "column", None)
        error = {"line": line or 1, "column": column or 1, "words": getattr(problem, "words", str(problem))}
    data = {
        "text": text,
        "error": error,
        "schema": read(queries.table_columns),
        "values": _values(run),
        "library": library_address(EDITOR),
    }
    _component(key="editor-of-slice", data=data, on_act_change=partial(_ran, use))


def _ran(use: Callable[[str], None]) -> None:
    state: Any = st.session_state.get("editor-of-slice")
    act = state.get("act") if state else None
    if act:
        use(str(act["text"]))


def _values(run: str) -> dict[str, list[str]]:
    """The values of columns of words, to be completed."""
    named = {
        column.column: [value for value in column.values if isinstance(value, str)] for column in coded_run(run).columns
    }
    return {name: values[:MOST_VALUES] for name, values in named.items() if values}
