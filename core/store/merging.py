"""Merging: many small shards of a table become one, beside the run that writes them, and a kill loses nothing.

The merged shard is whole on disk before those that it was made of are removed, and it names them: a merge that was
killed in between is finished by the next. Rows keep the number of the shard they were in, by which the newest stands.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.store import eight_bits
from core.store.shards import (
    SCHEMAS,
    SOURCES,
    DamagedShardError,
    fsync_folder,
    is_large,
    is_merged,
    name_of,
    read_shard,
    rows_of,
    shard_number,
    shard_paths,
    sources_of,
)

MERGED_TABLES = tuple(table for table in SCHEMAS if table not in ("failures", "judge_card"))
"""Tables whose rows are keyed by fingerprint and image_id."""
LARGE_ROWS = 32_768
"""Rows from which on a merged shard is large: a generation reads it where it lies."""
MANY = 256
"""Small shards of a table from which on the smallest are merged."""
_SORTED_BYTES = 512 << 20
"""Of the rows that are merged, in memory: up to here they are sorted by picture, which takes them all at once."""
_GROUP_ROWS = 2_048
_PAGE_BYTES = 256 << 10


def due(folder: Path) -> list[Path]:
    """The shards of a table's folder to be merged next, oldest first; none where it is not worth it."""
    small = [path for path in shard_paths(folder) if not is_large(path) and rows_of(path)]
    taken: list[Path] = []
    rows = 0
    for path in small:
        taken.append(path)
        rows += rows_of(path)
        if rows >= LARGE_ROWS:
            return taken
    parts = [path for path in small if not is_merged(path)]
    return parts if len(parts) >= MANY else []


def merge(
    folder: Path,
    paths: Sequence[Path],
    *,
    swap: Callable[[], AbstractContextManager[object]],
    stop: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Makes one shard of several and removes those; None where one of them went meanwhile, or it was stopped.

    Args:
        folder: the table's.
        paths: the shards, oldest first.
        swap: holds off whoever reads the folder while the merged shard takes the place of the others.
        stop: asked between groups of rows; then everything stays as it was.

    Raises:
        DamagedShardError: one of them is damaged; nothing is removed.
        OSError: the disk is full or cannot be written; nothing is removed.
    """
    number = max(shard_number(path.name) for path in paths)
    temporary = folder / f".merged-{number:06d}.parquet.{os.getpid()}.tmp"
    names = sorted({path.name for path in paths}.union(*(sources_of(path) for path in paths if is_merged(path))))
    schema = SCHEMAS[folder.name].append(pa.field("shard", pa.int32()))
    if folder.name == "embeddings":
        schema = schema.append(pa.field(eight_bits.COLUMN, pa.binary()))
    schema = schema.with_metadata({SOURCES: json.dumps(names)})
    rows = 0
    try:
        with temporary.open("wb") as sink:
            with pq.ParquetWriter(sink, schema, compression="zstd", data_page_size=_PAGE_BYTES) as writer:
                for group in _groups(paths):
                    if stop():
                        return None
                    if eight_bits.COLUMN in schema.names:
                        group = group.append_column(eight_bits.COLUMN, eight_bits.packed(group["vector"]))
                    writer.write_table(group.cast(schema))
                    rows += len(group)
            sink.flush()
            os.fsync(sink.fileno())
        with temporary.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        target = folder / name_of("large" if rows >= LARGE_ROWS else "merged", number, rows, digest)
        with swap():
            if not all(path.exists() for path in paths):  # one was found damaged and set aside
                return None
            temporary.rename(target)
            fsync_folder(folder)
            for path in paths:
                path.unlink()
        return target
    finally:
        temporary.unlink(missing_ok=True)


def finish(folder: Path) -> None:
    """Removes the shards that lie in a merged one, which a kill had kept there."""
    there = {path.name: path for path in shard_paths(folder)}
    for path in list(there.values()):
        if is_merged(path) and path.name in there:
            with suppress(DamagedShardError):  # what it was made of stays
                for name in sources_of(path) & there.keys():
                    there.pop(name).unlink(missing_ok=True)


def _groups(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of shards in tables of _GROUP_ROWS; of several with one key the newest.

    Sorted by picture where they fit into memory: whoever asks for the first pictures by their id then reads the first
    group of every shard alone.
    """
    newest: dict[tuple[str, str], tuple[int, int, int]] = {}
    for at, path in enumerate(paths):
        keys = _numbered(path, ["fingerprint", "image_id"])
        told = zip(*(keys[name].to_pylist() for name in ("fingerprint", "image_id", "shard")), strict=True)
        for row, (fingerprint, image_id, number) in enumerate(told):
            place = (number, at, row)
            newest[fingerprint, image_id] = max(place, newest.get((fingerprint, image_id), place))
    kept: list[set[int]] = [set() for _ in paths]
    for _, at, row in newest.values():
        kept[at].add(row)
    if sum(_size(path) for path in paths) <= _SORTED_BYTES:
        whole = pa.concat_tables(_kept(path, kept[at]) for at, path in enumerate(paths))
        order = pc.sort_indices(whole, sort_keys=[("image_id", "ascending"), ("fingerprint", "ascending")])
        for start in range(0, len(whole), _GROUP_ROWS):
            yield whole.take(order.slice(start, _GROUP_ROWS))
        return
    waiting: list[pa.Table] = []
    size = 0
    for at, path in enumerate(paths):
        found = _kept(path, kept[at])
        waiting.append(found)
        size += len(found)
        while size >= _GROUP_ROWS:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, _GROUP_ROWS)
            waiting, size = [whole.slice(_GROUP_ROWS)], size - _GROUP_ROWS
    if size:
        yield pa.concat_tables(waiting)


def _size(path: Path) -> int:
    """Bytes of a shard's rows without compression."""
    about = pq.read_metadata(path)
    return sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))


def _kept(path: Path, rows: set[int]) -> pa.Table:
    """Some rows of a shard, numbered."""
    found = _numbered(path, None)
    if len(rows) == len(found):
        return found
    return found.filter(pc.is_in(pa.array(range(len(found))), value_set=pa.array(sorted(rows), pa.int64())))


def _numbered(path: Path, columns: Sequence[str] | None) -> pa.Table:
    """Rows of a shard with the number of the shard that each was written in."""
    rows = read_shard(path, columns=columns)
    numbers = shard_numbers(path) if is_merged(path) else pa.array([shard_number(path.name)] * len(rows), pa.int32())
    return rows.append_column("shard", numbers)


def shard_numbers(path: Path) -> pa.ChunkedArray:
    """Column `shard` of a merged shard."""
    return pq.read_table(path, columns=["shard"])["shard"]
