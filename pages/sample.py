"""Sample: one picture with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from core import queries
from core.cells import cell, said
from core.deck.keep import of_picture
from core.errors import QueryError, RequestError
from core.records import ATTENDED, FEWEST_DRAWS, Fill, Run, Sample
from core.statistics import format_number, format_percent
from pages import _charts, _launch
from pages import _report_card as _card
from pages._alike import SAID, seen_alike
from pages._frame import empty, guarded, open_page, places
from pages._keep import keep_button
from pages._order import ordered_ids
from pages._pictures import fill_of, full_picture, rgb_of, scale_legend, view, views
from pages._seen import how_it_was_seen
from pages._shared import read, store, store_folder
from pages._view import draw, go, grid, percent, score_text
from pages._words import plain, short, slice_sql

NEIGHBOURS = 6
MOST_OF_A_NAME = 80  # in the title; the whole name is in its help


def main() -> None:
    """Draws the page."""
    run = open_page("Sample")
    if run is None:
        return
    name = run.name
    image_id = st.query_params.get("image") or first_picture(name)
    if image_id is None:
        st.title("Sample")
        empty("This run has no pictures yet.", action="Watch it on Runs", page="runs", run=name)
        return
    try:
        sample = read(queries.sample, name, image_id)
    except QueryError as problem:
        st.title("Sample")
        st.error(plain(problem), icon=":material/error:")
        if st.button("Choose a picture from this run", type="primary"):
            go("slices", run=name)
        return
    heading(name, sample)
    keep_button(f"{name}-{image_id}", lambda ask: of_picture(ask, name, sample))
    walk(name, image_id)
    pictures(run, sample)
    evidence(run, sample)
    how_it_was_seen(sample)
    seen_alike(name, image_id)
    facts(sample)
    neighbours(name, image_id)


def first_picture(name: str) -> str | None:
    """Where to begin without a picture in the address: the most confident error, else any."""
    rows = read(queries.pictures, name, correct=False, limit=1) or read(queries.pictures, name, limit=1)
    return rows[0]["image_id"] if rows else None


def heading(run: str, sample: Sample) -> None:
    """What it is, what it was called, and which cell that makes."""
    kind = cell(sample.cell)
    label, prediction = sample.label, sample.prediction
    names = [name for name in (label, prediction) if name is not None and len(str(name)) > MOST_OF_A_NAME]
    whole = "  \n".join(plain(name) for name in dict.fromkeys(names)) or None
    called, named = (plain(short(name, MOST_OF_A_NAME)) for name in (label, prediction))
    if prediction is None:
        st.title(called if label else "Not classified", help=whole)
    elif label is None or sample.correct:
        st.title(f"{named} · {percent(sample.confidence)}", help=whole)
    else:
        st.title(f"{called} called {named} · {percent(sample.confidence)}", help=whole)
    words = said(sample.cell, None if _card.fails(run) else sample.mistake)
    st.html(
        f'<span style="display:inline-block;width:.8em;height:.8em;border-radius:50%;background:{kind.colour}"></span> '
        f"<span style='font-size:1.15rem;font-weight:600'>{words}</span>"
    )


def walk(name: str, image_id: str) -> None:
    """Back to the slice, previous and next within it."""
    sql, order = st.query_params.get("sql"), st.query_params.get("order", "")
    if not sql:
        return
    try:
        ids = ordered_ids(sql, name, order)
    except QueryError:
        return
    back, before, after, place = st.columns([1.2, 1, 1, 3], vertical_alignment="center")
    if back.button("Back to the slice", icon=":material/arrow_back:", width="stretch"):
        left = places().get("slices", {})  # its page, sort and view, where it is the slice that one came from
        same = left.get("sql", slice_sql(name)) == sql and left.get("run") == name
        go("slices", **(left if same else {"run": name, "sql": sql}))
    if image_id not in ids:
        return
    index = ids.index(image_id)
    if before.button("Previous", disabled=index == 0, width="stretch", shortcut="Left"):
        go("sample", run=name, image=ids[index - 1], sql=sql, order=order)
    if after.button("Next", disabled=index == len(ids) - 1, width="stretch", shortcut="Right"):
        go("sample", run=name, image=ids[index + 1], sql=sql, order=order)
    place.caption(f"{index + 1:,} of {len(ids):,}")


def pictures(run: Run, sample: Sample) -> None:
    """Original, overlay and masked at any threshold, side by side."""
    if not sample.thumbnail:
        st.info("This picture could not be read, so there is nothing to show.", icon=":material/broken_image:")
        return
    content = full_picture(str(store_folder()), sample.image_id, sample.paths, run.settings.images) or sample.thumbnail
    rgb = rgb_of(content)
    heat = sample.map
    threshold = ATTENDED
    columns = st.columns(3)
    columns[0].markdown("**Original**")
    columns[0].image(content, width="stretch", alt="original picture")
    if heat is None:
        reason = sample.attribution_reason or "the classifier gave no map"
        columns[1].info(f"No map: {plain(reason)}.", icon=":material/blur_off:")
        return
    columns[1].markdown("**Overlay**: where it looked")
    judged = sample.judge_state is not None
    fill = fill_of(run.name)
    beside = " beside the original" if run.settings.view == "side-by-side" else ""
    columns[2].markdown(f"**Masked**: what the judge saw{beside}" if judged else "**Masked**: where it looked most")
    overlay_place, masked_place = columns[1].empty(), columns[2].empty()
    with columns[1]:
        scale_legend()
    with columns[2]:
        threshold = st.slider("Threshold", 0.0, 1.0, ATTENDED, 0.05, key="threshold", bind="query-params")
        if judged:
            st.caption(
                f"The judge saw the threshold of {ATTENDED:g}." if threshold != ATTENDED else "As the judge saw it."
            )
    _fill(overlay_place, rgb, heat, "overlay", threshold)
    _fill(masked_place, rgb, heat, "masked", threshold, fill)


def _fill(
    place: DeltaGenerator,
    rgb: NDArray[np.uint8],
    heat: NDArray[np.float32],
    kind: str,
    threshold: float,
    fill: Fill = "black",
) -> None:
    made = view(rgb, heat, kind, beta=threshold, fill=fill)
    if made:
        place.image(made, width="stretch", alt=kind)


def evidence(run: Run, sample: Sample) -> None:
    """The judge's words, the classifier's probabilities, the judge's scores, the causal check."""
    st.space("small")
    if sample.description:
        st.markdown(f"## “{plain(sample.description)}”")
        if sample.justification:
            st.markdown(plain(sample.justification))
    elif sample.judge_state in ("abstained", "failed"):
        words = "abstained" if sample.judge_state == "abstained" else "failed on this picture"
        st.info(f"The judge {words}: {plain(sample.judge_reason or 'no reason given')}.", icon=":material/gavel:")
    left, middle, right = st.columns(3, gap="large")
    with left:
        st.header("Classifier")
        if sample.top:
            st.altair_chart(_charts.probabilities(sample.top, label=sample.label), width="stretch", key="top")
            st.caption(_about_top(sample))
    with middle:
        st.header("Judge")
        if sample.distribution:
            st.markdown(f"**{score_text(sample.score)}**")
            st.altair_chart(_charts.distribution(sample.distribution), width="stretch", key="distribution")
            if sample.correct is False and sample.label_score is not None:
                st.caption(f"Asked about {plain(short(sample.label))}, the label: {score_text(sample.label_score)}.")
            if word := _card.word(run.name):
                st.caption(plain(word))
        else:
            st.caption("No score." if sample.judge_state else "No judge looked at this picture.")
    with right:
        causal(run, sample)


