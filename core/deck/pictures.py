"""The pictures of a deck as JPEG: the file itself where it still has the explained bytes, else its thumbnail."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core import images, queries
from core.deck.slide import Pair, Slide, View
from core.errors import WhylookError
from core.images.decoding import Reader
from core.images.masking import masked_image, overlay
from core.queries import Connection
from core.records import ATTENDED, Fill

SIDE = 640
Key = tuple[str, str, View]
"""Run, picture and view."""
Pictures = Mapping[Key, bytes]
NONE: Pictures = {}


def pictures(con: Connection, slides: Sequence[Slide], *, side: int = SIDE) -> Pictures:
    """Every picture that the slides show, as JPEG at most `side` pixels long; those that are gone are left out."""
    found: dict[Key, bytes] = {}
    for run in dict.fromkeys(slide.run for slide in slides if slide.shots):
        wanted = [shot for slide in slides if slide.run == run for shot in slide.shots]
        ids = list(dict.fromkeys(shot.image_id for shot in wanted))
        try:
            settings = queries.run(con, run).settings
        except WhylookError:
            continue
        thumbnails, maps = queries.thumbnails(con, ids), queries.maps(con, run, ids)
        paths = {row["image_id"]: str(row["path"]) for row in queries.pictures(con, run, ids=ids, limit=len(ids))}
        rgb = {key: _rgb(key, settings.images, paths[key], thumbnails.get(key), side) for key in paths}
        for shot in wanted:
            content = _view(rgb.get(shot.image_id), maps.get(shot.image_id), shot.view, settings.fill)
            if content is not None:
                found[run, shot.image_id, shot.view] = content
    return found


def pair_pictures(pair: Pair) -> tuple[bytes, bytes] | None:
    """A pair's before and after as JPEG; None where they are no pictures."""
    try:
        made = [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in (pair.before, pair.after)]
    except (OSError, ValueError):
        return None
    return _jpeg(np.asarray(made[0])), _jpeg(np.asarray(made[1]))


def _rgb(image_id: str, source: str, path: str, thumbnail: bytes | None, side: int) -> NDArray[np.uint8] | None:
    """A picture as (H, W, 3) uint8."""
    try:
        folder = Path(source)
        folder = folder if folder.is_dir() else folder.parent  # a list lies beside its pictures
        with images.opened(folder / path, image_id=image_id, reader=lambda _: Reader(side=side)) as found:
            image = found.picture.convert("RGB")
            image.thumbnail((side, side))
            return np.asarray(image)
    except (OSError, ValueError, WhylookError):
        if thumbnail is None:
            return None
        return np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB"))


def _view(rgb: NDArray[np.uint8] | None, heat: NDArray[np.float32] | None, view: View, fill: Fill) -> bytes | None:
    if rgb is None or (heat is None and view != "original"):
        return None
    if view == "original" or heat is None:
        return _jpeg(rgb)
    return _jpeg(overlay(rgb, heat) if view == "overlay" else masked_image(rgb, heat, beta=ATTENDED, fill=fill))


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(rgb).save(sink, "JPEG", quality=88)
    return sink.getvalue()
