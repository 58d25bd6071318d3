"""What discovery found, for people: the part of Summary that leads with it, and the stories that Sample shows, too."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import streamlit as st

from core import queries
from core.deck.keep import of_cue
from core.errors import WhylookError
from core.findings.words import described
from core.queries import CueRow
from core.statistics import format_pictures
from pages import _launch
from pages._keep import keep_or_undo, keep_words
from pages._pictures import Shown, outlined_views, views
from pages._shared import read, store_folder
from pages._view import draw, target
from pages._words import plain, slice_sql

STRIP, PAIRS, MOST = 4, 3, 5
SEEN = {
    "strategy": "Seen here",
    "detail": "Pictures that hold it, and where it looks",
    "property": "Such pictures",
    "context": "Pictures with it",
}
HOW_LONG = "About 2 minutes for 600 pictures on 2 cores; of larger runs a sample is tested. It needs no judge."


def causes(name: str) -> None:
    """Cues that the classifier uses, as stories; what is only there and what cannot be told, folded."""
    st.header("What do the answers rest on?")
    running = _launch.at_work("discover")
    if running is not None:
        watch(name)
        return
    found = read(queries.cues, name)
    if not found:
        _offer(name)
        return
    told = queries.sections(found)
    used = told.pop(queries.CAUSE, [])
    if used:
        st.caption(
            "Cues that the classifier uses: each was put into other pictures, or taken out, and its answers followed. "
            "One in twenty of them may be chance."
        )
        everything = len(used) <= MOST or st.toggle(f"Show all {len(used)} cues", key="cues_all", bind="query-params")
        stories(name, used if everything else used[:MOST], key="stories")
    else:
        st.write("No cue that it uses was found: nothing that was put in or taken out moved its answers for sure.")
    for section, cues in told.items():
        _folded(name, section, cues)


def stories(name: str, cues: Sequence[CueRow], *, key: str, ranked: bool = True, prototypes: bool = True) -> None:
    """Each cue with its sentence, pictures that hold it, and pictures before and after the change."""
    said = read(described, name)
    items = [
        _story(name, cue, str(rank) if ranked else "", said.get(cue.cue, ""), prototypes=prototypes)
        for rank, cue in enumerate(cues, start=1)
    ]
    by = {cue.cue: cue for cue in cues}

    def keep_it(cue: str) -> None:
        keep_or_undo(f"{name}-{cue}", lambda ask: of_cue(ask, name, by[cue]))

    draw("stories", key=key, items=items, placebo=queries.PLACEBO, on_keep=keep_it)


def _story(name: str, cue: CueRow, rank: str, said: str, *, prototypes: bool) -> dict[str, object]:
    query = slice_sql(name, f"({cue.sql})")
    return {
        "rank": rank,
        "sentence": cue.words,
        "harm": cue.harm,
        "described": said,
        "evidence": cue.evidence,
        "seen": SEEN.get(cue.kind, "Pictures with it"),
        "pictures": _prototypes(name, cue) if prototypes else [],
        "link": format_pictures(cue.n),
        "target": target("slices", run=name, sql=query),
        "changed": "Those that changed most, before → after",
        "pairs": [
            {
                "before": _inline(example.before, "before"),
                "after": _inline(example.after, "after"),
                "words": example.words(cue.answer),
            }
            for example in cue.examples[:PAIRS]
        ],
        "sql": query,
        "keep": keep_words(f"{name}-{cue.cue}", cue.cue),
    }


def _prototypes(name: str, cue: CueRow) -> list[Shown]:
    """Pictures that hold the cue: its region outlined, or where it looks when the cue moves."""
    ids = list(cue.prototypes[:STRIP])
    if cue.region is not None:
        return outlined_views(name, ids, cue.region)
    shown = views(name, ids, ("overlay",) if cue.kind == "detail" else ("original",))
    return [shown[image_id][0] for image_id in ids]


def _inline(picture: str, alt: str) -> Shown:
    return {"src": f"data:image/webp;base64,{picture}", "alt": alt}


def _folded(name: str, section: str, cues: Sequence[CueRow]) -> None:
    with st.expander(f"{section.capitalize()} · {len(cues):,}"):
        items = [
            {
                "sentence": cue.words,
                "link": format_pictures(cue.n),
                "target": target("slices", run=name, sql=slice_sql(name, f"({cue.sql})")),
            }
            for cue in cues
        ]
        draw("asides", key=f"asides-{section}", items=items, placebo=queries.PLACEBO)
        if section == queries.UNTESTED and any("time" in cue.reason for cue in cues):
            st.caption("With more time more of them can be tested:")
            st.code(f"{_command(name)} --seconds 600", language="sh")


def _command(name: str) -> str:
    return f"whylook discover --store {shlex.quote(str(store_folder()))} --run {name}"


def _offer(name: str) -> None:
    """The button that starts discovery; why there is none where it cannot work."""
    if not read(queries.has_features, name):
        st.caption(plain(f"Cannot be looked for: {queries.NO_FEATURES.format(run=name)}."))
        return
    if problem := _launch.problem_of("discover", name):
        st.error(plain(problem), icon=":material/error:")
    if read(queries.discovered, name):
        st.write("Discovery looked at this run and found no group of pictures that stands out, so nothing to test.")
        return
    if not _launch.may_start():
        st.write(f"This command looks for causes that no column lists, and tests whether they are used. {HOW_LONG}")
        st.code(_command(name), language="sh")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Look for causes that no column lists",
            icon=":material/travel_explore:",
            help="Groups of pictures that are seen alike, properties and columns; each is put in or taken out, to see "
            "whether the classifier uses it. Runs the classifier's code again.",
        )
        st.caption(HOW_LONG, width="content")
    if pressed:
        try:
            _launch.start_beside("discover", name)
        except (WhylookError, OSError) as problem:
            st.error(plain(problem), icon=":material/error:")
            return
        st.rerun()


@st.fragment(run_every=1.0)
def watch(name: str) -> None:
    """How far discovery is, as it says itself; the page is drawn anew once it has ended."""
    running = _launch.at_work("discover")
    if running is None:
        st.rerun()
        return
    said, share = _launch.said_last("discover")
    with st.container(border=True):
        of = "" if running == name else f" in run {plain(running)}"
        st.markdown(f"**Looking for causes{of}**")
        st.progress(share, text=plain(said))
        words, stop = st.columns([4, 1], vertical_alignment="center")
        words.caption(HOW_LONG)
        if stop.button("Cancel", icon=":material/stop:", width="stretch", key="cancel-discovery"):
            _launch.cancel_beside("discover")
