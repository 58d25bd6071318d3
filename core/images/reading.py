"""Pictures of the listing to try a model on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

from PIL import Image

from core.errors import ImageError
from core.images.decoding import Hold, Reader, opened
from core.memory import NoRoom
from core.records import ImageEntry

PROBES = 20
"""Pictures among which one that can be read is looked for."""
PROBE_SIDE = 1024
"""A model is tried on a picture of at most this many pixels a side, however large the pictures are."""
PROBE_BYTES = 2**28
"""A picture that needs more is only decoded for a probe when all of the first ones do."""


def first_picture(entries: Sequence[ImageEntry]) -> Image.Image | None:
    """A picture that can be decoded, among the first few: the classifier's target layer is chosen at its size.

    It is at most `PROBE_SIDE` pixels long, and a large one is only taken where all are.
    """
    for hold in (_cheaply, None):
        for entry in entries[:PROBES]:
            with suppress(ImageError):
                return probe_picture(entry, hold=hold)
    return None


def probe_picture(entry: ImageEntry, *, hold: Hold | None = None) -> Image.Image:
    """A picture to try a model on, at most `PROBE_SIDE` pixels long.

    Raises:
        ImageError: it cannot be decoded, or `hold` has no room for it.
    """
    halved = Reader(side=PROBE_SIDE // 2)
    with opened(entry.path, image_id=entry.image_id, reader=lambda pixels: halved, hold=hold) as found:
        if max(found.picture.size) > PROBE_SIDE:
            found.picture.thumbnail((PROBE_SIDE, PROBE_SIDE))
        return found.picture


def _cheaply(price: int) -> AbstractContextManager[None]:
    """No room for large pictures."""
    if price > PROBE_BYTES:
        raise NoRoom(price, PROBE_BYTES)
    return nullcontext()
