"""What a map of a run is made of, and the map: two numbers for each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.queries.pictures import thumbnails
from core.queries.rows import Connection, has_table
from core.records import Row

Basis = Literal["features", "explanations"]
COLUMNS: dict[Basis, tuple[str, str]] = {"features": ("map_x", "map_y"), "explanations": ("words_x", "words_y")}
"""The columns of `samples` that hold a map, by what it is made of."""


@dataclass(frozen=True)
class RunMap:
    """Where the pictures of a run lie on its map: `places` (n, 2), each 0 to 1, NaN for one without a place.

    `image_ids` are in order, as are the places that `at_place` counts.
    """

    image_ids: pa.Array
    places: NDArray[np.float32]

    @property
    def missing(self) -> int:
        """Pictures without a place: they came after the map was drawn, or have nothing that it is made of."""
        return int(np.isnan(self.places[:, 0]).sum())


def run_map(con: Connection, run: str, basis: Basis) -> RunMap | None:
    """The map of a run in the order of its image ids; None where none was drawn."""
    if not has_table(con, "map"):
        return None
    x, y = COLUMNS[basis]
    table = con.execute(
        f"SELECT image_id, {x}, {y} FROM samples WHERE run = ? ORDER BY image_id",
        [run],
    ).to_arrow_table()
    places = np.stack([table.column(name).to_numpy().astype(np.float32) for name in (x, y)], axis=1)
    if not np.isfinite(places).any():
        return None
    return RunMap(table.column(0).combine_chunks(), places)


def at_place(con: Connection, run: str, place: int) -> tuple[Row, bytes | None] | None:
    """The row of `samples` at a place of `run_map`, and its thumbnail; None where there is no such place."""
    found = con.execute(
        """SELECT image_id, label, prediction, correct, confidence, score FROM samples
        WHERE run = ? ORDER BY image_id LIMIT 1 OFFSET ?""",
        [run, place],
    )
    names = [item[0] for item in found.description or ()]
    rows = found.fetchall()
    if not rows:
        return None
    row = dict(zip(names, rows[0], strict=True))
    return row, thumbnails(con, [row["image_id"]]).get(row["image_id"])


def explanation_vectors(con: Connection, run: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Image ids and the embeddings (n, 384) of what the judge said of them; empty without a judge."""
    table = con.execute(
        """SELECT e.image_id, e.vector FROM runs r JOIN embeddings e ON e.fingerprint = r.embedding_fingerprint
        JOIN images i ON i.fingerprint = r.images_fingerprint AND i.image_id = e.image_id
        WHERE r.run = ? AND e.vector IS NOT NULL ORDER BY e.image_id""",
        [run],
    ).to_arrow_table()
    if not len(table):
        return (), np.zeros((0, 0), np.float32)
    vectors = table.column(1).combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return tuple(table.column(0).to_pylist()), np.asarray(vectors, dtype=np.float32)
