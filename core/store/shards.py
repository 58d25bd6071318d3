"""Shards: the Parquet files that are the truth of a store.

Knows: the columns of each table as Arrow types, records -> rows, atomic durable files. Does not know: DuckDB, runs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import StoreError
from core.records import Attribution, Failure, Judgement, Prediction

Row = Mapping[str, Any] | Prediction | Attribution | Judgement | Failure
_TEXT, _REAL, _WHOLE, _REALS = pa.string(), pa.float32(), pa.int32(), pa.list_(pa.float32())
_KEY = [("fingerprint", _TEXT), ("image_id", _TEXT)]
_STATE = [("state", _TEXT), ("reason", _TEXT)]
_STATISTICS = ("attention_area", "attention_entropy", "attention_border", "attention_x", "attention_y")
_CHECKS = ("attention_agreement", "causal_drop", "causal_drop_random", "causal_keep")

FAITHFULNESS = (
    ("morf", "lerf", "insertion", "road", "morf_random", "insertion_random", "randomised")
    + ("energy_inside", "energy_inside_flat", "energy_inside_edges", "pointing")
)  # fmt: skip

SCHEMAS: dict[str, pa.Schema] = {
    "images": pa.schema(
        [*_KEY, ("path", _TEXT), ("paths", pa.list_(_TEXT)), ("label", _TEXT), ("width", _WHOLE), ("height", _WHOLE)]
        + [("thumbnail", pa.binary()), ("metadata", _TEXT)]
    ),
    "predictions": pa.schema(
        [*_KEY, ("prediction", _TEXT), ("confidence", _REAL), ("margin", _REAL), ("label_probability", _REAL)]
        + [("probabilities", _REALS)]
    ),
    "attributions": pa.schema(
        [*_KEY, *_STATE, ("map", _REALS), ("map_height", _WHOLE), ("map_width", _WHOLE)]
        + [("attention_islands", _WHOLE), *((name, _REAL) for name in (*_STATISTICS, *_CHECKS))]
    ),
    "judgements": pa.schema(
        [*_KEY, *_STATE, ("description", _TEXT), ("justification", _TEXT), ("score", _REAL), ("score_entropy", _REAL)]
        + [("distribution", _REALS), ("seconds", _REAL), ("rubric_shift", _REAL)]
    ),
    "judge_card": pa.schema(
        [*_KEY, ("control", _TEXT), ("told", _TEXT), *_STATE]
        + [("score", _REAL), ("rubric_shift", _REAL), ("seconds", _REAL)]
    ),
    "embeddings": pa.schema([*_KEY, ("vector", _REALS)]),
    "faithfulness": pa.schema([*_KEY, *((name, _REAL) for name in FAITHFULNESS)]),
    "failures": pa.schema(
        [("run", _TEXT), ("attempt", _WHOLE), ("stage", _TEXT), ("image_id", _TEXT), ("path", _TEXT), ("reason", _TEXT)]
    ),
}
STAGE_TABLES = {
    "images": "images",
    "classifier": "predictions",
    "attribution": "attributions",
    "judge": "judgements",
    "embedding": "embeddings",
}
_LENGTHS = {"distribution": 6, "vector": 384}


def fsync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`: afterwards it holds either the old or the new bytes, whatever happens.

    Raises:
        StoreError: nothing could be written (full disk, no permission); the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}; free some space and start again") from error


def write_shard(folder: Path, table: pa.Table) -> Path:
    """Writes one durable shard `part-NNNNNN.parquet` into `folder` and returns its path.

    Raises:
        StoreError: the disk is full or the folder cannot be written; no shard of that name exists then.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    path = folder / f"part-{_next_number(folder):06d}.parquet"
    write_atomically(path, sink.getvalue().to_pybytes())
    return path


def shard_paths(folder: Path) -> list[Path]:
    """The shards in `folder`, oldest first."""
    return sorted(folder.glob("part-*.parquet"), key=lambda path: (len(path.name), path.name))


