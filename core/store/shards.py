"""Shards: the Parquet files that are the truth of a store.

Knows: the columns of each table as Arrow types, records -> rows, atomic durable files, checksums. Does not know: runs.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import os
import re
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
_CHECKS = ("attention_agreement", "causal_drop", "causal_drop_random", "causal_keep")  # causal: until 0.1

FAITHFULNESS = (
    ("morf", "lerf", "insertion", "road", "morf_random", "insertion_random", "randomised")
    + ("energy_inside", "energy_inside_flat", "energy_inside_edges", "pointing")
)  # fmt: skip

PROPERTIES = ("brightness", "contrast", "saturation", "warmth", "sharpness")

SCHEMAS: dict[str, pa.Schema] = {
    "images": pa.schema(
        [*_KEY, ("path", _TEXT), ("paths", pa.list_(_TEXT)), ("label", _TEXT), ("width", _WHOLE), ("height", _WHOLE)]
        + [("thumbnail", pa.binary()), ("near_hash", pa.binary()), ("metadata", _TEXT)]
        + [*((name, _REAL) for name in PROPERTIES), ("colour", _TEXT)]
    ),
    "predictions": pa.schema(
        [*_KEY, ("prediction", _TEXT), ("confidence", _REAL), ("margin", _REAL), ("label_probability", _REAL)]
        + [("probabilities", _REALS)]
    ),
    "attributions": pa.schema(
        [*_KEY, *_STATE, ("map", _REALS), ("map_height", _WHOLE), ("map_width", _WHOLE)]
        + [("attention_islands", _WHOLE), *((name, _REAL) for name in (*_STATISTICS, *_CHECKS)), ("seen", _REALS)]
    ),
    "checks": pa.schema([*_KEY, ("causal_drop", _REAL), ("causal_drop_random", _REAL), ("causal_draws", _WHOLE)]),
    "features": pa.schema(
        [*_KEY, *((name, pa.binary()) for name in ("pooled", "places", "detail")), ("cell", pa.list_(_WHOLE))]
    ),
    "map": pa.schema([*_KEY, *((name, _REAL) for name in ("map_x", "map_y", "words_x", "words_y"))]),
    "strategies": pa.schema([*_KEY, ("strategy", _TEXT), ("detail", _TEXT), ("cue", _TEXT)]),
    "judgements": pa.schema(
        [*_KEY, *_STATE, ("description", _TEXT), ("justification", _TEXT), ("score", _REAL), ("score_entropy", _REAL)]
        + [("distribution", _REALS), ("seconds", _REAL), ("rubric_shift", _REAL)]
        + [("label_asked", _TEXT), ("label_score", _REAL)]
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
    "causal": "checks",
    "judge": "judgements",
    "embedding": "embeddings",
}
_NAME = re.compile(r"(?:part|merged|large)-(\d+)(?:-(\d+)-([0-9a-f]{16}))?\.parquet")
"""Number, and since there are checksums: rows, checksum."""
SOURCES = b"whylook.sources"
"""Under this key a merged shard names those that were merged."""
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


class DamagedShardError(StoreError):
    """A shard does not hold the bytes that were written; `rows` is how many it held, None where that is lost, too."""

    def __init__(self, reason: str, *, rows: int | None = None) -> None:
        """Keeps why, in a few words."""
        super().__init__(reason)
        self.rows = rows


def write_shard(folder: Path, table: pa.Table, *, number: int) -> Path:
    """Writes one durable shard `part-NUMBER-ROWS-CHECKSUM.parquet` into `folder` and returns its path.

    The checksum is of the bytes: one atomic rename binds the two together, and no second file can be lost.

    Raises:
        StoreError: the disk is full or the folder cannot be written; no shard of that name exists then.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    path = folder / name_of("part", number, len(table), _checksum(data))
    write_atomically(path, data)
    return path


