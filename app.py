"""The app's frame: which pages there are and in which order.

Knows: Streamlit and the page files. Does not know: stores, runs or pictures; `pages/_shared.py` does.
Start it with `whylook app`. `WHYLOOK_STORE=DIR streamlit run app.py` shows the same pages with Streamlit's own server,
without `pages/_gate.py`: other pages of this machine may then frame it and open its websocket.
"""

import streamlit as st

from pages._sign_in import needs_sign_in

# An eye, drawn here: the symbols that Streamlit offers for a page icon would be fetched from the network.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<path d="M2 16Q16 0 30 16Q16 32 2 16Z" fill="#4338ca"/>'
    '<circle cx="16" cy="16" r="6" fill="#fff"/><circle cx="16" cy="16" r="3" fill="#16181d"/></svg>'
)

st.set_page_config(page_title="whylook", page_icon=ICON, layout="wide", initial_sidebar_state=280)

PAGES = (
    st.Page("pages/summary.py", title="Summary", icon=":material/dashboard:", default=True),
    st.Page("pages/slices.py", title="Slices", icon=":material/filter_alt:"),
    st.Page("pages/search.py", title="Search", icon=":material/search:"),
    st.Page("pages/sample.py", title="Sample", icon=":material/image:"),
    st.Page("pages/labels.py", title="Labels", icon=":material/label:"),
    st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
    st.Page("pages/present.py", title="Present", icon=":material/slideshow:"),
    st.Page("pages/runs.py", title="Runs", icon=":material/play_circle:"),
)

if needs_sign_in():
    st.stop()

st.session_state["registered"] = True  # pages/_frame.py asks for it
st.navigation(list(PAGES), position="top").run()
