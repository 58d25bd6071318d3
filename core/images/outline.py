"""A picture with a part of it drawn as a thin rectangle."""

from __future__ import annotations

from PIL import Image, ImageDraw

INNER, OUTER = (255, 255, 255), (22, 24, 29)
"""White inside black: one of the two is seen on any picture."""


def outlined(picture: Image.Image, region: tuple[float, float, float, float]) -> Image.Image:
    """A copy with the part outlined that `region` gives: top, left, bottom, right as shares of the picture."""
    found = picture.convert("RGB")
    width, height = found.size
    top, left, bottom, right = region
    thin = max(1, round(max(width, height) / 75))
    box = [round(left * width), round(top * height), round(right * width) - 1, round(bottom * height) - 1]
    box[2:] = max(box[0] + 4 * thin, box[2]), max(box[1] + 4 * thin, box[3])
    draw = ImageDraw.Draw(found)
    draw.rectangle(box, outline=OUTER, width=2 * thin)
    draw.rectangle([box[0], box[1], box[2] - thin, box[3] - thin], outline=INNER, width=thin)
    return found
