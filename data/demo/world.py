"""Draws the demo world: animals on procedural habitats, with faults whose truth is known.

Knows: sprites, habitats, the planted faults. Does not know: classifiers, judges, the pipeline. Every picture is a
function of its own seed, so the same seed gives the same bytes.

Sprites: Noto Color Emoji, SIL Open Font License 1.1 (see sprites/LICENSE.txt).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 224
SPRITES = Path(__file__).parent / "sprites"
USUAL_HABITAT = {
    "camel": "desert", "cat": "street", "cow": "meadow", "deer": "snow", "dog": "street",
    "duck": "water", "horse": "meadow", "lizard": "desert", "penguin": "snow", "turtle": "water",
}  # fmt: skip
ANIMALS = tuple(USUAL_HABITAT)
HABITATS = ("desert", "meadow", "snow", "street", "water")
CREDIT_BOX = (148, 204, 220, 220)
"""Corner of the photo-credit tag: left, top, right, bottom in pixels."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What one picture shows: everything the drawing needs besides its random generator."""

    animal: str
    habitat: str
    night: bool = False
    tiny: bool = False
    credit: bool = False


@dataclass(frozen=True)
class Scene:
    """A drawn picture: rgb (224, 224, 3) uint8, the object's mask (224, 224) bool and its size word."""

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    size: str


@cache
def _sprite(animal: str) -> Image.Image:
    return Image.open(SPRITES / f"{animal}.png").convert("RGBA")


def _noise(rng: np.random.Generator, cells: tuple[int, int]) -> Floats:
    """Smooth noise of `cells` (rows, columns) enlarged to (SIDE, SIDE), values about -1..1."""
    grid = rng.uniform(-1, 1, cells).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _gradient(top: Floats, bottom: Floats, rows: int) -> Floats:
    """Vertical colour gradient of shape (rows, 1, 3)."""
    t = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    return top * (1 - t) + bottom * t


def _colour(rng: np.random.Generator, base: tuple[int, int, int], spread: float) -> Floats:
    return np.asarray(base, np.float32) + rng.uniform(-spread, spread, 3).astype(np.float32)


GROUND = {
    "meadow": ((118, 168, 74), (70, 122, 44)),
    "desert": ((226, 190, 128), (198, 150, 90)),
    "snow": ((238, 242, 248), (206, 216, 230)),
    "water": ((84, 150, 190), (28, 92, 146)),
    "street": ((128, 128, 132), (84, 84, 90)),
}
TEXTURE = {"meadow": ((60, 110), 16.0), "desert": ((14, 5), 12.0), "snow": ((7, 7), 7.0), "water": ((44, 9), 18.0),
           "street": ((110, 110), 7.0)}  # fmt: skip


def _habitat(rng: np.random.Generator, habitat: str) -> Floats:
    """Background (SIDE, SIDE, 3): sky over textured ground, with the habitat's own marks."""
    horizon = int(rng.uniform(0.22, 0.45) * SIDE)
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    sky = _colour(rng, (140, 186, 230), 18)
    picture[:horizon] = _gradient(sky, np.minimum(sky + 60, 250), horizon)
    far, near = (_colour(rng, colour, 12) for colour in GROUND[habitat])
    picture[horizon:] = _gradient(far, near, SIDE - horizon)
    cells, strength = TEXTURE[habitat]
    picture[horizon:] += strength * _noise(rng, cells)[horizon:, :, None]
    picture += 8 * _noise(rng, (5, 5))[:, :, None]
    if habitat == "street":
        _buildings(rng, picture, horizon)
    return picture


def _buildings(rng: np.random.Generator, picture: Floats, horizon: int) -> None:
    """Fronts above the horizon and lane marks below it."""
    left = 0
    while left < SIDE:
        width = int(rng.integers(28, 60))
        top = int(horizon * rng.uniform(0.05, 0.5))
        picture[top:horizon, left : left + width] = _colour(rng, (150, 118, 104), 36)
        for y in range(top + 6, horizon - 8, 14):
            for x in range(left + 5, min(left + width - 6, SIDE), 12):
                picture[y : y + 7, x : x + 6] = (72, 82, 98)
        left += width
    middle = (horizon + SIDE) // 2
    for x in range(int(rng.integers(0, 30)), SIDE, 56):
        picture[middle : middle + 5, x : x + 28] = (232, 228, 206)


def _credit(rng: np.random.Generator, picture: Floats) -> None:
    """Paint the photo-credit tag: light box, dark text."""
    left, top, right, bottom = CREDIT_BOX
    tag = Image.new("RGB", (right - left, bottom - top), (244, 244, 238))
    text = f"PHOTO {rng.integers(10, 99)}"
    ImageDraw.Draw(tag).text((5, 2), text, fill=(30, 30, 36), font=ImageFont.load_default(11))
    picture[top:bottom, left:right] = np.asarray(tag, np.float32)


def size_word(share: float) -> str:
    """Name of an object's longer side as a share of the picture's: tiny, medium or large."""
    return "tiny" if share < 0.2 else "medium" if share < 0.5 else "large"


def draw(rng: np.random.Generator, plan: Plan) -> Scene:
    """Draw one picture.

    Args:
        rng: the picture's own generator; its state decides every random choice.
        plan: what to show.

    Returns:
        The scene: rgb (224, 224, 3) uint8, object mask (224, 224) bool.
    """
    picture = _habitat(rng, plan.habitat)
    share = rng.uniform(0.12, 0.17) if plan.tiny else rng.uniform(0.32, 0.68)
    sprite = _sprite(plan.animal)
    scale = share * SIDE / max(sprite.size)
    sprite = sprite.resize([max(1, round(s * scale)) for s in sprite.size], Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sprite = sprite.rotate(rng.uniform(-14, 14), Image.Resampling.BILINEAR, expand=True)
    width, height = sprite.size
    x = int(rng.uniform(0, max(SIDE - width, 1)))
    y = int(rng.uniform(0.3 * SIDE, max(SIDE - height, 0.3 * SIDE + 1)))
    y = min(y, max(SIDE - height, 0))
    pixels = np.asarray(sprite, np.float32)[: SIDE - y, : SIDE - x]
    alpha = pixels[..., 3:] / 255
    light = rng.uniform(0.82, 1.12)
    region = (slice(y, y + pixels.shape[0]), slice(x, x + pixels.shape[1]))
    picture[region] = picture[region] * (1 - alpha) + np.minimum(pixels[..., :3] * light, 255) * alpha
    mask = np.zeros((SIDE, SIDE), bool)
    mask[region] = alpha[..., 0] > 0.5
    if plan.night:
        picture = picture * np.asarray((0.38, 0.42, 0.58), np.float32) * rng.uniform(0.8, 1.1)
    if plan.credit:
        _credit(rng, picture)
    picture += rng.normal(0, 3, picture.shape).astype(np.float32)
    return Scene(np.clip(picture, 0, 255).astype(np.uint8), mask, size_word(share))
