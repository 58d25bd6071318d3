"""Pages drawn without a browser, by Streamlit's own test runner."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]


def opened(monkeypatch: pytest.MonkeyPatch, page: str, folder: Path, **query: str) -> AppTest:
    """A page of a store as it draws first, with this query in its address."""
    monkeypatch.setenv("WHYLOOK_STORE", str(folder))
    app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=60)
    app.session_state["registered"] = True
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def words_on(app: AppTest) -> str:
    """Every heading, line and message on a page."""
    found = [*app.title, *app.markdown, *app.caption, *app.error, *app.info, *app.warning, *app.header, *app.subheader]
    return "\n".join(str(item.value) for item in found)
