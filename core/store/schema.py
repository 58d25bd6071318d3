"""The sections of core/schema.sql."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_SCHEMA = Path(__file__).parent.parent / "schema.sql"


@cache
def schema_text() -> str:
    """All of schema.sql."""
    return _SCHEMA.read_text(encoding="utf-8")


def schema_section(name: str) -> str:
    """One section of schema.sql."""
    parts = schema_text().split("-- section: ")
    return next(part.partition("\n")[2] for part in parts[1:] if part.partition("\n")[0].strip() == name)
