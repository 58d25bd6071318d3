"""The frame of every page: run picker, status line, errors in words, empty states."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import streamlit as st

from core import queries
from core.errors import WhylookError
from core.queries import literal
from core.records import Run
from pages._charts import accent
from pages._history import keep_history
from pages._keep import back_to_slide
from pages._report_card import warn
from pages._run_names import titles_of
from pages._shared import read, read_only, store, store_folder
from pages._view import go, style
from pages._words import plain, short

PAGES = ("summary", "slices", "search", "sample", "labels", "compare", "present", "runs")
STYLE = """<style>
.stMainBlockContainer { padding: 4.2rem 2.6rem 4rem; max-width: 1880px; }
[data-testid="stSidebarUserContent"] { padding-top: 0.5rem; }
[data-testid="stTopNavLink"] span, [data-testid="stMetricLabel"] p { font-size: 1rem; }
[data-testid="stTopNavLink"] span { font-weight: 500 !important; }
:is([data-testid="stAppViewContainer"], [data-testid="stPopoverBody"]) :is(
  [data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p,
  [data-testid="stMetricDelta"], [data-testid="stImageCaption"], [data-testid="stPagination"] button,
  [data-testid="stProgress"] p, [data-testid^="stSlider"] p, [data-testid="stSidebarUserContent"] p, label p, button p,
  summary p, input, textarea,
  code, [role="combobox"]) { font-size: max(16px, .95rem); }
[data-testid="stTopNavLink"]:focus-visible, [data-testid="stMain"] summary:focus-visible,
.stMainBlockContainer a:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
[data-testid="stMetricValue"] { font-weight: 650; font-variant-numeric: tabular-nums; }
h1 { padding-top: 0; } hr { margin: 0.6rem 0 1rem; }
[data-testid="stMarkdownContainer"], [data-testid="stHeading"] { overflow-wrap: anywhere; min-width: 0; }
.stMainBlockContainer [data-testid="stElementContainer"] { max-width: 100%; }
[data-testid="stElementContainer"]:has(.stMarkdown style) { display: none; }
.st-key-whylook-history { position: absolute; width: 1px !important; overflow: hidden; }
[data-testid="stMetricDelta"] > div { white-space: normal; }
@media (max-width: 1360px) {
  [data-testid="stTopNavLink"] { padding-left: .4rem; padding-right: .4rem; gap: .25rem; }
  [data-testid="stTopNavLink"] > span:has([data-testid="stIconMaterial"]) { display: none; }
}
@media (max-width: 1100px) {
  .stMainBlockContainer [data-testid="stColumn"] { min-width: min(100%, 12rem); }
  .stMainBlockContainer [data-testid="stColumn"]:has([data-testid="stMetric"]):not(:has([data-testid="stColumn"]))
    { min-width: min(100%, 9.5rem); }
}
</style>"""
"""Layout only, no data: less empty border, no word below 16 pixels, none too long, no column too narrow."""
COLOURS = """<style>:root { --focus: %s; }
button[data-selected="true"] p, [data-testid="stSliderThumbValue"] p { color: %s; }</style>"""
"""The accent, in the dark lighter where it is drawn or written on the ground than where white is written on it."""

CARD = {"good": "passed", "care": "with care", "fail": "failed"}
log = logging.getLogger("whylook.app")


def guarded(body: Callable[[], None]) -> None:
    """Runs a page's body; anything that goes wrong becomes one clear message, never a traceback on screen."""
    page = Path(body.__code__.co_filename).stem
    st.session_state["page_name"] = page
    try:
        body()
        places()[page] = st.query_params.to_dict()
    except WhylookError as problem:
        st.error(plain(problem), icon=":material/error:")
        st.caption("Reload the page once this is fixed; nothing in the store has changed.")
    except Exception:
        log.exception("a page failed")
        st.error("This page could not be drawn. The terminal that runs the app says why.", icon=":material/error:")
        st.caption("The store is read-only for this page, so nothing was lost. Reload, or choose another run.")


def when(moment: object) -> str:
    """A moment as `23 Nov 14:02`."""
    return moment.strftime("%-d %b %H:%M") if isinstance(moment, datetime) else ""


def places() -> dict[str, dict[str, str]]:
    """The state of every page as this person left it: it is there again when they come back by the navigation."""
    kept: dict[str, dict[str, str]] = st.session_state.setdefault("places", {})
    return kept


def _come_back(names: list[str]) -> None:
    """Opens a page that was asked for without a state as it was left."""
    page = st.session_state.get("page_name")
    kept = places().pop(page, {}) if page and not st.query_params else {}
    chosen, old = st.session_state.get("chosen_run"), kept.get("run")
    if page and old and chosen in names:
        go(page, **{**kept, **_of_run(kept, old, chosen), "run": chosen})


def _of_run(state: Mapping[str, str], old: str, new: str) -> dict[str, str]:
    """The queries in a state, of another run."""
    return {name: state[name].replace(literal(old), literal(new)) for name in ("sql", "within") if name in state}


def choose_run(runs: list[Run]) -> Run:
    """The run picker; the address wins over the last choice, which wins over the newest run."""
    names = [run.name for run in runs]
    wanted = st.query_params.get("run")
    begun = wanted not in names and any(record["run"] == wanted for record in store().run_records())
    if wanted and begun:
        st.sidebar.caption(f"Run {plain(short(wanted))} has published nothing yet; the pages show another.")
    elif wanted and wanted not in names:
        st.sidebar.warning(f"Run {plain(short(wanted))} is not in this store; showing another.")
    for candidate in (wanted, st.session_state.get("chosen_run"), names[0]):
        if candidate in names:
            chosen = candidate
            break
    st.session_state["run_picker"] = chosen
    titles = titles_of(runs)
    st.sidebar.selectbox("Run", names, key="run_picker", format_func=titles.__getitem__, on_change=_changed)
    st.session_state["chosen_run"] = chosen
    if wanted != chosen and st.query_params and not begun:
        st.query_params["run"] = chosen
    return runs[names.index(chosen)]


def _changed() -> None:
    old, new = st.session_state.get("chosen_run"), st.session_state["run_picker"]
    st.session_state["chosen_run"] = new
    queries_ = _of_run(st.query_params, old, new) if old else {}
    st.query_params.update(run=new, **queries_)


def through_app() -> None:
    """Makes sure that app.py ran before this page.

    Until some session has called st.navigation, Streamlit takes `pages/` for its automatic pages: the first visitor
    of a fresh server who opens a link to a page would get that page alone, with a menu of file names. Calling
    st.navigation once turns that off for good; the rerun then goes through app.py.
    """
    if not st.session_state.get("registered"):
        st.session_state["registered"] = True
        here = Path(__file__).parent
        st.navigation([here / f"{name}.py" for name in PAGES], position="hidden")
        st.rerun()


def frame() -> None:
    """What every page has, with runs or without."""
    through_app()
    style(STYLE + COLOURS % ((accent(),) * 2))
    st.sidebar.markdown("### whylook")
    if read_only():
        st.sidebar.caption("Read-only: look, filter, search and download.")


def current_run() -> Run | None:
    """Lets the user choose among the runs and says what there is to say of it; None when there is none yet."""
    runs = read(queries.runs) if store().exists() else []
    if not runs:
        keep_history()
        return None
    _come_back([run.name for run in runs])
    run = choose_run(runs)
    keep_history(run=run.name)
    _status(run)
    return run


def open_page(title: str) -> Run | None:
    """Draws the frame and gives the chosen run; None when there is no run yet (then the empty state is on screen)."""
    frame()
    back_to_slide()
    run = current_run()
    if run is None:
        _no_runs(title)
    return run


def _status(run: Run) -> None:
    shown = " · ".join(f"{stage} `{mark[:8]}`" for stage, mark in run.fingerprints.items())
    counts = read(queries.run_counts, run.name)
    line = [f"**{counts.pictures:,}** pictures"]
    if counts.judged or counts.abstained or counts.judge_failed:
        line += [f"**{counts.judged:,}** judged", f"**{counts.abstained:,}** abstained"]
    else:
        line.append("no judge")
    line.append(f"**{counts.failures:,}** failed")
    st.sidebar.markdown(" · ".join(line))
    facts = (run.settings.images_name, run.settings.classifier_name, when(run.started))
    st.sidebar.caption(plain(" · ".join(short(part) for part in facts if part)))
    warn(run.name)
    if card := read(queries.judge_card, run.name):
        st.sidebar.caption(f"Report card: {CARD[card.verdict]}, n {card.n:,}")
    _judge_note(run)
    if missing := read(queries.missing_rows, run.name):
        st.sidebar.warning(plain(missing), icon=":material/warning:")
    if run.state != "done":
        of = f" of {run.counts['listed']:,}" if run.counts.get("listed") else ""
        more = "numbers grow as it runs" if run.state == "running" and store().writer_alive() else "resume it on Runs"
        st.sidebar.warning(f"**Partial**: {counts.pictures:,}{of} pictures, a random sample; {more}.")
    with st.sidebar.expander("Fingerprint"):
        st.caption(f"Run `{run.name}` · {shown}" if shown else f"Run `{run.name}`")
        st.caption(f"Store {plain(store_folder())}")


def _judge_note(run: Run) -> None:
    """A judge that knows one world only says so; over other pictures that stands above everything else.

    What it lacks whatever the pictures is said on hover: its scores mean what they mean everywhere.
    """
    note = run.judge_note
    quiet = [plain(words) for words in (note, run.judge_limits) if words]
    if quiet:
        st.sidebar.caption("What this judge cannot do", help="  \n".join(quiet))
    if note and strange_pictures(run):
        words = "This judge does not know these pictures; its words and scores mean nothing here."
        st.warning(f"**{words}** {plain(note)}", icon=":material/visibility_off:")


def strange_pictures(run: Run) -> bool:
    """Whether a run's folder is there and is none of the demo world, whose pictures have their truth beside them."""
    folder = Path(run.settings.images)
    try:
        return folder.exists() and not (folder.parent / "truth" / f"{folder.name}.csv").is_file()
    except OSError:  # a name that this machine's file system does not take
        return False


def _no_runs(title: str) -> None:
    st.title(title)
    running = store().progress() if store().writer_alive() else None
    if running:
        st.info(
            "The first run is working; its first pictures appear here within seconds.", icon=":material/hourglass_top:"
        )
        if st.button("Watch it", type="primary"):
            go("runs")
        return
    st.info(f"No run in {plain(store_folder())} yet.", icon=":material/inbox:")
    st.write("A run explains a classifier over a folder of pictures. Start one here, or in a terminal:")
    st.code("whylook demo\nwhylook run IMAGES --classifier SPEC", language="bash")
    if st.button("Start a run", type="primary"):
        go("runs", new="1")


def empty(
    message: str, *, action: str | None = None, page: str = "summary", key: str = "empty", **state: object
) -> None:
    """An empty state that offers the next step as a button."""
    st.info(message, icon=":material/inbox:")
    if action and st.button(action, key=key):
        go(page, **state)