def done_ids(folder: Path, fingerprint: str, *, include_failed: bool = True) -> set[str]:
    """Pictures with a row of that fingerprint in a folder's shards; a shard that cannot be read holds none."""
    found: set[str] = set()
    for path in shard_paths(folder):
        names = ["image_id", "state"] if "state" in SCHEMAS[folder.name].names else ["image_id"]
        try:
            rows = pq.read_table(path, columns=names, filters=pc.field("fingerprint") == fingerprint)
        except (pa.ArrowInvalid, OSError):
            continue
        if not include_failed and "state" in names:
            found.difference_update(rows.filter(pc.field("state") == "failed")["image_id"].to_pylist())
            rows = rows.filter(pc.field("state") != "failed")
        found.update(rows["image_id"].to_pylist())
    return found


def _next_number(folder: Path) -> int:
    paths = shard_paths(folder)
    return 1 + int(paths[-1].stem.removeprefix("part-")) if paths else 1


def to_arrow(table: str, rows: Sequence[Row], constants: Mapping[str, object]) -> pa.Table:
    """Rows or records of one table as an Arrow table with that table's types.

    Args:
        table: name of a shard table.
        rows: mappings with that table's columns, or records of core.records; missing columns become NULL.
        constants: columns with the same value in every row, such as the fingerprint.

    Raises:
        StoreError: unknown table or column, or a value that does not fit its column.
    """
    schema = SCHEMAS.get(table)
    if schema is None:
        raise StoreError(f"there is no table {table!r} to write; expected one of {', '.join(SCHEMAS)}")
    plain = [{**_plain(table, row), **constants} for row in rows]
    unknown = sorted({name for row in plain for name in row} - set(schema.names))
    if unknown:
        raise StoreError(f"table {table} has no column {', '.join(unknown)}")
    try:
        arrays = [_column(field, [row.get(field.name) for row in plain]) for field in schema]
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise StoreError(f"a value does not fit table {table}: {error}") from error
    return pa.Table.from_arrays(arrays, schema=schema)


def _plain(table: str, row: Row) -> dict[str, Any]:
    """One row as a dict with exactly the columns of its table."""
    if isinstance(row, Mapping):
        plain = dict(row)
    else:
        plain = {item.name: getattr(row, item.name) for item in dataclasses.fields(row)}
    if table == "attributions" and isinstance(plain.get("map"), np.ndarray):
        height, width = plain["map"].shape
        plain |= {"map": plain["map"].ravel(), "map_height": height, "map_width": width}
    elif table == "images":
        plain["paths"] = list(plain.get("paths") or [plain["path"]])
        plain["metadata"] = _json(plain.get("metadata") or {})
    return plain


def _json(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON: NaN and infinity are no values, NumPy scalars become Python's."""
    values: dict[str, Any] = {}
    for name, value in metadata.items():
        value = value.item() if isinstance(value, np.generic) else value
        values[_clean(str(name))] = None if isinstance(value, float) and not math.isfinite(value) else value
    return json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()


def _clean(text: str) -> str:
    """Text that is valid UTF-8 (file names may carry undecodable bytes)."""
    return text.encode("utf-8", "replace").decode()


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    if field.type == _TEXT:
        values = [None if value is None else _clean(str(value)) for value in values]
    elif field.type == pa.list_(_TEXT):
        values = [None if value is None else [_clean(str(item)) for item in value] for value in values]
    length = _LENGTHS.get(field.name)
    if length and any(value is not None and len(value) != length for value in values):
        raise ValueError(f"{field.name} needs {length} numbers")
    array = pa.array(values, type=field.type)
    if pa.types.is_floating(field.type):  # in DuckDB NaN is greater than any number, and so would be a high score
        array = pc.if_else(pc.is_finite(array), array, pa.scalar(None, field.type))
    return array
