"""How one picture was seen: its way of seeing the class, with the pictures that are seen most like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.queries.features import matrix_of
from core.queries.rows import Connection, has_table
from core.statistics import Interval, wilson

_COMPARED = 5000


@dataclass(frozen=True)
class WayOfSeeing:
    """A strategy of one class: its `n` pictures of `of` that get this answer, how many are right, those most alike."""

    name: str
    answer: str
    n: int
    of: int
    right: Interval
    nearest: tuple[str, ...]


def discovered(con: Connection, run: str) -> bool:
    """Whether discovery has looked at a run."""
    return has_table(con, "strategies") and bool(
        con.execute("SELECT 1 FROM strategies WHERE fingerprint = ? LIMIT 1", [run]).fetchall()
    )


def way_of_seeing(con: Connection, run: str, image_id: str, *, k: int = 6) -> WayOfSeeing | None:
    """The strategy of a picture and the `k` pictures of it whose features are nearest; None where it has none."""
    found = con.execute(
        """SELECT m.strategy, m.prediction, count(*) FILTER (s.strategy = m.strategy), count(*),
               count(*) FILTER (s.strategy = m.strategy AND s.correct),
               count(s.correct) FILTER (s.strategy = m.strategy)
        FROM samples m JOIN samples s ON s.run = m.run AND s.prediction = m.prediction
        WHERE m.run = ? AND m.image_id = ? AND m.strategy IS NOT NULL GROUP BY ALL""",
        [run, image_id],
    ).fetchall()
    if not found:
        return None
    name, answer, n, of, right, labelled = found[0]
    return WayOfSeeing(name, answer, n, of, wilson(right, labelled), _nearest(con, run, image_id, name, k))


def _nearest(con: Connection, run: str, image_id: str, strategy: str, k: int) -> tuple[str, ...]:
    """Pictures of a strategy by the distance of their features with places to those of one picture, itself left out."""
    rows = con.execute(
        """SELECT s.image_id, f.places FROM samples s JOIN runs r USING (run)
        JOIN features f ON f.fingerprint = r.attribution_fingerprint AND f.image_id = s.image_id
        WHERE s.run = ? AND s.strategy = ? ORDER BY s.image_id <> ?, s.image_id LIMIT ?""",
        [run, strategy, image_id, _COMPARED],
    ).to_arrow_table()
    ids = rows["image_id"].to_pylist()
    if not ids or ids[0] != image_id:
        return ()
    places = matrix_of(rows["places"])  # (n, 96), the picture itself first
    order = np.argsort(np.linalg.norm(places[1:] - places[0], axis=1), kind="stable")
    return tuple(ids[place + 1] for place in order[:k])
