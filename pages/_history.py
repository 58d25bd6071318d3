"""Back and forward: one entry in the browser's history for each act of a person, and the scroll of every entry.

Streamlit pushes an entry for each change of the address, and several for one click: the query, the page, the run that
a page adds. The script here, loaded once per tab, makes one entry of them. Knows: the browser's history. Does not
know: which pages there are.
"""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

_JS = """
const SETTLED = 500, PATIENCE = 20000, HALF = 4000, DRAGGED = ['threshold'];

const install = () => {
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
  const pane = () => document.querySelector('[data-testid=stMain]');
  const running = () => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState !== 'notRunning';
  const saved = (place) => Number(sessionStorage.getItem('whylook ' + place));
  const fresh = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  let acted = false, restoring = null, half = 0;

  const entry = () => history.state?.place ?? '';
  const stay = (state, title, url) => replace({ ...state, place: entry() || fresh() }, title, url);
  const dragged = (from, to) => {
    const left = new URLSearchParams(from), right = new URLSearchParams(to);
    DRAGGED.forEach((name) => { left.delete(name); right.delete(name); });
    return left.toString() === right.toString();
  };
  const step = (state, title, url) => {
    const to = new URL(url ?? location.href, location.href);
    const moved = to.pathname !== location.pathname, asked = to.search !== location.search;
    if (!moved && !asked) { stay(state, title, url); return; }
    // A page change comes in two halves: the new query, then the new page.
    const second = moved && !asked && Date.now() - half < HALF;
    if (second || !acted || (!moved && dragged(location.search, to.search))) stay(state, title, url);
    else { acted = false; push({ ...state, place: fresh() }, title, url); }
    half = moved ? 0 : Date.now();
    if (moved) { restoring = null; pane()?.scrollTo(0, 0); }
  };
  history.pushState = step;
  history.replaceState = step;

  const act = (event) => { if (event.isTrusted) { acted = true; restoring = null; } };
  for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, act, true);
  addEventListener('wheel', () => { restoring = null; }, { capture: true, passive: true });
  addEventListener('scroll', (event) => {
    if (event.target === pane() && !restoring) sessionStorage.setItem('whylook ' + entry(), event.target.scrollTop);
  }, true);

  const restore = () => {
    const mine = restoring = { top: saved(entry()), since: Date.now(), ran: false, calm: 0 };
    acted = false;
    const look = () => {
      const now = Date.now(), main = pane();
      if (restoring !== mine) return;
      if (running()) { mine.ran = true; mine.calm = 0; } else if (!mine.calm) mine.calm = now;
      if (main && Math.abs(main.scrollTop - mine.top) > 1) main.scrollTo(0, mine.top);
      const calm = mine.calm && now - mine.calm > (mine.ran ? SETTLED : 2 * SETTLED);
      if (calm || now - mine.since > PATIENCE) restoring = null;
      else requestAnimationFrame(look);
    };
    look();
  };
  addEventListener('popstate', restore);
  if (entry()) restore(); else stay(history.state, '', location.href);
};

export default function ({ data }) {
  if (!window.whylookHistory) { window.whylookHistory = true; install(); }
  if (data.query && !location.search) history.replaceState({}, '', location.pathname + '?' + data.query);
}
"""

_component = st.components.v2.component("whylook_history", html="<span></span>", js=_JS)


def keep_history(**arrived: str) -> None:
    """Loads the script; `arrived` is what an address without a query stands for, and is shown in it."""
    _component(key="whylook-history", data={"query": urlencode(arrived)}, height=1)
