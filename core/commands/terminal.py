"""What the command line prints: the progress line, tables, and rows as CSV, JSON or Parquet.

By hand, since rate and time left are the pipeline's own, a log gets whole lines instead of a bar that redraws, and a
table must not be folded to a width: rows stay lines that grep can read. tqdm and rich would draw the bar alone, three
lines here.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import RequestError
from core.export.place import place_for
from core.export.tables import spreadsheet_table
from core.pipeline.request import Progress
from core.pipeline.stages import BESIDE, shares
from core.statistics import format_duration, format_number

BAR_WIDTH = 24
WIDEST_CELL = 60
QUIET_SECONDS = 10.0
"""Without a terminal (a log file, a pipe) a line is written at most this often."""


class ProgressLine:
    """One line that redraws itself on a terminal, or a line now and then in a log."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        """Write to `stream`, by default stderr, so that results on stdout stay clean; nothing when `quiet`."""
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._stage, self._ended = "", False
        self._written = 0.0
        self._open = False

    def __call__(self, news: Progress) -> None:
        """Show one report."""
        if self._quiet:
            return
        now = time.monotonic()
        fresh, ended = news.stage != self._stage, news.total > 0 and news.done >= news.total
        if self._live:
            self._draw(news, fresh=fresh)
        elif fresh or news.message or (ended and not self._ended) or now - self._written >= QUIET_SECONDS:
            self._stream.write(progress_text(news, bar=False) + "\n")
            self._stream.flush()
            self._written = now
        self._stage, self._ended = news.stage, ended

    def _draw(self, news: Progress, *, fresh: bool) -> None:
        if fresh:
            self.close()
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[2K" + progress_text(news)[:width])
        self._stream.flush()
        self._open = True

    def close(self) -> None:
        """End the line, so that what is printed next starts at the left."""
        if self._open:
            self._stream.write("\n")
            self._stream.flush()
            self._open = False


def progress_text(news: Progress, *, bar: bool = True) -> str:
    """`pictures  ████████░░░░  320 of 600 · 41.2 pictures/s · 7 s left`."""
    if news.total == 0:
        return f"{news.stage} …"
    share = min(1.0, news.done / news.total)
    filled = round(share * BAR_WIDTH)
    parts = [f"{news.done:,} of {news.total:,}"]
    if news.rate is not None:
        parts.append(f"{format_number(news.rate)} pictures/s")
    if news.seconds_left is not None and news.done < news.total:
        parts.append(f"{format_duration(news.seconds_left)} left")
    if news.limit and news.done:
        parts.append(f"slowest: {news.limit}")
    if news.message:
        parts.append(news.message)
    drawing = f"{'█' * filled}{'░' * (BAR_WIDTH - filled)}  " if bar else ""
    return f"{news.stage:<9} {drawing}{' · '.join(parts)}"


def seconds_per_stage(seconds: Mapping[str, float]) -> str:
    """One line: what took how long, slowest first."""
    told = [f"{stage} {spent:.1f} ({100 * share:.0f}%)" for stage, spent, share in shares(seconds)]
    beside = [f"{stage} {seconds[stage]:.1f} in threads beside them" for stage in BESIDE if stage in seconds]
    return "seconds per stage: " + " · ".join(told + beside)


def printable(value: object) -> str:
    """One line of text without control characters: a class name must not be able to steer the terminal."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(letter if letter.isprintable() else "�" for letter in text.replace("\n", " "))


def text_table(table: pa.Table) -> str:
    """Columns side by side, numbers to the right, long cells cut with an ellipsis."""
    columns: list[list[str]] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = [printable(value) for value in [name, *column.to_pylist()]]
        cells = [cell if len(cell) <= WIDEST_CELL else cell[: WIDEST_CELL - 1] + "…" for cell in cells]
        width = max(len(cell) for cell in cells)
        number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        columns.append([cell.rjust(width) if number else cell.ljust(width) for cell in cells])
    lines = ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
    rule = "  ".join("-" * len(column[0]) for column in columns)
    return "\n".join([*lines[:1], rule, *lines[1:]])


def write_table(
    table: pa.Table,
    form: str,
    *,
    safe_csv: bool = False,
    out: TextIO | None = None,
    binary: BinaryIO | None = None,
) -> None:
    """Write rows to stdout as table, csv, json or parquet; a spreadsheet can open `safe_csv` without running it.

    Raises:
        RequestError: Parquet to a terminal, or safe CSV that is no CSV.
    """
    stream = out or sys.stdout
    if safe_csv and form != "csv":
        raise RequestError(f"--safe-csv goes with --format csv, not {form}")
    if form == "parquet":
        target = binary or sys.stdout.buffer
        if target.isatty():
            raise RequestError(
                "--format parquet writes bytes: send them to a file, as in `whylook sql … > rows.parquet`"
            )
        sink = io.BytesIO()
        pq.write_table(table, sink)
        target.write(sink.getvalue())
        target.flush()
    elif form == "json":
        json.dump(table.to_pylist(), stream, default=_plain, ensure_ascii=False, indent=1)
        stream.write("\n")
    elif form == "csv":
        shown = spreadsheet_table(table) if safe_csv else table
        stream.write(_csv_line(shown.column_names))
        for row in shown.to_pylist():
            stream.write(_csv_line([_cell(value) for value in row.values()]))
    else:
        stream.write(text_table(table) + "\n")


def rows_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pa.Table:
    """Chosen columns of dict rows as an Arrow table; mappings become JSON text."""
    return pa.table({name: pa.array([_arrow(row.get(name)) for row in rows]) for name in columns})


def _csv_line(values: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)  # with "\n" alone a bare CR would not be quoted
    return line.getvalue()[:-2] + "\n"


def _arrow(value: object) -> object:
    return json.dumps(value, default=_plain, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else value


def _cell(value: object) -> object:
    return json.dumps(value, default=_plain, ensure_ascii=False) if isinstance(value, list | dict) else value


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def write_file(out: Path, content: bytes) -> None:
    """Writes a file whole, in place of what was there, and says so; a pipe or a device is written as it is.

    Raises:
        RequestError: it cannot be written; what was there is as it was.
    """
    if out.exists() and not out.is_file():
        try:
            out.write_bytes(content)
        except OSError as error:
            raise RequestError(f"cannot write {out}: {error.strerror}") from error
    else:
        with place_for(out, folder=False, overwrite=True) as made:
            made.write_bytes(content)
    print(f"written: {out}")
