"""The rows of a query as CSV and Parquet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def of_run(table: pa.Table, run: str) -> pa.Table:
    """The rows of one run, of a query that gives pictures of several and of this one."""
    if not {"run", "image_id"} <= set(table.column_names):
        return table
    names = pc.unique(table["run"]).to_pylist()
    return table.filter(pc.equal(table["run"], run)) if len(names) > 1 and run in names else table


def spreadsheet_cell(value: object) -> object:
    """An apostrophe before a text that a spreadsheet would run as a formula; numbers and the rest as they are."""
    formula = isinstance(value, str) and value.lstrip("\n").startswith(FORMULA_STARTS)
    return f"'{value}" if formula else value


def spreadsheet_table(table: pa.Table) -> pa.Table:
    """A table whose texts and column names no spreadsheet takes for formulas; names that differed still do."""
    columns = []
    for column in table.columns:
        values = column.to_pylist()
        safe = [spreadsheet_cell(value) for value in values]
        texts = [None if value is None else str(value) for value in safe]
        columns.append(column if safe == values else pa.array(texts, type=pa.string()))
    names = list(table.column_names)
    for place, name in enumerate(names):
        safe_name = str(spreadsheet_cell(name))
        while safe_name != name and safe_name in names:
            safe_name = f"'{safe_name}"
        names[place] = safe_name
    return pa.table(columns, names=names)


def flat(table: pa.Table) -> pa.Table:
    """A table in which lists and other nested values are texts."""
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            texts = [None if value is None else str(value) for value in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


def csv_bytes(table: pa.Table) -> bytes:
    """Rows as CSV that no spreadsheet runs as formulas."""
    out = io.BytesIO()
    write_csv(table, out)
    return out.getvalue()


def parquet_bytes(table: pa.Table) -> bytes:
    """Rows as Parquet."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def write_csv(table: pa.Table, out: BinaryIO | Path, *, safe: bool = True) -> None:
    """Rows as CSV into a file; `safe` for spreadsheets."""
    table = flat(table)
    pyarrow.csv.write_csv(spreadsheet_table(table) if safe else table, str(out) if isinstance(out, Path) else out)


def write_parquet(table: pa.Table, out: Path) -> None:
    """Rows as Parquet into a file."""
    pq.write_table(table, out, compression="zstd")
