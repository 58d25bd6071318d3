"""A Parquet file with pictures that the package `datasets` of Hugging Face opens with its features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.export.pictures import Picture, Pictures
from core.export.zipped import free

IMAGE = "image"
CLASSES = ("label", "prediction")
_GROUP_BYTES = 32 << 20
_LARGEST = 256 << 20
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_hugging_face(out: Path, tables: Iterable[pa.Table], pictures: Pictures, classes: Sequence[str]) -> None:
    """Writes rows and pictures into the file `out`, a row group at a time."""
    names = list(classes)
    with ExitStack() as held:
        writer: pq.ParquetWriter | None = None
        for table in tables:
            typed = _typed(table, names)
            schema = _schema(typed, names)
            if writer is None:
                writer = held.enter_context(pq.ParquetWriter(out, schema, compression="zstd"))
            start, waiting, size = 0, list[Any](), 0
            for place, picture in enumerate(pictures.of(table.to_pylist()), start=1):
                waiting.append(_image(picture))
                size += len(waiting[-1]["bytes"]) if waiting[-1] else 0
                if size >= _GROUP_BYTES or place == len(table):
                    images = pa.array(waiting, _PICTURE)
                    rows = typed.slice(start, place - start)
                    writer.write_table(pa.Table.from_arrays([images, *rows.columns], schema=schema))
                    start, waiting, size = place, [], 0


def _image(picture: Picture) -> dict[str, object] | None:
    """A picture as `datasets` has it; None where nothing is kept, or where it is larger than a table can well hold."""
    content = picture.content.read(_LARGEST + 1)
    if picture.kind == "missing" or len(content) > _LARGEST:
        return None
    return {"bytes": content, "path": picture.name}


def _typed(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The columns in types that `datasets` knows: classes as their numbers, anything unusual as text."""
    place = {name: at for at, name in enumerate(names)}
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in CLASSES:
            column = pa.array([place.get(value) for value in column.to_pylist()], pa.int64())
        elif _feature(column.type) is None:
            column = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
        columns.append(column)
    return pa.table(columns, names=[free(name, [IMAGE]) for name in table.column_names])


def _schema(table: pa.Table, names: Sequence[str]) -> pa.Schema:
    features: dict[str, object] = {IMAGE: {"_type": "Image"}}
    for field in table.schema:
        known = {"names": list(names), "_type": "ClassLabel"} if field.name in CLASSES else _feature(field.type)
        features[field.name] = known
    told = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    return pa.schema([(IMAGE, _PICTURE), *table.schema], metadata={"huggingface": told})


def _feature(kind: pa.DataType) -> dict[str, object] | None:
    """How `datasets` writes a type; None where it has none for it."""
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return None if inner is None else {"feature": inner, "_type": "List"}
    known = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)
    if known or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return {"dtype": _DTYPES.get(str(kind), str(kind)), "_type": "Value"}
    if pa.types.is_floating(kind):
        return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), "float16"), "_type": "Value"}
    return None


_DTYPES = {"date32[day]": "date32", "date64[ms]": "date64"}
