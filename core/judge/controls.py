"""Controls for a judge: maps that are known to be wrong, made from a picture's own map, and a wrong class name.

A judge that scores these like true maps cannot be trusted; no human label is needed to find out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.records import ATTENDED, WRONG_MAPS

Map = NDArray[np.float32]
TRUE, AGAIN, WRONG_NAME = "true", "again", "wrong name"
CONTROLS: tuple[str, ...] = (TRUE, AGAIN, *WRONG_MAPS, WRONG_NAME)
"""What a judge is asked for its report card: the true map twice, four wrong maps, the true map under a wrong name."""


def control_map(map_: Map, control: str, generator: np.random.Generator) -> Map | None:
    """The map (h, w) in 0..1 that a control shows in place of the true one.

    None where a wrong map would show more than half of what the true one shows, and so be no wrong map.

    - inverted: 1 - v;
    - shuffled: the cells of v in random order;
    - patch: a rectangle of about the area that v attends to (v >= 0.4), where it shows least of that: at random among
      such places, for a patch on the attended region would be no wrong map;
    - empty: 0 everywhere;
    - any other: v itself.
    """
    if control not in WRONG_MAPS:
        return map_
    if control == "inverted":
        wrong = (1 - map_).astype(np.float32)
    elif control == "shuffled":
        wrong = generator.permutation(map_.ravel()).reshape(map_.shape)
    elif control == "patch":
        wrong = _patch(map_, generator)
    else:
        wrong = np.zeros_like(map_)
    attended = map_ >= ATTENDED
    return None if ((wrong >= ATTENDED) & attended).sum() > 0.5 * attended.sum() else wrong


def _patch(map_: Map, generator: np.random.Generator) -> Map:
    """A rectangle of ones, about as wide as high, at random among the places where it shows least of the map."""
    height, width = map_.shape
    cells = max(1, int((map_ >= ATTENDED).sum()))
    rows = int(np.clip(round(np.sqrt(cells)), 1, height))
    columns = int(np.clip(round(cells / rows), 1, width))
    shown = np.lib.stride_tricks.sliding_window_view(map_ >= ATTENDED, (rows, columns)).sum(axis=(2, 3))
    top, left = generator.choice(np.argwhere(shown == shown.min()))
    patch = np.zeros_like(map_)
    patch[top : top + rows, left : left + columns] = 1
    return patch


def wrong_name(prediction: str, class_names: Sequence[str], generator: np.random.Generator) -> str | None:
    """Another class than the predicted one, None where there is no other."""
    others = [name for name in class_names if name != prediction]
    return str(generator.choice(others)) if others else None


def generator_of(image_id: str, control: str) -> np.random.Generator:
    """Random numbers that depend on the picture and the control alone: the same card whenever it is made."""
    digest = hashlib.sha256(f"{image_id} {control}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
