"""A store whose pictures really lie in a folder, under names that are hard on files, for tests of exports."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.store import Store
from tests.support.store_factory import make_store

NAMES = (
    "cow/a.png", "camel/A.PNG", "horse/a.png", "cow/Größe 日本.jpg", "cow/=cmd|' /C calc'!A0.png", "cow/x\ny.png",
    "cow/\u202egnp.exe.png", "../outside.png", f"cow/{'long' * 50}.png", "cow/no-suffix", "cow/.hidden.webp",
    "cow/CON.png", "cow/changed.png", "cow/gone.png", "cow/lost.png",
)  # fmt: skip
CHANGED, GONE, LOST = 12, 13, 14
"""Places of a file that has other bytes now, of one that is gone, and of one of which no thumbnail is kept either."""
FORMATS = {".jpg": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True)
class World:
    """The store, its run, and the bytes of each original by image id."""

    store: Store
    run: str
    originals: dict[str, bytes]
    ids: tuple[str, ...]


def world(folder: Path) -> World:
    """Fifteen pictures with answers, maps and explanations; three of them are not there any more."""
    root = folder / "pictures"
    originals: dict[str, bytes] = {}
    for place, name in enumerate(NAMES):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(place).integers(0, 256, (40 + place, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, FORMATS.get(file.suffix, "PNG"))
        originals[hashlib.sha256(file.read_bytes()).hexdigest()[:32]] = file.read_bytes()
    ids = tuple(originals)
    store, run = make_store(folder / "store", rows=len(NAMES), images=str(root), change=_renamed(ids))
    (root / NAMES[CHANGED]).write_bytes(b"something else")
    for place in (GONE, LOST):
        (root / NAMES[place]).unlink()
    store.tag([ids[0], ids[3]], "dark")
    return World(store, run, originals, ids)


def _renamed(ids: tuple[str, ...]) -> Callable[[dict[str, list[Any]]], None]:
    def change(tables: dict[str, list[Any]]) -> None:
        for name, rows in tables.items():
            for row in rows:
                place = int((row["image_id"] if isinstance(row, dict) else row.image_id)[4:], 16)
                if isinstance(row, dict):
                    row["image_id"] = ids[place]
                else:
                    object.__setattr__(row, "image_id", ids[place])
                if name == "images":
                    row |= {
                        "path": NAMES[place],
                        "paths": [NAMES[place]],
                        "label": None if place == 5 else row["label"],
                    }
                    row["metadata"] = {**row["metadata"], "image": f"no {place}", "file": "=1+1"}
                    row["thumbnail"] = None if place == LOST else row["thumbnail"]

    return change
