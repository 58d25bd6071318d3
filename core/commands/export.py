"""The command `export`: a slice as a table, a zip of pictures, or a dataset that other tools open."""

from __future__ import annotations

import argparse
import sys

from core import queries
from core.commands.read import existing
from core.commands.terminal import ProgressLine
from core.errors import RequestError
from core.export.export import export
from core.export.forms import FORMS, PICTURE_FORMS, STORE_FORMS, TABLE_FORMS, form_of
from core.export.pace import Pace
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
    if arguments.sql and form in STORE_FORMS:
        raise RequestError(f"--as {form} is the whole store: leave --sql out")
    store = existing(arguments.store)
    run = queries.run(store.reader(), arguments.run).name
    sql = arguments.sql or f"SELECT * FROM samples WHERE run = {literal(run)} ORDER BY path"
    line, pace = ProgressLine(quiet=arguments.quiet), Pace()
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
            tell=lambda done, total: line(Progress("export", done, total, *pace.at(done, total))),
        )
    finally:
        line.close()
    what = f"{format_count(made.rows)} rows" if form not in PICTURE_FORMS else format_pictures(made.rows)
    print(f"written: {made.path} ({what})")
    for sentence in (made.note, FORMS[form].use if form not in TABLE_FORMS else ""):
        if sentence:
            print(f"whylook: {sentence}", file=sys.stderr)
    return 0
