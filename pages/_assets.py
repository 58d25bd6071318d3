"""The one library that the browser is given beside Streamlit's own: where it lies and at which address."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent / "assets" / "codemirror.js"
ADDRESS = "/whylook-assets/codemirror.js"


@cache
def library_address() -> str:
    """The address, with a mark that changes with the library, since browsers keep what they were given."""
    return f"{ADDRESS}?{hashlib.sha256(LIBRARY.read_bytes()).hexdigest()[:12]}"
