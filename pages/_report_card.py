"""Can this judge be trusted? The part of Summary that shows its report card, and the word on it elsewhere."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import altair as alt
import pandas as pd
import streamlit as st

from core import queries
from core.cells import GREY
from core.deck.tables import of_judge_card
from core.queries.report_card import LEAST_PICTURES
from core.statistics import format_mean, format_rate
from pages._charts import accent, axis
from pages._keep import keep_button
from pages._shared import read, store_folder
from pages._words import plain, short

if TYPE_CHECKING:
    from core.queries import JudgeCard
    from core.records import Run

TITLES = {
    "auroc": "Real maps, AUROC",
    "auroc_name": "Right name, AUROC",
    "wrong_name_high": "Wrong name scored high",
    "empty_high": "Empty picture scored high",
}
CONTROLS = {
    "true": "true map",
    "inverted": "inverted map",
    "shuffled": "shuffled map",
    "patch": "random patch",
    "empty": "nothing visible",
    "wrong name": "true map, wrong name",
}
MOST_LINES = 8
"""More classes than this are folded."""
ICONS = {"good": ":material/verified:", "care": ":material/warning:", "fail": ":material/dangerous:"}
SHORT = {
    "good": "tells real maps from controls",
    "care": "take its scores with care",
    "fail": "do not trust its scores",
}


def judge_card(run: Run) -> None:
    """The section; with the command to type where no card was made."""
    st.divider()
    st.header("Can this judge be trusted?")
    card = read(queries.judge_card, run.name)
    if card is None:
        st.write(
            "Not measured yet. This command shows the judge your own pictures with their true maps and with wrong ones:"
        )
        folder = shlex.quote(str(store_folder()))
        st.code(f"whylook judge-card --store {folder} --run {run.name}", language="sh")
        return
    say = {"good": st.success, "care": st.warning, "fail": st.error}[card.verdict]
    say(plain(card.sentence), icon=ICONS[card.verdict])
    keep_button(f"{run.name}-card", lambda ask: of_judge_card(ask, run.name, card))
    shown = [measure for measure in card.measures if measure.name in TITLES]
    for column, measure in zip(st.columns(max(1, len(shown))), shown, strict=False):
        value, _, rest = measure.text.partition(" ")
        meaning = plain(f"{measure.meaning}; bar {measure.bar}")
        column.metric(TITLES[measure.name], value, rest, delta_color="off", delta_arrow="off", help=meaning)
    if not shown:
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.altair_chart(scores(card), width="stretch", key="card")
        st.caption(
            f"Every mark is the score of one of {card.n:,} pictures of this run, the dot their mean. Correctly "
            "classified pictures whose map matters come first: a low score there is the judge's fault."
        )
    with right:
        others = [measure for measure in card.measures if measure.name not in TITLES]
        lines = [f"- **{plain(measure.text.partition(' · ')[0])}** {plain(measure.meaning)}" for measure in others]
        st.markdown("\n".join(lines))
        _threshold(run, card)
        _by_class(run, card)


def _by_class(run: Run, card: JudgeCard) -> None:
    """Of which classes it misses true maps; a judge that is good on the whole may not know one of them."""
    st.markdown(f"**True maps scored {card.high:g} or more, by class**")
    if card.by_class:
        lines = [f"- {plain(short(name))}: {plain(format_rate(rate))}" for name, rate in card.by_class.items()]
        st.markdown("\n".join(lines[:MOST_LINES]))
        if len(lines) > MOST_LINES:
            with st.expander(f"{len(lines) - MOST_LINES:,} more classes"):
                st.markdown("\n".join(lines[MOST_LINES:]))
        return
    st.caption(
        f"Said of classes of which the judge scored {LEAST_PICTURES} true maps or more; there is none yet. "
        "This asks about more pictures:"
    )
    folder = shlex.quote(str(store_folder()))
    st.code(f"whylook judge-card --sample {10 * card.n} --store {folder} --run {run.name}", language="sh")


def _threshold(run: Run, card: JudgeCard) -> None:
    high = run.high_score
    words = f"Here attention counts as high from a score of **{high:g}**."
    if card.threshold is not None and card.threshold.score != high:
        folder = shlex.quote(str(store_folder()))
        st.markdown(f"{words} {plain(card.threshold.sentence)}")
        st.code(f"whylook judge-card --high calibrated --store {folder} --run {run.name}", language="sh")
    else:
        st.markdown(words)


def scores(card: JudgeCard) -> alt.LayerChart:
    """One line per control with a mark for every score, true maps in the accent colour."""
    given = [(words, score) for name, words in CONTROLS.items() for score in card.scores.get(name, [])]
    data = pd.DataFrame(given, columns=["control", "score"])
    order = [words for name, words in CONTROLS.items() if card.scores.get(name)]
    colour = alt.condition(f"datum.control == '{CONTROLS['true']}'", alt.value(accent()), alt.value(GREY))
    base = alt.Chart(data).encode(
        y=alt.Y("control:N", sort=order, title=None, axis=axis(ticks=False, labelLimit=260)), color=colour
    )
    along = alt.X("score:Q", scale=alt.Scale(domain=[0, 5]), title="judge score", axis=axis(tickCount=6))
    ticks = base.mark_tick(thickness=2, size=22, opacity=0.45).encode(
        x=along, tooltip=["control:N", alt.Tooltip("score:Q", format=".2f")]
    )
    means = base.mark_point(filled=True, size=170, opacity=1).encode(x="mean(score):Q")
    return alt.LayerChart(layer=[ticks, means], height=alt.Step(40))


def word(run: str) -> str | None:
    """One line on the judge's card, for where a score is shown; None where there is no card."""
    card = read(queries.judge_card, run)
    if card is None:
        return None
    measure = next(measure for measure in card.measures if measure.name == "auroc")
    return f"Report card: {SHORT[card.verdict]} · AUROC {format_mean(measure.value, n=False)}"


def warn(run: str) -> None:
    """A judge whose card fails is warned of above everything it says, on every page."""
    card = read(queries.judge_card, run)
    if card is not None and card.verdict == "fail":
        st.warning(plain(card.sentence), icon=ICONS["fail"])


def fails(run: str) -> bool:
    """Whether the judge's card fails: then nothing is said of a picture by its scores alone."""
    card = read(queries.judge_card, run)
    return card is not None and card.verdict == "fail"
