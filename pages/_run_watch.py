"""Starts a run from the page, watches and cancels it, and says how it ended: beside what started it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.errors import RequestError, WhylookError
from core.pipeline.request import RunRequest
from core.records import Row
from core.statistics import format_duration
from pages import _launch
from pages._shared import store
from pages._view import go
from pages._words import plain

COULD_NOT_START = 2


@st.fragment(run_every=0.5)
def watch() -> None:
    """What the run is doing now: stage, how far, how fast, how long still; with a way to stop it.

    A run that was started here becomes the one shown as soon as it has a name.
    """
    progress = store().progress() or {}
    if not _launch.busy():
        st.session_state["stopping"] = False
        if st.session_state.pop("was_busy", False):
            st.rerun()
        return
    st.session_state["was_busy"] = True
    alive, name = bool(progress.get("alive")), progress.get("run")
    if alive and name and st.session_state.get("launched") and name != st.query_params.get("run"):
        st.session_state["launched"], st.session_state["chosen_run"] = False, name
        go("runs", run=name)
    stopping = bool(st.session_state.get("stopping"))
    with st.container(border=True):
        if not alive:
            st.markdown("**Starting** · loading the models …")
            st.progress(0.0)
        else:
            _bar(progress)
        words, stop = st.columns([4, 1], vertical_alignment="center")
        told = "Stopping; what is done is kept." if stopping else plain(progress.get("message") or "")
        words.caption(told or "The other pages show what is published so far.")
        stop.button(
            "Stopping …" if stopping else "Cancel", icon=":material/stop:", width="stretch", key="cancel",
            disabled=stopping, on_click=_cancel,
        )  # fmt: skip


def _cancel() -> None:
    try:
        _launch.cancel()
        st.session_state["stopping"] = True
    except RequestError as problem:
        st.toast(plain(problem))


def _bar(progress: Row) -> None:
    done, total = int(progress.get("done") or 0), int(progress.get("total") or 0)
    st.markdown(f"**{plain(progress.get('run') or '')}** · {plain(progress.get('stage') or '')}")
    facts = [f"{done:,} of {total:,} pictures" if total else f"{done:,} pictures"]
    if progress.get("rate"):
        facts.append(f"{progress['rate']:.2g} pictures/s")
    if progress.get("seconds_left") is not None:
        facts.append(f"{format_duration(progress['seconds_left'])} left")
    if progress.get("limit") and done:
        facts.append(f"slowest: {plain(progress['limit'])}")
    st.progress(min(1.0, done / total) if total else 0.0, text=" · ".join(facts))


def failed_to_start() -> bool:
    """Whether the last run that was asked for did not get as far as working, and nobody has read why."""
    process = _launch.last_exit() == COULD_NOT_START and st.session_state.get("log_closed") != _launch.log_tail()
    return process or bool(st.session_state.get("launch_error"))


def ended(run: str | None) -> None:
    """How the last run that was started here ended; one that could not start is told of beside Start."""
    code, said = _launch.last_exit(), _launch.log_tail()
    if code in (None, COULD_NOT_START) or _launch.busy() or st.session_state.get("log_closed") == said:
        return
    if code == 0:
        st.success("The run is done.", icon=":material/check_circle:")
        if run and st.button("See results", type="primary", icon=":material/dashboard:"):
            st.session_state["log_closed"] = said
            go("summary", run=run)
    elif code == 1:
        st.warning("The last run finished with failures; they are listed below.", icon=":material/warning:")
    else:
        st.info("The last run was stopped. Resume continues where it left off.", icon=":material/pause_circle:")
    if code != 0 and said:
        with st.expander("What it said"):
            st.code(said, language=None)
    _close(said)


def _close(said: str) -> None:
    if st.button("Close", key="close-log", type="tertiary"):
        st.session_state["log_closed"] = said
        st.rerun()


def launch_error(where: str) -> None:
    """Why what was asked for here could not start, until the next try."""
    place, problem = st.session_state.get("launch_error") or ("", "")
    if place == where:
        st.error(plain(problem), icon=":material/error:")
    said = _launch.log_tail()
    if st.session_state.get("launched_from", "new") != where or _launch.last_exit() != COULD_NOT_START:
        return
    if said and st.session_state.get("log_closed") != said:
        st.error("The last run could not start. It said:", icon=":material/error:")
        st.code(said, language=None)
        _close(said)


def launch(make: Callable[[], RunRequest | None], *, where: str) -> None:
    """Starts what `make` asks for, if anything; errors stay beside the button until the next try."""
    try:
        request = make()
        if request is None:
            return
        st.session_state["launch_error"] = None
        with st.spinner("Starting …"):
            _launch.start(request)
    except (WhylookError, OSError) as problem:
        st.session_state["launch_error"] = (where, str(problem))
        st.rerun()
    st.session_state["launched_from"], st.session_state["launched"] = where, True
    _launch.wait_for_start()
    st.session_state["was_busy"] = True
    st.query_params.pop("new", None)
    st.rerun()
