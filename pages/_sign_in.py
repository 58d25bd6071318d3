"""Signing in to a shared app: Streamlit's own way (OpenID Connect), where its secrets name a provider."""

from __future__ import annotations

import os

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError


def needs_sign_in() -> bool:
    """Whether this visitor has to sign in first; then the page says so, with a button."""
    if not os.environ.get("WHYLOOK_SHARED") or not has_provider() or st.user.is_logged_in:
        return False
    st.title("whylook")
    st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login)
    return True


def has_provider() -> bool:
    """Whether `.streamlit/secrets.toml` has a section `auth`."""
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError:
        return False
