"""How a picture was seen: its way of seeing with those most like it, the used cue that it holds, its properties."""

from __future__ import annotations

import streamlit as st

from core import queries
from core.columns import BY_NAME
from core.records import Sample
from core.statistics import format_number, format_pictures, format_rate, format_spoken
from pages._causes import stories
from pages._pictures import outlined_views, views
from pages._shared import read
from pages._view import grid
from pages._words import plain

NEIGHBOURS = 6


def how_it_was_seen(sample: Sample) -> None:
    """The way of seeing of this picture with those most like it, the used cue that it holds, and its properties."""
    way = read(queries.way_of_seeing, sample.run, sample.image_id, k=NEIGHBOURS)
    used = [cue for cue in read(queries.cues, sample.run) if cue.cue == sample.cue and _concerns(cue, sample)]
    properties = _properties(sample)
    if not (way or used or properties):
        return
    st.divider()
    st.header("How it was seen")
    if way is not None:
        told = f"As **{plain(way.name)}**: {_of_the_class(way)}."
        if way.right.known:
            told += f" Of these {format_rate(way.right, n=False)} are right."
        st.markdown(f"{told} Nearest to it:" if way.nearest else told)
        rows = {row["image_id"]: row for row in read(queries.pictures, sample.run, ids=list(way.nearest))}
        near = [rows[image_id] for image_id in way.nearest if image_id in rows]
        if near:
            grid(near, views(sample.run, way.nearest), run=sample.run, key="way", size=125)
    if used:
        st.caption("It holds a cue that the classifier uses:")
        for cue in used:
            if cue.region is not None:
                shown = outlined_views(sample.run, [sample.image_id], cue.region)
                if shown:
                    st.image(shown[0]["src"], width=220, caption="where it lies", alt="this picture, the cue outlined")
        stories(sample.run, used, key="cue", ranked=False, prototypes=False)
    if properties:
        st.caption(properties)


def _concerns(cue: queries.CueRow, sample: Sample) -> bool:
    """Whether a cue pulls towards the answer or the label; of a whole picture or its context, towards the answer."""
    if cue.answer is None:
        return False
    return cue.answer == sample.prediction or (cue.kind in queries.GROUPS and cue.answer == sample.label)


def _of_the_class(way: queries.WayOfSeeing) -> str:
    share = format_spoken(way.n / way.of)
    return f"one way in which “{plain(way.answer)}” is seen, in {share} of the {format_pictures(way.of)} called so"


def _properties(sample: Sample) -> str:
    """What the whole picture is like, in one line; nothing where it was not measured."""
    measured = [
        (BY_NAME[name].phrase, getattr(sample, name))
        for name in ("brightness", "contrast", "saturation", "warmth", "sharpness")
    ]
    told = [f"{words} {format_number(value)}" for words, value in measured if value is not None]
    return " · ".join(told + ([f"mostly {plain(sample.colour)}"] if sample.colour else []))