def name_of(kind: str, number: int, rows: int, digest: str) -> str:
    """A shard's file name: its kind (part, merged, large), its number, its rows, the checksum of its bytes."""
    return f"{kind}-{number:06d}-{rows}-{digest[:16]}.parquet"


def verify(path: Path) -> None:
    """Reads a shard's bytes and compares them with the checksum in its name.

    Raises:
        DamagedShardError: they are not those that were written.
        StoreError: it cannot be read at all.
    """
    named = _NAME.fullmatch(path.name)
    if not named or not named[3]:
        read_shard(path)
        return
    try:
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    except OSError as error:
        raise _unreadable(path, error, int(named[2])) from error
    if digest != named[3]:
        raise DamagedShardError("its bytes are not those that were written", rows=int(named[2]))


def stamp(path: Path) -> tuple[int, int]:
    """A shard's size in bytes and its time of change in nanoseconds."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def rows_of(path: Path) -> int:
    """How many rows a shard's name says it holds; 0 where it says nothing."""
    named = _NAME.fullmatch(path.name)
    return int(named[2]) if named and named[2] else 0


def is_merged(path: Path) -> bool:
    """Whether a shard was made of others; each of its rows names in column `shard` the number of the one it was in."""
    return path.name.startswith(("merged-", "large-"))


def is_large(path: Path) -> bool:
    """Whether a merged shard is so large that it is read where it lies."""
    return path.name.startswith("large-")


def sources_of(path: Path) -> frozenset[str]:
    """The names of the shards that a merged one was made of, and of those that they were made of.

    Raises:
        DamagedShardError: it cannot be read.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DamagedShardError(str(error).splitlines()[0][:200]) from error
    return frozenset(json.loads(metadata.get(SOURCES, b"[]")))


def read_shard(path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """Some or all columns of a shard, in its table's types, from bytes that fit the checksum in its name.

    An older shard without a checksum is decoded in full, so that what cannot be read is found.

    Raises:
        DamagedShardError: its bytes are not those that were written.
        StoreError: it cannot be read at all (no permission, too many open files).
    """
    named = _NAME.fullmatch(path.name)
    rows, checksum = (int(named[2]), named[3]) if named and named[3] else (None, None)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error, rows) from error
    if checksum and checksum != _checksum(data):
        raise DamagedShardError("its bytes are not those that were written", rows=rows)
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            found = file.read(columns=list(columns) if checksum and columns else None, use_threads=False)
        if not checksum:
            found.validate(full=True)
        return _in_types(found, SCHEMAS[path.parent.name], columns)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DamagedShardError(str(error).splitlines()[0][:200], rows=rows) from error


def _unreadable(path: Path, error: OSError, rows: int | None) -> StoreError:
    if error.errno == errno.EIO:
        return DamagedShardError("the disk cannot read it", rows=rows)
    return StoreError(f"cannot read {path}: {error.strerror or error}")


def _in_types(found: pa.Table, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table:
    """The columns of `schema` (of which `columns`): one that an older version did not write is NULL, others go."""
    if missing := {"fingerprint", "run", "image_id"} & set(schema.names) - set(found.column_names):
        raise KeyError(f"it has no column {', '.join(sorted(missing))}")
    fields = [field for field in schema if columns is None or field.name in columns]
    arrays = [
        found[field.name].cast(field.type) if field.name in found.column_names else pa.nulls(len(found), field.type)
        for field in fields
    ]
    return pa.table(arrays, schema=pa.schema(fields))


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def shard_paths(folder: Path) -> list[Path]:
    """The shards in `folder`, oldest first."""
    paths = (path for path in folder.glob("*-*.parquet") if path.name.startswith(("part-", "merged-", "large-")))
    return sorted(paths, key=lambda path: (shard_number(path.name), path.name))


def shard_number(name: str) -> int:
    """A shard's number from its file name, 0 where it has none."""
    named = _NAME.fullmatch(name)
    return int(named[1]) if named else 0


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
