"""The order in which a slice's pictures stand: in the grid, and for Previous and Next on Sample."""

from __future__ import annotations

import streamlit as st

from core import queries
from pages._shared import slice_ids, store, store_folder

AS_ASKED = "Query's order"
ORDERS: dict[str, tuple[str, bool] | None] = {
    AS_ASKED: None,
    "Confidence, highest first": ("confidence", True),
    "Confidence, lowest first": ("confidence", False),
    "Score, lowest first": ("score", False),
    "Score, highest first": ("score", True),
    "Causal drop, lowest first": ("causal_drop", False),
    "Path": ("path", False),
}
"""What people choose, with the column and whether its highest comes first."""


@st.cache_data(max_entries=16, show_spinner=False)
def _ordered(folder: str, generation: int, text: str, run: str, column: str, descending: bool) -> tuple[str, ...]:
    ids = slice_ids(text, run)
    return tuple(queries.in_order(store().reader(), run, ids, column, descending=descending))


def ordered_ids(text: str, run: str, order: str) -> tuple[str, ...]:
    """Image ids of a slice in an order of `ORDERS`; one that is unknown is the query's own.

    Raises:
        QueryError: The query cannot run.
    """
    wanted = ORDERS.get(order)
    if wanted is None:
        return slice_ids(text, run)
    column, descending = wanted
    return _ordered(str(store_folder()), store().generation(), text, run, column, descending)
