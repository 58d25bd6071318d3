"""What the model saw, of all pictures of a run, as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.queries.rows import Connection, bytes_of, has_table

Matrix = NDArray[np.float32]
NO_FEATURES = (
    "run {run} keeps nothing of what the model saw: its method reads no layer, or an older whylook made it; "
    "run it again into a new --store"
)


@dataclass(frozen=True)
class FeatureTable:
    """Sketches of a run's pictures in the order of `image_ids`; see core.attribution.features.

    `pooled` (n, 60), `places` (n, 96), `detail` (n, 96) float32; `cells` (n, 2): the centre of the cell on which the
    answer rests most, as shares of the picture's height and width.
    """

    image_ids: tuple[str, ...]
    pooled: Matrix
    places: Matrix
    detail: Matrix
    cells: Matrix


def features(con: Connection, run: str) -> FeatureTable | None:
    """The features of a run; None where it has none: an older whylook made it, or a method that reads no layer."""
    rows = _sketches(con, run, ("pooled", "places", "detail", "cell"))
    if rows is None:
        return None
    cells = np.asarray(rows["cell"].to_pylist(), dtype=np.float32) / np.float32(10_000)
    every, places, detail = (matrix_of(rows[name]) for name in ("pooled", "places", "detail"))
    return FeatureTable(tuple(rows["image_id"].to_pylist()), every, places, detail, cells)


def pooled(con: Connection, run: str) -> tuple[tuple[str, ...], Matrix] | None:
    """The image ids of a run and what the model saw of each as a whole, (n, 60); None as for `features`."""
    rows = _sketches(con, run, ("pooled",))
    return None if rows is None else (tuple(rows["image_id"].to_pylist()), matrix_of(rows["pooled"]))


def _sketches(con: Connection, run: str, names: Sequence[str]) -> pa.Table | None:
    if not has_table(con, "features"):
        return None
    rows = con.execute(
        f"""SELECT f.image_id, {", ".join(f"f.{name}" for name in names)} FROM runs r
        JOIN features f ON f.fingerprint = r.attribution_fingerprint
        JOIN images i ON i.fingerprint = r.images_fingerprint AND i.image_id = f.image_id
        WHERE r.run = ? ORDER BY f.image_id""",
        [run],
    ).to_arrow_table()
    return rows if rows.num_rows else None


def has_features(con: Connection, run: str) -> bool:
    """Whether a run keeps what the model saw."""
    return has_table(con, "features") and bool(
        con.execute(
            """SELECT 1 FROM runs r JOIN features f ON f.fingerprint = r.attribution_fingerprint
            WHERE r.run = ? LIMIT 1""",
            [run],
        ).fetchall()
    )


def matrix_of(sketches: pa.ChunkedArray) -> Matrix:
    """Stored sketches, all of one length, as a matrix (n, d), one row each."""
    return bytes_of(sketches).view(np.float16).astype(np.float32)
