"""Keeps things as slides: the button, its toast and its undo, the deck as it is, and the way back to a slide."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import streamlit as st

from core.deck.keep import Ask, edited
from core.deck.slide import Slide, from_json
from core.errors import RequestError, StoreError, WhylookError
from pages._shared import read_only, sql, store
from pages._view import go
from pages._words import plain, short

Make = Callable[[Ask], Slide]


@dataclass(frozen=True)
class Deck:
    """The slides in their order, and the keys of those that cannot be read with the reason."""

    slides: tuple[Slide, ...]
    unreadable: tuple[tuple[str, str], ...]

    def place(self, key: str) -> int | None:
        """Which slide it is, counted from 1; None where it is not in the deck."""
        return next((place for place, slide in enumerate(self.slides, start=1) if slide.key == key), None)


def deck() -> Deck:
    """The deck as it is now."""
    slides, unreadable = [], []
    for entry in store().deck():
        try:
            slides.append(from_json(json.dumps(entry["slide"])))
        except RequestError as problem:
            unreadable.append((str(entry["slide"].get("key", "")), str(problem)))
    return Deck(tuple(slides), tuple(unreadable))


def save(slide: Slide) -> None:
    """Keeps a slide, in place of the one of its key.

    Raises:
        StoreError: nothing can be written.
    """
    store().save_slide(slide.key, asdict(slide))


def rewrite(key: str, part: str, text: str, *, was: str) -> bool:
    """Gives a slide another `title`, other `notes` or another `body` (a line each), the rest of it as it is now.

    True where that part was no longer as it `was` when the person saw it.

    Raises:
        RequestError: the slide is gone, or the text is none that a slide can hold.
        StoreError: nothing can be written.
    """
    slide = next((slide for slide in deck().slides if slide.key == key), None)
    if slide is None:
        raise RequestError("this slide was deleted, perhaps in another window: Undo brings it back")
    before = {"title": slide.title, "notes": slide.notes, "body": "\n".join(slide.body)}[part]
    new = edited(slide, **{part: text})
    if new != slide:
        save(new)
    return before != was


def kept_as(key: str) -> tuple[str, int] | None:
    """The slide that was kept here in this session and its place, while it is in the deck."""
    kept = st.session_state.get(f"kept-{key}")
    place = deck().place(kept) if kept else None
    return (kept, place) if kept and place else None


def keep_button(key: str, make: Make, *, words: str = "Keep for the meeting") -> None:
    """A button that keeps what it stands beside as a slide; once kept, it takes that back."""
    if read_only():
        return
    kept = kept_as(key)
    with st.container(horizontal=True, vertical_alignment="center", width="content"):
        if kept:
            st.caption(f"Kept as slide {kept[1]}.", width="content")
            if st.button("Undo", key=f"unkeep-{key}", icon=":material/undo:", type="tertiary"):
                undo_keep(key, kept[0])
        elif st.button(words, key=f"keep-{key}", icon=":material/bookmark_add:", type="tertiary"):
            keep(key, make)


def keep(key: str, make: Make) -> None:
    """Keeps what `make` makes and says so; nothing changes where it is in the deck already."""
    try:
        slide = make(sql)
        there = deck().place(slide.key)
        if there is None:
            save(slide)
            there = deck().place(slide.key)
            st.toast(f"Kept “{plain(short(slide.title))}” as slide {there}.", icon=":material/bookmark_added:")
        else:
            st.toast(f"That is slide {there} already.", icon=":material/bookmark_added:")
            return
    except (WhylookError, OSError) as problem:
        st.error(f"Not kept: {plain(problem)}", icon=":material/error:")
        return
    st.session_state[f"kept-{key}"] = slide.key
    st.rerun()


def keep_or_undo(key: str, make: Make) -> None:
    """What a button inside a drawing does: keeps, or takes back what it kept before."""
    if kept := kept_as(key):
        undo_keep(key, kept[0])
    else:
        keep(key, make)


def keep_words(key: str, identity: str) -> dict[str, str]:
    """A keep button for an item of a drawing: what it is called now, and what `on_keep` is told."""
    kept = kept_as(key)
    return {"id": identity, "words": f"Kept as slide {kept[1]}: undo" if kept else "Keep for the meeting"}


def undo_keep(key: str, slide: str) -> None:
    """Takes a kept slide out of the deck again."""
    st.session_state.pop(f"kept-{key}", None)
    try:
        store().delete_slide(slide)
    except (StoreError, OSError) as problem:
        st.toast(plain(problem))
    else:
        st.toast("Taken out of the deck again.")
    st.rerun()


def back_to_slide() -> None:
    """The way back to the slide from which one came here, if one did."""
    place = st.query_params.get("slide") or st.session_state.get("presenting")
    if place and st.button(f"Back to slide {plain(short(place, 6))}", icon=":material/slideshow:", key="back-to-slide"):
        go("present", slide=place)
