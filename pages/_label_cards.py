"""Suspected labels as cards to decide on: a card stays in its place until its page is put away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from core.errors import StoreError
from core.labels import Suspect
from core.queries import LabelRows
from core.records import LabelDecision, Verdict
from pages._pictures import Shown, views
from pages._shared import store
from pages._view import draw, named, style, target
from pages._words import plain, short

AT_ONCE = 12
COLUMNS = 2
LOOK, SEEN = "To look at", "Looked at"
NAME, FILE = 22, 44
NONE = ""
"""Among the other classes: the label is wrong, and what it should be is not said. No class has an empty name."""
STYLE = """<style>
[class*="st-key-decided-"] { background: color-mix(in srgb, currentColor 8%, transparent); }
[class*="st-key-said-"] p { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
[class*="st-key-decided-"] :is(.stBidiComponent, [data-testid="stBidiComponentRegular"]) { filter: grayscale(1); }
[class*="st-key-decided-"] [data-testid="stCaptionContainer"], [class*="st-key-decided-"]
  [data-testid="stCaptionContainer"] p { color: var(--st-text-color, currentColor); opacity: 1; }
</style>"""
"""Layout only, no data: what was decided is greyed, and takes no more room than before."""


def to_decide(run: str, rows: LabelRows, listed: Sequence[Suspect], decided: Mapping[str, LabelDecision]) -> None:
    """The suspects that nobody looked at, or those that somebody did."""
    style(STYLE)
    chosen = st.segmented_control(
        "Show", [LOOK, SEEN], default=LOOK, required=True, key="show", label_visibility="collapsed",
        bind="query-params", on_change=_forget, args=(_seen_key(run),),
    )  # fmt: skip
    if chosen == LOOK:
        _open(run, rows, listed, decided)
    else:
        _seen(run, rows, listed, decided)


def _open(run: str, rows: LabelRows, listed: Sequence[Suspect], decided: Mapping[str, LabelDecision]) -> None:
    """One page of cards; it stays as it is, decided or not, until the next one is asked for."""
    key = f"open-cards-{run}"
    left = [item for item in listed if item.image_id not in decided]
    by_id = {item.image_id: item for item in listed}
    shown = [by_id[image_id] for image_id in st.session_state.get(key, ()) if image_id in by_id] or left[:AT_ONCE]
    st.session_state[key] = [item.image_id for item in shown]
    if not left:
        st.info("Every suspect has been looked at.", icon=":material/done_all:")
    if st.session_state.get(f"turned-{run}"):
        draw("top", key="top", number=st.session_state[f"turned-{run}"])
    _cards(run, rows, shown, decided)
    if left:
        words, more = st.columns([3, 1], vertical_alignment="center")
        still = sum(item.image_id not in decided for item in shown)
        words.caption(
            f"{still:,} of these {len(shown):,} are not decided, {len(left):,} in all. Decided cards stay until you go "
            "on."
        )
        more.button(
            f"Next {min(AT_ONCE, len(left)):,}", icon=":material/arrow_forward:", width="stretch", key="next",
            type="secondary" if still else "primary", disabled=still == len(shown), on_click=_turn, args=(run, key),
        )  # fmt: skip


def _seen(run: str, rows: LabelRows, listed: Sequence[Suspect], decided: Mapping[str, LabelDecision]) -> None:
    """What was decided, newest first, page by page; a card keeps its place as long as one is here."""
    key = _seen_key(run)
    by_id = {item.image_id: item for item in listed}
    kept = [image_id for image_id in st.session_state.get(key, ()) if image_id in by_id]
    said = [image_id for image_id in decided if image_id in by_id and image_id not in kept]
    order = sorted(reversed(said), key=lambda image_id: decided[image_id].saved, reverse=True) + kept
    st.session_state[key] = order
    if not order:
        st.info("Nothing has been looked at yet.", icon=":material/inbox:")
        return
    pages = -(-len(order) // AT_ONCE)
    st.caption("What was decided last comes first.")
    place = st.container()
    page = (st.pagination(pages, key=f"seen-page-{run}") or 1) if pages > 1 else 1
    start = (page - 1) * AT_ONCE
    with place:
        _cards(run, rows, [by_id[image_id] for image_id in order[start : start + AT_ONCE]], decided)


def _cards(run: str, rows: LabelRows, shown: Sequence[Suspect], decided: Mapping[str, LabelDecision]) -> None:
    pictures = views(run, [item.image_id for item in shown])
    for start in range(0, len(shown), COLUMNS):
        for place, item in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            decision = decided.get(item.image_id)
            state = "decided" if decision else "open"
            with place.container(border=True, height="stretch", key=f"{state}-card-{item.image_id}"):
                _card(run, rows, item, pictures[item.image_id][0], decision)


def _card(run: str, rows: LabelRows, item: Suspect, picture: Shown, decision: LabelDecision | None) -> None:
    """One suspect: its picture, which opens it, label and suggestion, the reasons, and what may be said of it."""
    left, right = st.columns([1.1, 1], gap="medium")
    with left:
        shown = {
            "target": target("sample", run=run, image=item.image_id),
            "pictures": [named(picture, item.paths[0], item.label)],
            "title": f"No. {item.rank}",
            "lines": [short(item.paths[0], FILE)],
            "colour": "var(--st-border-color)",
            "hint": f"{item.paths[0]}\nlabelled {item.label}; opens the picture",
        }
        draw("grid", key=f"picture-{item.image_id}", items=[shown], size=1000)
    with right:
        st.markdown(f"### {plain(short(item.label, NAME))} → {plain(short(item.suggested, NAME))}")
        st.caption(plain(item.reason))
        _answers(rows, item, decision)
        with st.container(horizontal=True, vertical_alignment="center", key=f"said-{item.image_id}"):
            st.markdown(f"**{_said(decision)}**" if decision else "Not decided")
            st.button(
                "Undo", key=f"undo-{item.image_id}", type="tertiary", icon=":material/undo:", disabled=decision is None,
                on_click=_undo, args=(item,),
            )  # fmt: skip


def _answers(rows: LabelRows, item: Suspect, decision: LabelDecision | None) -> None:
    """Buttons of equal weight, the chosen one highlighted, and the other classes."""
    key = item.image_id
    choices: tuple[tuple[str, Verdict, str | None], ...] = (
        (f"It is {plain(short(item.suggested, NAME))}", "wrong", item.suggested),
        (f"It is {plain(short(item.label, NAME))}, as labelled", "right", None),
        ("Not sure", "unsure", None),
    )
    given = (decision.verdict, decision.should_be) if decision else None
    for words, verdict, should_be in choices:
        st.button(
            words, key=f"{verdict}-{key}", width="stretch", on_click=_decide, args=(item, verdict, should_be),
            type="primary" if given == (verdict, should_be) else "secondary",
        )  # fmt: skip
    others = [*(name for name in rows.names if name not in (item.label, item.suggested)), NONE]
    said = decision and decision.verdict == "wrong" and (decision.should_be or NONE)
    st.session_state[f"other-{key}"] = said if said in others else None
    st.selectbox(
        "Another class", others, key=f"other-{key}", placeholder="It is another class …", label_visibility="collapsed",
        on_change=_decide_other, args=(item,), format_func=lambda name: short(name or "none of these classes", 40),
    )  # fmt: skip


def _said(decision: LabelDecision) -> str:
    if decision.verdict == "wrong":
        return f"It is {plain(short(decision.should_be, NAME))}" if decision.should_be else "Label is wrong"
    return "Label is right" if decision.verdict == "right" else "Not sure"


def _decide(item: Suspect, verdict: Verdict, should_be: str | None) -> None:
    try:
        store().decide_label(item.image_id, verdict, label=item.label, should_be=should_be, file=item.paths[0])
    except StoreError as problem:
        st.toast(plain(problem), icon=":material/error:")


def _decide_other(item: Suspect) -> None:
    chosen = st.session_state.get(f"other-{item.image_id}")
    if chosen is not None:
        _decide(item, "wrong", chosen or None)


def _undo(item: Suspect) -> None:
    try:
        words = store().undo_label(item.image_id)
    except StoreError as problem:
        st.toast(plain(problem), icon=":material/error:")
        return
    st.toast(f"Taken back: {plain(words or f'what was said of {item.paths[0]}')}")


def _turn(run: str, key: str) -> None:
    """The next page, from its first card on."""
    _forget(key)
    st.session_state[f"turned-{run}"] = st.session_state.get(f"turned-{run}", 0) + 1


def _forget(key: str) -> None:
    st.session_state.pop(key, None)


def _seen_key(run: str) -> str:
    return f"seen-cards-{run}"
