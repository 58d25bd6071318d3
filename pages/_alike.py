"""Pictures like one: by what the model sees of them, or by what the judge said; and a picture to begin with."""

from __future__ import annotations

import streamlit as st

from core import queries
from core.errors import QueryError
from core.queries import literal
from core.records import Row, Run
from core.statistics import format_pictures
from pages._pictures import views
from pages._shared import read, seen
from pages._view import go, grid
from pages._words import plain, slice_sql

MOST = 48
FEW = 6
SEEN, SAID = "seen", "said"
WAYS = {SEEN: "What the model sees", SAID: "What the judge said"}
_SEEN_WORDS = ((0.95, "nearly the same"), (0.8, "much alike"), (0.65, "alike"), (-1.0, "a little alike"))
_SAID_WORDS = ((0.98, "the same words"), (0.85, "much the same"), (0.6, "alike"), (-1.0, "a little alike"))


def alike_page(run: Run, image_id: str, *, judged: bool) -> None:
    """The pictures most like one, with both ways to tell where the run has both."""
    name = run.name
    if judged and st.button("Search by text instead", icon=":material/arrow_back:"):
        go("search", run=name)
    try:
        sample = read(queries.sample, name, image_id)
    except QueryError as problem:
        st.error(plain(problem), icon=":material/error:")
        return
    way = _way(name, judged=judged)
    st.header("Explained like this one" if way == SAID else "Seen like this one")
    left, right = st.columns([1, 4], gap="large")
    with left:
        grid([vars(sample)], views(name, [image_id]), run=name, key="origin", size=200)
    with right:
        if way == SAID:
            st.markdown(f"> {plain(sample.description or 'no explanation')}")
            rows = _noted(read(queries.neighbours, name, image_id, MOST), _SAID_WORDS)
            missing = "This picture has no explanation, so nothing can resemble it."
        else:
            st.write("The pictures of this run that come nearest in what the model makes of them before it answers.")
            rows, missing = _seen_rows(name, image_id, MOST)
        if not rows:
            st.info(plain(missing), icon=":material/inbox:")
            return
        st.caption(f"{_agreeing(rows, sample.prediction)}.")
        if st.button("Open as a slice", icon=":material/filter_alt:", help="With further conditions, if wanted."):
            go("slices", run=name, sql=_slice(name, [image_id, *(row["image_id"] for row in rows)]))
    page = {"page": "search", "alike": way}
    grid(rows, views(name, [row["image_id"] for row in rows]), run=name, key="similar", size=150, **page)


def _agreeing(rows: list[Row], answer: str | None) -> str:
    """How many of the pictures get the same answer as the one they are like."""
    same = sum(row.get("prediction") == answer for row in rows)
    least = " most alike" if len(rows) == MOST else ""
    told = f"The {format_pictures(len(rows))}{least}, nearest first"
    return told if answer is None else f"{told}; {same:,} of them called {plain(answer)}, too"


def _way(run: str, *, judged: bool) -> str:
    """How likeness is told, as the address says; the choice is drawn where there are two."""
    given = st.query_params.get("alike", SAID if judged else SEEN)
    way = given if given in WAYS and judged else SEEN
    if judged:
        st.session_state["alike_choice"] = way
        st.segmented_control(
            "Alike in", list(WAYS), format_func=WAYS.__getitem__, key="alike_choice", required=True, on_change=_set_way
        )
    return way


def _set_way() -> None:
    st.query_params["alike"] = st.session_state["alike_choice"]


def _noted(rows: list[Row], words: tuple[tuple[float, str], ...]) -> list[Row]:
    """Rows with how alike they are in words."""
    return [{**row, "note": next(said for least, said in words if row["similarity"] >= least)} for row in rows]


def _seen_rows(run: str, image_id: str, most: int) -> tuple[list[Row], str]:
    """The rows of the pictures that are seen most like one, and what to say where there are none."""
    known = seen(run)
    if known is None:
        return [], f"R{queries.NO_FEATURES.format(run=run)[1:]}."
    near = queries.alike(known, image_id, most=most)
    if near is None:
        return [], "Nothing is kept of what the model saw of this picture."
    rows = {row["image_id"]: row for row in read(queries.pictures, run, ids=[key for key, _ in near], limit=most)}
    found = [{**rows[key], "similarity": cosine} for key, cosine in near if key in rows]
    return _noted(found, _SEEN_WORDS), "No other picture of this run is seen like this one."


def _slice(run: str, ids: list[str]) -> str:
    """The pictures as SQL, in their order."""
    listed = ", ".join(literal(image_id) for image_id in ids)
    return slice_sql(run, f"image_id IN ({listed})", order=f"list_position([{listed}], image_id)")


def seen_alike(run: str, image_id: str) -> None:
    """A few pictures that the model sees like one, on its own page; nothing where the run keeps no features."""
    rows, _ = _seen_rows(run, image_id, FEW)
    if not rows:
        return
    st.divider()
    st.header("Seen alike by the model")
    grid(rows, views(run, [row["image_id"] for row in rows]), run=run, key="seen-alike", size=125)
    if st.button("More that look like this", icon=":material/image_search:"):
        go("search", run=run, image=image_id, alike=SEEN)


def begin_with_picture(run: str) -> None:
    """A picture to search by, found by its file's name; nothing where the run keeps no features."""
    if not read(queries.has_features, run):
        return
    st.header("Or search by a picture")
    part = st.text_input(
        "Part of its file name", key="picture", bind="query-params", placeholder="cow/00012", max_chars=200, width=420
    ).strip()
    if part:
        rows = read(queries.with_name, run, part, limit=FEW * 2)
        said = "Choose one to see the pictures that the model sees like it."
    else:
        rows = read(queries.pictures, run, correct=False, limit=FEW) or read(queries.pictures, run, limit=FEW)
        said = "Or begin with one of the most confident mistakes."
    st.caption(said if rows else "No file of this run has that in its name.")
    ids = [row["image_id"] for row in rows]
    grid(rows, views(run, ids), run=run, key="begin", size=125, page="search", alike=SEEN)