def _about_top(sample: Sample) -> str:
    names = [name for name, _ in sample.top]
    label = sample.label
    words = f"The {len(names)} most probable classes"
    if label is None:
        return f"{words}."
    return (
        f"{words}; the label in colour."
        if label in names
        else f"{words}; {plain(short(label))}, the label, is not one."
    )


def causal(run: Run, sample: Sample) -> None:
    """What hiding the attended region does, against hiding as much elsewhere."""
    st.header("Causal check")
    look = store().closer_look(run.fingerprints.get("attribution", ""), sample.image_id)
    if look is not None:
        drop, others = float(look["causal_drop"]), np.asarray(look["random_drops"], dtype=float)
        rows = [("what it looked at", drop), ("as much elsewhere", float(others.mean()))]
        st.altair_chart(_charts.drops(rows), width="stretch", key="causal")
        verdict = _matters(drop, float(others.mean()))
        st.caption(
            f"Percentage points of probability lost when a region is hidden. {verdict} Elsewhere: {others.size} "
            f"regions of the same shape, {round(100 * others.min())} to {round(100 * others.max())}. With all "
            f"but what it looked at hidden, the predicted class still gets {format_percent(look['causal_keep'])}."
        )
        return
    run_drop, chance = sample.causal_drop, sample.causal_drop_random
    if run_drop is None:
        st.caption("Not measured in the run, which checks a sample of its pictures.")
    else:
        known = [("what it looked at", run_drop)] + ([("as much elsewhere", chance)] if chance is not None else [])
        st.altair_chart(_charts.drops(known), width="stretch", key="causal")
        draws = sample.causal_draws or 1
        few = draws < FEWEST_DRAWS
        where = f"elsewhere: {draws} region{'s' * (draws != 1)} of the same shape"
        verdict = ", which says little of a single picture." if few else f". {_matters(run_drop, chance)}"
        st.caption(f"Percentage points of probability lost when a region is hidden; {where}{verdict}")
    if sample.map is not None and _launch.may_start():
        _look_closer(run.name, sample.image_id, first=run_drop is None)


