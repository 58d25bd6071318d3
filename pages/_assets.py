"""The libraries that the browser is given beside Streamlit's own: where they lie and at which address."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "assets"
ADDRESS = "/whylook-assets"
EDITOR, SCATTERPLOT = "codemirror.js", "scatterplot.js"
LIBRARIES = (EDITOR, SCATTERPLOT)


@cache
def library_address(name: str) -> str:
    """The address, with a mark that changes with the library, since browsers keep what they were given."""
    return f"{ADDRESS}/{name}?{hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:12]}"
