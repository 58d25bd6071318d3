"""Compare: two runs over the same pictures, side by side: what differs, and is it more than chance?"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core import queries
from core.comparison import Comparison, compare, sentences
from core.comparison.words import points
from core.deck.comparing import of_comparison
from core.errors import RequestError
from core.records import Run
from core.statistics import format_rate
from pages._compared import attention_section, calibration_sections, differences, matrix_section, pictures_of
from pages._frame import empty, guarded, open_page
from pages._keep import keep_button
from pages._run_names import titles_of
from pages._shared import read, store
from pages._words import plain, short


def main() -> None:
    """Draws the page."""
    run = open_page("Compare")
    if run is None:
        return
    st.title("Compare")
    runs = read(queries.runs)
    if len(runs) < 2:
        empty(
            "It takes two runs over the same pictures: of another classifier, method or judge.",
            action="Start another run",
            page="runs",
            new="1",
        )
        return
    a, b = choose(runs, run)
    try:
        with st.spinner("Comparing picture by picture …"):
            found = read(compare, a, b)
    except RequestError as problem:
        st.info(plain(f"{str(problem)[:1].upper()}{str(problem)[1:]}."), icon=":material/compare:")
        return
    called = store().run_titles(runs)
    keep_button(f"{a}-{b}", lambda ask: of_comparison(ask, found, called[a], called[b]))
    show(found)


def choose(runs: Sequence[Run], current: Run) -> tuple[str, str]:
    """A and B, from the address; without one, the run on screen against the newest other of its pictures."""
    titles = titles_of(runs)
    names = list(titles)
    b = _wanted("b", names) or current.name
    others = [item for item in runs if item.name != b]
    alike = [item for item in others if item.fingerprints.get("images") == _run(runs, b).fingerprints.get("images")]
    a = _wanted("a", names) or (alike or others)[0].name
    columns = st.columns([5, 5, 2], vertical_alignment="bottom")
    for column, key, words, chosen in ((columns[0], "a", "A, before", a), (columns[1], "b", "B, after", b)):
        st.session_state[f"compare_{key}"] = chosen
        column.selectbox(
            words, names, key=f"compare_{key}", format_func=titles.__getitem__, on_change=_chosen, args=(key,)
        )
    columns[2].button("Swap", icon=":material/swap_horiz:", on_click=_put, args=(b, a), width="stretch")
    if (st.query_params.get("a"), st.query_params.get("b")) != (a, b):
        _put(a, b)
    return a, b


def _wanted(key: str, names: Sequence[str]) -> str | None:
    """The run that the address names; what is not there is said."""
    wanted = st.query_params.get(key)
    if wanted and wanted not in names:
        st.warning(f"Run {plain(short(wanted))} is not in this store; another is shown.", icon=":material/warning:")
        return None
    return wanted


def _run(runs: Sequence[Run], name: str) -> Run:
    return next(item for item in runs if item.name == name)


def _chosen(key: str) -> None:
    st.query_params[key] = st.session_state[f"compare_{key}"]


def _put(a: str, b: str) -> None:
    st.query_params["a"], st.query_params["b"] = a, b


def show(found: Comparison) -> None:
    """What is said of the two, then the pictures and numbers behind it."""
    first, *others = sentences(found)
    st.header(plain(first))
    facts(found)
    for sentence in others:
        st.markdown(f"- {plain(sentence)}")
    told = found.accuracy
    if told and not found.one_classifier:
        pictures_of(found, "Only A is right", told.regressions, told.regressions_sql, key="regressions")
        pictures_of(found, "Only B is right", told.wins, told.wins_sql, key="wins")
        differences(found)
    matrix_section(found)
    attention_section(found)
    calibration_sections(found)


def facts(found: Comparison) -> None:
    """The numbers of a comparison, with intervals."""
    rates = [("Answers that differ", found.churn.differ)]
    if found.one_classifier:  # then only maps and judges can differ
        rates = [("The attended parts overlap by", found.attention.overlap)] if found.attention else []
        rates += [("Both are right", found.accuracy.a)] if found.accuracy else []
    elif found.accuracy:
        rates = [("A is right", found.accuracy.a), ("B is right", found.accuracy.b), *rates]
    if not rates:
        return
    paired = found.accuracy is not None and not found.one_classifier
    columns = st.columns(len(rates) + paired)
    for column, (words, value) in zip(columns, rates, strict=False):
        shown, _, rest = format_rate(value).partition(" ")
        column.metric(words, shown, rest or None, delta_color="off", delta_arrow="off")
    if found.accuracy and paired:
        shown, _, rest = points(found.accuracy.difference).partition(" points ")
        columns[-1].metric("B less A, points", shown, rest, delta_color="off", delta_arrow="off")


guarded(main)
