"""A query that gives rows of several runs: what is shown is of the chosen run, and that is said."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.compute

from core.queries import SqlResult
from pages._shared import sql
from pages._words import plain

EVERY_ROW = 1_000_000


def of_one_run(run: str, result: SqlResult) -> tuple[SqlResult, str]:
    """The rows of one run, and what to say where the query gives those of others, too; no word where it does not."""
    if not {"run", "image_id"} <= set(result.columns):
        return result, ""
    column = result.table.column("run")
    names = pyarrow.compute.unique(column).to_pylist()
    if len(names) < 2 or run not in names:
        return result, ""
    kept = replace(result, table=result.table.filter(pyarrow.compute.equal(column, run)))
    return kept, f"This query gives rows of {len(names):,} runs. Numbers, pictures, table and CSV are of {plain(run)}."


def every_row(run: str, text: str, shown: SqlResult) -> SqlResult:
    """All rows of a query that are of a run, also where the page shows the first only."""
    return of_one_run(run, sql(text, max_rows=EVERY_ROW))[0] if shown.truncated else shown
