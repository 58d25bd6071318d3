"""Decoding: any format and mode to upright RGB, and thumbnails."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from core.errors import ImageError
from core.images import decode, scan, thumbnail
from tests.support.pictures import picture, png, save

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


def test_a_plain_picture_is_decoded_to_its_own_pixels(tmp_path: Path) -> None:
    image = decode(save(tmp_path / "a.png"))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(picture()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_rotated_picture_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    stored = picture(size=(32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    image = decode(tmp_path / "a.png")
    assert image.size == ((16, 32) if orientation >= 5 else (32, 16))
    if orientation in turned:
        assert np.array_equal(np.asarray(image), np.asarray(stored.transpose(turned[orientation])))


def test_a_16_bit_grey_picture_keeps_its_brightness_instead_of_turning_white(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 10, 257 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(decode(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 10, 128, 255]


def test_a_dark_16_bit_picture_is_not_stretched_to_its_own_contrast(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257]], dtype=np.uint16)).save(tmp_path / "a.tif")
    assert np.asarray(decode(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 1]


def test_a_16_bit_colour_picture_is_decoded(tmp_path: Path) -> None:
    row = b"\x00" + struct.pack(">6H", 65535, 0, 0, 0, 257 * 128, 65535)
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=16, colour=2, rows=row))
    assert np.asarray(decode(tmp_path / "a.png")).tolist() == [[[255, 0, 0], [0, 128, 255]]]


def test_floating_point_pictures_are_read_by_their_scale(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "unit.tif")
    Image.fromarray(np.array([[0.0, 100.0, 255.0]], dtype=np.float32)).save(tmp_path / "bytes.tif")
    assert np.asarray(decode(tmp_path / "unit.tif"))[0, :, 0].tolist() == [0, 128, 255]
    assert np.asarray(decode(tmp_path / "bytes.tif"))[0, :, 0].tolist() == [0, 100, 255]
    Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(ImageError, match="not finite"):
        decode(tmp_path / "nan.tif")


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in {"CMYK", "YCbCr", "I", "F"} else "a.png")
    picture().convert(mode).save(path)
    image = decode(path)
    assert (image.mode, image.size) == ("RGB", (24, 16))


def test_a_cmyk_jpeg_has_the_colours_it_was_saved_with(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (200, 40, 40)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(np.asarray(decode(tmp_path / "a.jpg")).astype(int) - [200, 40, 40]).max() < 12


def test_transparent_parts_are_white_also_in_palette_pictures(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert np.asarray(decode(tmp_path / "a.png")).min() == 255
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([0, 0, 255])
    palette.save(tmp_path / "b.png", transparency=0)
    assert np.asarray(decode(tmp_path / "b.png")).min() == 255


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


def test_a_picture_with_a_broken_exif_block_is_still_decoded(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff garbage")
    assert decode(tmp_path / "a.jpg").size == (24, 16)


def test_thumbnails_are_webp_and_never_enlarged() -> None:
    large = Image.open(io.BytesIO(thumbnail(picture(size=(1000, 500)))))
    assert (large.format, large.size) == ("WEBP", (224, 112))
    assert Image.open(io.BytesIO(thumbnail(picture()))).size == (24, 16)
    assert Image.open(io.BytesIO(thumbnail(picture(size=(2000, 1))))).size == (224, 1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_real_photographs_are_all_found_and_decoded() -> None:
    found = scan(SHARED / "photos")
    assert (len(found.entries), len(found.labels), found.failures) == (42, 42, [])
    for entry in found.entries:
        with Image.open(entry.path) as original:
            assert decode(entry.path).size == ImageOps.exif_transpose(original).size
