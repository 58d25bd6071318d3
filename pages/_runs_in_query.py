"""A query that gives rows of several runs: what is shown is of the chosen run, and that is said."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.compute

from core.export.tables import of_run
from core.queries import SqlResult
from pages._words import plain


def of_one_run(run: str, result: SqlResult) -> tuple[SqlResult, str]:
    """The rows of one run, and what to say where the query gives those of others, too; no word where it does not."""
    kept = of_run(result.table, run)
    if kept is result.table:
        return result, ""
    runs = len(pyarrow.compute.unique(result.table.column("run")))
    said = f"This query gives rows of {runs:,} runs. Numbers, pictures, table and exports are of {plain(run)}."
    return replace(result, table=kept), said