def _matters(drop: float, elsewhere: float | None) -> str:
    """Whether hiding the region costs more than hiding as much elsewhere does on average."""
    if elsewhere is None or drop >= elsewhere + queries.RESTS:
        return "What it looked at matters."
    if drop <= elsewhere:
        return "Hiding it matters no more than hiding as much elsewhere."
    return "Hiding it matters little more than hiding as much elsewhere."


def _look_closer(run: str, image_id: str, *, first: bool) -> None:
    """The button that checks this picture now, and why it could not."""
    asked = st.button(
        "Check this picture" if first else "Look closer", icon=":material/science:", key="closer",
        help="Hides what it looked at, and as much at twelve other places; the classifier is loaded for it, which "
        "takes some seconds.",
    )  # fmt: skip
    if not asked:
        return
    try:
        with st.spinner("Loading the classifier and hiding regions …", show_time=True):
            _launch.ask(["check", image_id, "--run", run, "--store", str(store_folder())])
    except RequestError as problem:
        st.error(plain(problem), icon=":material/error:")
        return
    st.rerun()


def facts(sample: Sample) -> None:
    """Metadata and file, attention statistics."""
    st.divider()
    left, right = st.columns(2, gap="large")
    with left:
        st.header("About the picture")
        known: dict[str, object] = {name: value for name, value in sample.metadata.items() if value is not None}
        known |= {"file": ", ".join(sample.paths)}
        known |= {"width × height": f"{sample.width} × {sample.height} pixels"}
        _facts(known, key="about")
    with right:
        st.header("Attention")
        measured = {
            f"area at {ATTENDED:g} or more": sample.attention_area,
            "spread (entropy)": sample.attention_entropy,
            "on the border": sample.attention_border,
            "centre from the left": sample.attention_x,
            "centre from the top": sample.attention_y,
        }
        _facts({key: format_percent(value) for key, value in measured.items() if value is not None}, key="attention")


def _facts(known: Mapping[str, object], *, key: str) -> None:
    if not known:
        st.caption("Nothing recorded.")
        return
    draw("facts", key=key, rows=[[name, _fact(value)] for name, value in known.items()])


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_number(value) if isinstance(value, float) else str(value)


def neighbours(name: str, image_id: str) -> None:
    """Pictures explained alike, those that were right and those that were wrong."""
    groups = [
        (
            "Similar explanations, classified correctly",
            read(queries.neighbours, name, image_id, NEIGHBOURS, correct=True),
        ),
        (
            "Similar explanations, classified wrongly",
            read(queries.neighbours, name, image_id, NEIGHBOURS, correct=False),
        ),
    ]
    if not any(rows for _, rows in groups):
        return
    st.divider()
    for (words, rows), key in zip(groups, ("right", "wrong"), strict=True):
        st.header(words)
        if rows:
            grid(rows, views(name, [row["image_id"] for row in rows]), run=name, key=f"near-{key}", size=125)
        else:
            st.caption("None.")
    if st.button("More like this", icon=":material/search:"):
        go("search", run=name, image=image_id, alike=SAID)


guarded(main)
