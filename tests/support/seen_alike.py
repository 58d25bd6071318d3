"""A store that keeps what a model saw: pictures of one label are seen alike, one is seen like no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.store import Store, open_for_writing
from tests.support.store_factory import make_store

ALONE = 5
"""The place of the picture that is seen like no other."""


def seen_store(folder: Path, *, rows: int = 48, judged: bool = True) -> tuple[Store, str, NDArray[np.float16]]:
    """The store, its run, and the sketches (rows, 60) in the order of paths; 12 numbers are the same for all."""
    store, run = make_store(folder, rows=rows, judged=judged)
    con = store.reader()
    pictures = con.execute("SELECT image_id, label FROM samples ORDER BY image_id").fetchall()
    found = con.execute("SELECT attribution_fingerprint FROM runs WHERE run = ?", [run]).fetchall()[0][0]
    rng = np.random.default_rng(0)
    centres = {label: rng.normal(size=60) for label in sorted({label for _, label in pictures})}
    sketches = np.stack([centres[label] + 0.3 * rng.normal(size=60) for _, label in pictures]).astype(np.float16)
    sketches[ALONE] = (-3 * sum(centres.values())).astype(np.float16)
    sketches[:, :12] = 7
    other = np.zeros(96, dtype=np.float16).tobytes()
    with open_for_writing(store.folder) as writer:
        kept = [
            {"image_id": key, "pooled": sketch.tobytes(), "places": other, "detail": other, "cell": [0, 0]}
            for (key, _), sketch in zip(pictures, sketches, strict=True)
        ]
        writer.write("features", kept, fingerprint=found)
        writer.publish()
    return store, run, sketches
