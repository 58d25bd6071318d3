"""Near-duplicates: copies are one group, different pictures are not, and a hundred thousand are grouped in seconds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from core.images.near_duplicates import difference_hash, near_groups

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo" / "evaluation"


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Every tenth picture of the demo world."""
    return [Image.open(path).convert("RGB") for path in sorted(DEMO.rglob("*.jpg")) + sorted(DEMO.rglob("*.png"))][::10]


def copies(picture: Image.Image) -> list[Image.Image]:
    """The same picture compressed, smaller, and brighter."""
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=75)
    smaller = picture.resize((int(picture.width * 0.8), int(picture.height * 0.8)))
    return [picture, Image.open(written), smaller, ImageEnhance.Brightness(picture).enhance(1.1)]


def test_copies_are_one_group_and_other_pictures_are_none(pictures: list[Image.Image]) -> None:
    groups = near_groups([difference_hash(copy) for picture in pictures for copy in copies(picture)]).reshape(-1, 4)
    assert len(pictures) >= 50
    assert len({int(group) for group in groups[:, 0]}) == len(pictures)
    assert (groups == groups[:, :1]).mean() > 0.9


def test_a_picture_without_a_hash_is_a_group_of_its_own() -> None:
    groups = near_groups([None, b"a" * 16, None, b"a" * 16, b"b" * 16])
    assert groups[1] == groups[3] and len(set(groups.tolist())) == 4
    assert near_groups([]).size == 0 and near_groups([None]).tolist() == [0]


def test_groups_are_those_of_comparing_every_pair() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (60, 16), dtype=np.uint8)[rng.integers(0, 60, 300)]
    for row in rows:  # up to nine bits of each are turned over
        for bit in rng.integers(0, 128, rng.integers(0, 10)):
            row[bit // 8] ^= 1 << (bit % 8)
    near = np.bitwise_count(rows[:, None] ^ rows[None]).sum(axis=2, dtype=int) <= 7
    expected, label = np.full(300, -1), 0
    for start in range(300):
        if expected[start] < 0:
            todo = [start]
            while todo:
                place = todo.pop()
                if expected[place] < 0:
                    expected[place] = label
                    todo += np.flatnonzero(near[place]).tolist()
            label += 1
    groups = near_groups([row.tobytes() for row in rows])
    assert np.array_equal(groups[:, None] == groups[None], expected[:, None] == expected[None])
    assert 20 < label < 290


def test_plain_pictures_are_one_crowd() -> None:
    hashes = [difference_hash(Image.new("RGB", (20, 20), (shade, shade, shade))) for shade in range(0, 200)] * 3
    assert set(near_groups(hashes).tolist()) == {0}
