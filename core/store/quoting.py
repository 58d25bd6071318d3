"""Names and values as SQL text, for the queries that people see and can change; other queries take parameters."""

from __future__ import annotations

import re

import duckdb
import numpy as np


def identifier(name: str) -> str:
    """A column name as SQL: bare where that is safe and easier to read, else quoted."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and duckdb.tokenize(name)[0][1] == duckdb.token_type.identifier:
        return name
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A value as SQL: text in quotes with its quotes doubled (and no NUL, which SQL cannot hold), the rest bare."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | float | np.integer | np.floating):
        return repr(value.item() if isinstance(value, np.generic) else value)
    return "'" + str(value).replace("\x00", "").replace("'", "''") + "'"
