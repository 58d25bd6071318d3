"""Addresses that people write where a path is expected."""

from __future__ import annotations

import re
from pathlib import Path

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*):/+(.+)", re.IGNORECASE | re.DOTALL)


def address_of(source: Path) -> str | None:
    """The address that somebody wrote as a path, in which `Path` makes one slash of two; None for a real path."""
    named = ADDRESS.fullmatch(str(source))
    return f"{named[1].lower()}://{named[2]}" if named and len(named[1]) > 1 and not source.exists() else None
