"""Tables that a user writes: picture lists and metadata, from CSV or Parquet, with typed columns."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import RequestError

Value = str | float | int | bool | None
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_BOOLEANS = {"true": True, "false": False}
_MISSING = {"", "nan", "none", "null", "na", "n/a"}


@dataclass(frozen=True)
class Table:
    """Rows by their `path`: the label column if there was one, and every other column typed."""

    file: Path
    paths: list[str]
    labels: list[str | None] | None
    rows: list[dict[str, Value]]


def clean(text: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that are no UTF-8 become a replacement mark."""
    return os.fsencode(text).decode("utf-8", "replace")


def normal_path(text: str) -> str:
    """A list's path in one spelling: forward slashes, no `./`."""
    return str(PurePosixPath(text.strip().replace("\\", "/")))


def read_table(file: Path) -> Table:
    """Read a CSV or Parquet file with a column `path`, perhaps `label`, and any others.

    A column whose every value is a whole number becomes integer, a finite number float, true/false boolean; empty cells
    are missing. Numbers with leading zeros stay text, for they are names.

    Raises:
        RequestError: missing, unreadable, not UTF-8, no `path` column, or rows that do not fit the header.
    """
    if not file.is_file():
        raise RequestError(f"no such file: {file}")
    columns = _read_parquet(file) if file.suffix.lower() in {".parquet", ".pq"} else _read_csv(file)
    if "path" not in columns:
        raise RequestError(f"{file.name} has no column `path` (it has: {', '.join(columns) or 'none'})")
    raw_paths = columns.pop("path")
    missing = [row for row, path in enumerate(raw_paths, start=1) if path is None]
    if missing:
        raise RequestError(f"{file.name}: row {missing[0]} has no path")
    labels = columns.pop("label", None)
    names = list(columns)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Table(
        file,
        [str(path) for path in raw_paths],
        None if labels is None else [None if label is None else str(label) for label in labels],
        rows or [{} for _ in raw_paths],
    )


def _read_csv(file: Path) -> dict[str, list[Value]]:
    """Columns of a CSV file, typed; `path` and `label` stay text."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = _header(next(reader, []), file)
            columns: list[list[str]] = [[] for _ in header]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise RequestError(
                        f"{file.name}, line {reader.line_num}: {len(row)} fields, but the header names {len(header)}"
                    )
                for column, cell in zip(columns, row, strict=True):
                    column.append(cell)
    except UnicodeDecodeError as error:
        raise RequestError(f"{file.name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise RequestError(f"{file.name} is not a CSV file that can be read: {error}") from error
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}") from error
    return {
        name: [cell.strip() or None for cell in cells] if name in {"path", "label"} else _typed(cells)
        for name, cells in zip(header, columns, strict=True)
    }


def _read_parquet(file: Path) -> dict[str, list[Value]]:
    """Columns of a Parquet file; dates, decimals and lists become text."""
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"{file.name} is not a Parquet file that can be read: {error}") from error
    header = _header(table.column_names, file)
    return {
        name: [_plain(value, text=name in {"path", "label"}) for value in table.column(index).to_pylist()]
        for index, name in enumerate(header)
    }


def _header(names: Sequence[str], file: Path) -> list[str]:
    """Column names, stripped; an unnamed one (pandas' index) is called by its place."""
    header = [name.strip() or f"column_{place}" for place, name in enumerate(names, start=1)]
    lowered = [name.casefold() for name in header]
    twice = sorted({name for name, low in zip(header, lowered, strict=True) if lowered.count(low) > 1})
    if twice:
        raise RequestError(f"{file.name} names a column twice: {', '.join(twice)}")
    return [name.casefold() if name.casefold() in {"path", "label"} else name for name in header]


def _typed(cells: Iterable[str]) -> list[Value]:
    """One CSV column as the narrowest type that holds every cell."""
    values = [None if cell.strip().casefold() in _MISSING else cell.strip() for cell in cells]
    present = [value for value in values if value is not None]
    if present and all(value.casefold() in _BOOLEANS for value in present):
        return [None if value is None else _BOOLEANS[value.casefold()] for value in values]
    if present and all(_INTEGER.fullmatch(value) for value in present):
        return [None if value is None else int(value) for value in values]
    if present and all(_is_number(value) for value in present):
        return [None if value is None else float(value) for value in values]
    return list(values)


def _is_number(text: str) -> bool:
    """Whether this is a finite decimal number and not a name such as 007 or 1_000."""
    if "_" in text or re.match(r"[+-]?0[0-9]", text):
        return False
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _plain(value: object, *, text: bool) -> Value:
    """A Parquet value as one of the plain types."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if text:
        return str(value).strip() or None
    return value if isinstance(value, (str, float, int, bool)) else str(value)
