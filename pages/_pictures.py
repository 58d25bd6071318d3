"""Makes the pictures that the pages show: thumbnail, overlay and masked, as data addresses ready to draw.

Knows: thumbnails and maps, core.images.masking. Does not know: the store's tables.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from core import images as core_images
from core import queries
from core.errors import WhylookError
from core.images.decoding import Reader
from core.images.masking import masked_image, overlay
from core.images.outline import outlined
from core.placing import inside
from core.records import ATTENDED, Fill
from pages._shared import read, store, store_folder

VIEWS: dict[str, tuple[str, ...]] = {
    "Original": ("original",),
    "Overlay": ("overlay",),
    "Masked": ("masked",),
    "All three": ("original", "overlay", "masked"),
}
Shown = dict[str, str]


def address(content: bytes) -> str:
    """Bytes of a picture as a data address; the kind is read from the bytes."""
    kind = "webp" if content[:4] == b"RIFF" else "jpeg" if content[:2] == b"\xff\xd8" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def encode(rgb: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 as JPEG: the fastest to make, and small."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=88)
    return out.getvalue()


def rgb_of(content: bytes) -> NDArray[np.uint8]:
    """Encoded picture as (H, W, 3) uint8."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def heat_layer(content: bytes, heat: NDArray[np.float32], longest: int = 112) -> bytes:
    """The map alone in the shape of its picture, small: the browser lays it over the picture, as strong as wanted."""
    with Image.open(io.BytesIO(content)) as image:
        scale = longest / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
    return encode(overlay(np.zeros((height, width, 3), dtype=np.uint8), heat, strength=1.0))


def view(
    rgb: NDArray[np.uint8], heat: NDArray[np.float32] | None, kind: str, *, beta: float = ATTENDED, fill: Fill = "black"
) -> bytes | None:
    """One view of a picture as JPEG; None when the view needs a map and there is none."""
    if kind == "original":
        return encode(rgb)
    if heat is None:
        return None
    return encode(overlay(rgb, heat) if kind == "overlay" else masked_image(rgb, heat, beta=beta, fill=fill))


@st.cache_data(max_entries=64, show_spinner=False)
def _views(
    folder: str, generation: int, run: str, ids: tuple[str, ...], kinds: tuple[str, ...], layered: bool
) -> dict[str, list[Shown]]:
    thumbnails = read(queries.thumbnails, list(ids))
    maps = read(queries.maps, run, list(ids)) if set(kinds) != {"original"} else {}
    fill, made = fill_of(run), dict[str, list[Shown]]()
    for image_id in ids:
        content = thumbnails.get(image_id)
        made[image_id] = [_shown(content, maps.get(image_id), kind, fill, layered) for kind in kinds]
    return made


def fill_of(run: str) -> Fill:
    """What hides the unattended part of a run's pictures from its judge."""
    return read(queries.run, run).settings.fill


def _shown(
    content: bytes | None, heat: NDArray[np.float32] | None, kind: str, fill: Fill, layered: bool = False
) -> Shown:
    if content is None:
        return {"missing": "no picture"}
    if kind == "original":
        return {"src": address(content), "alt": "original picture", "whole": "yes"}
    if kind == "overlay" and heat is not None and layered:
        return {"src": address(content), "alt": "overlay", "whole": "yes", "heat": address(heat_layer(content, heat))}
    made = view(rgb_of(content), heat, kind, fill=fill)
    return {"src": address(made), "alt": kind} if made else {"missing": "no map"}


def views(
    run: str, ids: Sequence[str], kinds: Sequence[str] = ("original",), *, layered: bool = False
) -> dict[str, list[Shown]]:
    """The wanted views of several pictures, ready to draw, cached; `layered`: an overlay is picture and map apart."""
    return _views(str(store_folder()), store().generation(), run, tuple(ids), tuple(kinds), layered)


@st.cache_data(max_entries=64, show_spinner=False)
def _outlined(
    folder: str, generation: int, run: str, ids: tuple[str, ...], region: tuple[float, float, float, float]
) -> list[Shown]:
    thumbnails = read(queries.thumbnails, list(ids))
    known = [(image_id, thumbnails[image_id]) for image_id in ids if image_id in thumbnails]
    seen = read(queries.seen_parts, run, list(ids))
    drawn = [
        outlined(Image.open(io.BytesIO(content)), inside(region, seen.get(image_id))) for image_id, content in known
    ]
    return [{"src": address(encode(np.asarray(picture))), "alt": "with its part outlined"} for picture in drawn]


def outlined_views(run: str, ids: Sequence[str], region: tuple[float, float, float, float]) -> list[Shown]:
    """Several pictures with one part of each outlined: top, left, bottom, right as shares."""
    return _outlined(str(store_folder()), store().generation(), run, tuple(ids), region)


@st.cache_resource(max_entries=4, show_spinner=False)
def _mean_maps(folder: str, generation: int, run: str) -> queries.MeanMaps:
    return queries.mean_maps(store().reader(), run)


@st.cache_data(max_entries=1024, show_spinner=False)
def heat_picture(folder: str, generation: int, run: str, label: str | None, side: int = 96) -> Shown | None:
    """Mean map of a class as a small picture, on the same scale as every overlay."""
    means = _mean_maps(folder, generation, run)
    heat = means.whole if label is None else means.by_label.get(label)
    if heat is None:
        return None
    grey = np.zeros((side, side, 3), dtype=np.uint8)
    return {"src": address(encode(overlay(grey, heat, strength=1.0))), "alt": "mean heatmap"}


@st.cache_data(max_entries=32, show_spinner=False)
def full_picture(folder: str, image_id: str, paths: tuple[str, ...], source: str, longest: int = 768) -> bytes | None:
    """The file itself, at most `longest` on its long side, if it still has the very bytes that were explained."""
    for name in paths:
        try:
            folder_ = Path(source) if Path(source).is_dir() else Path(source).parent  # a list lies beside its pictures
            with core_images.opened(folder_ / name, image_id=image_id, reader=lambda _: Reader(side=longest)) as found:
                image = found.picture
        except (OSError, ValueError, WhylookError):
            continue
        image.thumbnail((longest, longest))
        return encode(np.asarray(image))
    return None


@st.cache_data(max_entries=4, show_spinner=False)
def scale_picture() -> str:
    """The heatmap's colour scale from 0 to 1, for the legend."""
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (8, 1))
    return address(encode(overlay(np.zeros((8, 128, 3), dtype=np.uint8), ramp, strength=1.0)))


def scale_legend(*, width: int | Literal["stretch"] = "stretch") -> None:
    """The colour scale with its words below."""
    alt = "the scale from no attention to all attention"
    st.image(scale_picture(), width=width, caption="no attention … all attention", alt=alt)
