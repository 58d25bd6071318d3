"""The command `export`: a slice as a table, a zip of pictures, or a dataset that other tools open."""

from __future__ import annotations

import argparse
import sys
import time

from core import queries
from core.commands.read import existing
from core.commands.terminal import ProgressLine
from core.errors import RequestError
from core.export.export import export
from core.export.forms import FORMS, TABLE_FORMS, form_of
from core.pipeline.request import Progress
from core.queries import literal
from core.statistics import format_count, format_pictures


def write(arguments: argparse.Namespace) -> int:
    """Writes the file or folder; says where it is and how to open it."""
    form = arguments.form or form_of(arguments.to)
    if arguments.overlays and form != "zip":
        raise RequestError(f"--overlays goes with --as zip, not {form}")
    if arguments.safe_csv and form != "csv":
        raise RequestError(f"--safe-csv goes with --as csv, not {form}")
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    sql = arguments.sql or f"SELECT * FROM samples WHERE run = {literal(run)} ORDER BY path"
    line = ProgressLine(quiet=arguments.quiet)
    try:
        made = export(
            store,
            run,
            sql,
            arguments.to,
            form,
            overlays=arguments.overlays,
            safe_csv=arguments.safe_csv,
            overwrite=arguments.overwrite,
            tell=_Pace(line),
        )
    finally:
        line.close()
    what = f"{format_count(made.rows)} rows" if form in TABLE_FORMS else format_pictures(made.rows)
    print(f"written: {made.path} ({what})")
    for sentence in (made.note, FORMS[form].use if form not in TABLE_FORMS else ""):
        if sentence:
            print(f"whylook: {sentence}", file=sys.stderr)
    return 0


class _Pace:
    """Turns counts into reports with rate and time left."""

    def __init__(self, line: ProgressLine) -> None:
        self._line = line
        self._first: float | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:  # what comes before the first picture is no measure of the others
            self._first = now
        rate = (done - 1) / (now - self._first) if done > 1 and now > self._first else None
        self._line(Progress("export", done, total, rate, None if rate is None else (total - done) / rate))
