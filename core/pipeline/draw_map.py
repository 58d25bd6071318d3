"""The map of a finished run: its pictures laid out by what the model saw, and by what the judge said."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core import queries
from core.errors import RequestError
from core.pipeline.request import Progress
from core.projection import project
from core.queries.map import COLUMNS, Basis
from core.store import Store, open_for_writing

FEWEST = 10


@dataclass(frozen=True)
class Drawn:
    """What a map shows: how many pictures by what they are laid out, and the seconds that it took."""

    run: str
    pictures: dict[Basis, int]
    seconds: float


def draw_map(
    store: Store, run: str, *, seed: int = 0, progress: Callable[[Progress], None] = lambda news: None
) -> Drawn:
    """Lays out all pictures of a run, once, and keeps where each lies: columns map_x, map_y, words_x, words_y.

    Args:
        store: the store that holds the run.
        run: its name.
        seed: of the layout.
        progress: called as the layout goes on.

    Raises:
        RequestError: there is nothing by which pictures could be laid out, or too few of them.
        StoreError: another run writes to the store now, or nothing can be written there.
    """
    with open_for_writing(store.folder):
        pass  # refused now, not after all the work
    began = time.monotonic()
    con = store.reader()
    known = {basis: found for basis, found in _vectors(store, run).items() if len(found[0]) >= FEWEST}
    if not known:
        raise RequestError(_why_not(store, run))
    rows: dict[str, dict[str, object]] = {}
    for basis, (ids, vectors) in known.items():
        x, y = COLUMNS[basis]
        places = project(vectors, seed=seed, progress=_teller(basis, len(ids), progress))
        for image_id, (across, up) in zip(ids, places.tolist(), strict=True):
            rows.setdefault(image_id, {"image_id": image_id}).update({x: across, y: up})
    blank = dict.fromkeys(name for names in COLUMNS.values() for name in names)
    progress(Progress("publishing", 0, 0))
    with open_for_writing(store.folder) as writer:
        writer.write("map", [{**blank, **row} for row in rows.values()], fingerprint=queries.run(con, run).name)
        writer.publish()
    return Drawn(run, {basis: len(ids) for basis, (ids, _) in known.items()}, time.monotonic() - began)


def _vectors(store: Store, run: str) -> dict[Basis, tuple[Sequence[str], NDArray[np.float32]]]:
    con = store.reader()
    found: dict[Basis, tuple[Sequence[str], NDArray[np.float32]]] = {}
    seen = queries.features(con, run)
    if seen is not None:
        found["features"] = (seen.image_ids, seen.pooled)
    ids, vectors = queries.explanation_vectors(con, run)
    if ids:
        found["explanations"] = (ids, vectors)
    return found


def _why_not(store: Store, run: str) -> str:
    pictures = queries.run_counts(store.reader(), run).pictures
    if pictures < FEWEST:
        return f"a map takes {FEWEST} pictures or more, run {run} has {pictures:,}"
    return queries.NO_FEATURES.format(run=run)


def _teller(basis: Basis, n: int, progress: Callable[[Progress], None]) -> Callable[[float], None]:
    """Says how many pictures' worth of the layout is done, and the time left at its pace so far."""
    began = time.monotonic()

    def tell(share: float) -> None:
        left = (time.monotonic() - began) * (1 - share) / share if share else None
        progress(Progress(f"drawing the map by {basis}", int(share * n), n, seconds_left=left))

    tell(0.0)
    return tell
