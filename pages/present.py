"""Present: the deck as a list to order and edit, and as slides over the whole screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import streamlit as st

from core import queries
from core.deck import files
from core.deck.pictures import pictures
from core.errors import StoreError, WhylookError
from core.records import Run
from core.statistics import format_count
from pages._frame import current_run, frame, guarded
from pages._keep import Deck, deck, rewrite
from pages._shared import findings, read, run_file, sql, store
from pages._stage import Act, draw_list, draw_stage, listed, staged
from pages._view import go
from pages._words import plain, short

FORMS: dict[files.Form, str] = {
    "pptx": "PowerPoint, with charts to edit",
    "html": "HTML, runs offline with the same keys",
    "pdf": "PDF, to hand out",
    "md": "Markdown",
}
HELP = "Right and left arrow, Home, End; S: queries, N: notes, F: full screen, Enter: the pictures, Esc: back here."


def main() -> None:
    """Draws the stage where the address names a slide, else the list."""
    frame()
    found = deck() if store().folder.is_dir() else Deck((), ())
    runs = {run.name for run in read(queries.runs)} if store().exists() else set()
    wanted = st.query_params.get("slide")
    if wanted is not None and found.slides:
        stage(found, wanted, runs)
        return
    st.session_state.pop("presenting", None)
    run = current_run()
    st.title("Present")
    told()
    tools(run, found)
    for key, reason in found.unreadable:
        st.warning(plain(reason), icon=":material/broken_image:")
        if st.button("Delete it", key=f"drop-{key}"):
            change(partial(store().delete_slide, key), "Deleted. Undo brings it back.")
    if not found.slides:
        st.info("The deck is empty.", icon=":material/inbox:")
        st.write(
            "Keep what the meeting should see: stories, findings and the matrix on Summary, slices, pictures. Or let a "
            "first deck be made from the stories of this run."
        )
        return
    act = draw_list([listed(slide, place, runs) for place, slide in enumerate(found.slides, start=1)])
    if act:
        handle(act)


def told() -> None:
    """What went wrong with the last change, with the words that were typed."""
    problem = st.session_state.pop("deck_problem", None)
    if problem:
        st.error(plain(problem[0]), icon=":material/error:")
        if problem[1]:
            st.caption("This was typed:")
            st.code(problem[1], language=None, wrap_lines=True)


def tools(run: Run | None, found: Deck) -> None:
    """Present, make a first deck, undo."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Present", type="primary", icon=":material/slideshow:", disabled=not found.slides, help=HELP):
            go("present", slide=1, run=run.name if run else None)
        make = "Make a first deck of this run"
        if run is not None and st.button(make, icon=":material/auto_awesome:", type="secondary"):
            first(run.name, found)
        if found.slides:
            save_menu(found, run.name if run else "")
        if st.button("Undo", icon=":material/undo:", type="tertiary"):
            undo()


def save_menu(found: Deck, run: str) -> None:
    """The deck as a file; it is written when it is asked for."""
    with st.popover("Save as a file", icon=":material/download:"):
        for form, words in FORMS.items():
            problem = files.cannot_show(found.slides, form)
            name = run_file(run, "slides", suffix=f".{form}") if run else f"whylook-slides.{form}"
            st.download_button(
                words, partial(written, found, form), name, files.KINDS[form],
                icon=":material/download:", on_click="ignore", width="stretch", disabled=problem is not None,
                help=problem, key=f"save-{form}",
            )  # fmt: skip
        st.caption("A file carries its queries; whylook verify FILE counts every number again.")


def written(found: Deck, form: files.Form) -> bytes:
    """The slides as a file of a form, with their pictures."""
    return files.write(found.slides, pictures(store().reader(), found.slides), form)


def first(run: str, found: Deck) -> None:
    """Adds the first deck of a run at the end; slides that are there already stay as they were edited."""
    from core.deck.first import first_deck

    try:
        with st.spinner("Making slides of what stands out …"):
            called = store().run_names().get(run)
            made = first_deck(sql, store().reader(), run, findings(run), called=called.name if called else "")
        new = {slide.key: asdict(slide) for slide in made if found.place(slide.key) is None}
        if new:
            store().add_slides(new, words=f"the first deck of a run, {format_count(len(new))} slides")
    except (WhylookError, OSError) as problem:
        st.error(plain(problem), icon=":material/error:")
        return
    st.toast(f"Added {len(new)} slides." if new else "All of its slides are in the deck already.")
    st.rerun()


def undo() -> None:
    """Takes back the last change of the deck."""
    try:
        words = store().undo("deck")
    except (StoreError, OSError) as problem:
        st.error(plain(problem), icon=":material/error:")
        return
    st.toast(f"Taken back: {plain(short(words))}." if words else "Nothing left to undo.")
    st.rerun()


def handle(act: Act) -> None:
    """Does what was done in the list; only what was changed is written, so that another window loses nothing."""
    now, key = deck(), act["key"]
    if act["do"] == "present":
        go("present", slide=now.place(key) or 1)
    elif act["do"] == "move":
        others = [slide.key for slide in now.slides if slide.key != key]
        place = others.index(act["after"]) + 1 if act.get("after") in others else 0
        change(lambda: store().move_slide(key, place))
    elif act["do"] == "delete":
        title = next((short(slide.title) for slide in now.slides if slide.key == key), "it")
        change(lambda: store().delete_slide(key), f"Deleted “{plain(title)}”. Undo brings it back.")
    elif act["do"] in ("title", "notes", "body"):
        change(lambda: write(key, act), typed=act["text"])


def write(key: str, act: Act) -> None:
    """Writes another title, other lines or other notes, and says so where another window had changed them meanwhile."""
    if rewrite(key, act["do"], act["text"], was=act["was"]):
        st.toast("It was changed in another window meanwhile; yours stands now, Undo brings the other back.")


def change(do: Callable[[], None], words: str = "", *, typed: str = "") -> None:
    """Makes a change and draws the page anew; what cannot be done is said, and what was typed is not lost."""
    try:
        do()
    except (WhylookError, OSError) as problem:
        st.session_state["deck_problem"] = (str(problem), typed)
    else:
        if words:
            st.toast(words)
    st.rerun()


def stage(found: Deck, wanted: str, runs: set[str]) -> None:
    """The slides over the whole screen; the address says which."""
    place = int(wanted) if wanted.isdecimal() and len(wanted) < 6 else 1
    place = max(1, min(place, len(found.slides)))
    st.session_state["presenting"] = place
    with st.spinner("Laying out the slides …"):
        slides = [staged(slide, number, runs) for number, slide in enumerate(found.slides, start=1)]
    act = draw_stage(slides, place)
    if not act:
        return
    if act["do"] == "leave":
        go("present")
    elif act["do"] == "go":
        st.session_state["presenting"] = act["slide"]
        go(act["page"], **{name: value for name, value in act.items() if name not in ("do", "page")})


guarded(main)
