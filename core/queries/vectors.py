"""Vectors of explanations held in memory where there are many: eight bits a number, every one looked at.

Only for tables with large shards, which hold them; a smaller one is searched in SQL.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.queries.rows import Connection, bytes_of, has_table
from core.store.eight_bits import COLUMN, DIMENSIONS, rounded

_THREADS = 2
_LOADED = "loaded"
_KEPT = 2
"""Searched stores of which the vectors are kept."""


@dataclass(frozen=True)
class VectorTable:
    """The explanations of one fingerprint: ids (N,) and vectors (N, 384) int8, each scaled by itself."""

    ids: pa.StringArray
    vectors: NDArray[np.int8]

    def vector(self, image_id: str) -> NDArray[np.float32] | None:
        """One picture's vector (384,), of whatever length; None where there is none."""
        place = pc.index(self.ids, image_id).as_py()
        return None if place < 0 else self.vectors[place].astype(np.float32)

    def nearest(
        self, vector: NDArray[np.float32], most: int, *, ids: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The `most` ids with the highest cosine to `vector` (384,), of `ids` where they are given; best first."""
        from usearch.index import search  # half a second, and small stores need it never

        rows = None
        found = self.vectors
        if ids is not None:
            rows = np.flatnonzero(np.asarray(pc.is_in(self.ids, value_set=pa.array(ids, pa.string()))))
            found = found[rows]
        if not len(found):
            return []
        wanted = rounded(vector[None])[0]
        matches = search(found, wanted, min(most, len(found)), exact=True, threads=_THREADS)  # cosine, unless told
        places = np.asarray(matches.keys, dtype=np.int64)
        names = self.ids.take(pa.array(places if rows is None else rows[places])).to_pylist()
        return list(zip(names, (1 - np.asarray(matches.distances, dtype=np.float64)).tolist(), strict=True))


_tables: dict[tuple[Path, str], tuple[tuple[str, ...], dict[str, VectorTable], VectorTable]] = {}
_guard = threading.Lock()


def vector_table(con: Connection, fingerprint: str) -> VectorTable | None:
    """The vectors of a fingerprint, of which only those are read that are new; None where there are no large shards."""
    if not has_table(con, "superseded"):
        return None
    large = con.execute(
        "SELECT name FROM loaded_shards WHERE table_name = 'embeddings' AND large ORDER BY name"
    ).fetchall()
    if not large:
        return None
    generation = Path(
        con.execute("SELECT path FROM duckdb_databases() WHERE database_name = current_database()").fetchall()[0][0]
    )
    names = (*(str(row[0]) for row in large), f"{_LOADED} {generation.name}")
    key = (generation.parent, fingerprint)
    with _guard:
        known, parts, whole = _tables.pop(key, ((), {}, _empty()))
        if known != names:
            gone = con.execute("SELECT name, image_id FROM superseded WHERE table_name = 'embeddings'").fetchall()
            stale = {str(name) for name, _ in gone}
            parts = {name: parts[name] for name in names if name in parts and name not in stale}
            for name in names:
                if name not in parts:
                    replaced = [image_id for other, image_id in gone if other == name]
                    parts[name] = _read(con, generation.parent, name, fingerprint, replaced)
            whole = VectorTable(
                pa.concat_arrays([part.ids for part in parts.values()]),
                np.concatenate([part.vectors for part in parts.values()]),
            )
            at = 0
            for name, part in parts.items():  # one copy of each number in memory
                parts[name] = VectorTable(part.ids, whole.vectors[at : at + len(part.ids)])
                at += len(part.ids)
        _tables[key] = (names, parts, whole)
        while len(_tables) > _KEPT:
            del _tables[next(iter(_tables))]
    return whole


def _empty() -> VectorTable:
    return VectorTable(pa.array([], pa.string()), np.zeros((0, DIMENSIONS), np.int8))


def _read(con: Connection, folder: Path, name: str, fingerprint: str, superseded: Sequence[str]) -> VectorTable:
    names = ["fingerprint", "image_id", "vector"]
    if name.startswith(_LOADED):
        rows = con.execute(f"SELECT {', '.join(names)} FROM loaded.embeddings").to_arrow_table()
    else:
        with pq.ParquetFile(folder / "shards" / "embeddings" / name) as file:
            if COLUMN in file.schema_arrow.names:  # an older whylook did not keep them
                names[-1] = COLUMN
            rows = file.read(columns=names)
    kept = pc.and_(pc.equal(rows["fingerprint"], fingerprint), rows[names[-1]].is_valid())
    if superseded:
        kept = pc.and_(kept, pc.invert(pc.is_in(rows["image_id"], value_set=pa.array(superseded, pa.string()))))
    if not pc.all(kept).as_py():
        rows = rows.filter(kept)
    if not len(rows):
        return _empty()
    ids = rows["image_id"].combine_chunks()
    if names[-1] == COLUMN:
        return VectorTable(ids, bytes_of(rows[COLUMN]).view(np.int8))
    numbers = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return VectorTable(ids, rounded(numbers.reshape(-1, DIMENSIONS)))
