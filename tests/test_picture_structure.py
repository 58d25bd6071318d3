"""Pictures whose structure, not their pixels, takes memory or time: refused or priced before they are decompressed."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from core.errors import ImageError
from core.images import decoding
from core.images.structure import MOST_PLAIN

ROOT = Path(__file__).resolve().parents[1]
DECODE = """
import sys
from pathlib import Path
from core.errors import ImageError
from core.images import decode
sys.stdin.readline()
try:
    decode(Path(sys.argv[1]))
except ImageError as error:
    print(error, flush=True)
sys.stdin.readline()
"""


def tiff(side: int, tile: int, *, first: tuple[tuple[int, int], ...] = ()) -> bytes:
    """A grey TIFF in one deflated tile; `first` are tags, with their values, before those of the tile."""
    data = zlib.compress(bytes(min(tile * tile, 2**24)))
    tags = [
        (256, side),
        (257, side),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        *first,
        (322, tile),
        (323, tile),
        (324, 8),
    ]
    tags.append((325, len(data)))
    data += bytes(len(data) % 2)
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + listed + bytes(4)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many more."""
    content = saved(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + count * last + b"\xff\xd9"


def held(file: Path, content: bytes) -> int:
    """Bytes that are held while a picture is decoded."""
    amounts: list[int] = []

    @contextmanager
    def hold(amount: int) -> Iterator[None]:
        amounts.append(amount)
        yield

    file.write_bytes(content)
    with decoding.opened(file, hold=hold):
        return sum(amounts)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tif", lambda: tiff(64, 46_000), "holds tiles of 46000 x 46000 for a picture of 64 x 64"),
        ("b.tif", lambda: tiff(64, 64, first=((322, 4_000), (323, 4_000))), "names a tag twice"),
        (
            "c.jp2",
            lambda: saved(Image.new("RGB", (64, 64)), "JPEG2000", tile_size=(1, 1)),
            "holds 4,096 tiles of 1 x 1",
        ),
        ("d.jpg", lambda: scans(100), "a JPEG of more than 64 scans"),
        ("e.pbm", lambda: b"P1 3000 3000\n" + b"1" * 9_000_000, "a plain-text PNM file of 9 MB"),
        ("f.ppm", lambda: b"P3\n" + b" " * (MOST_PLAIN + 1), "a plain-text PNM file of 8 MB"),
    ],
)
def test_a_structure_that_no_picture_has_is_refused_before_anything_is_decompressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: object, words: str
) -> None:
    monkeypatch.setattr(decoding, "_finish", lambda *_: pytest.fail("decompressed"))
    with pytest.raises(ImageError) as caught:
        held(tmp_path / name, content())  # type: ignore[operator]
    assert words in str(caught.value)


def test_tiles_that_real_pictures_have_are_priced(tmp_path: Path) -> None:
    small, large = held(tmp_path / "s.tif", tiff(64, 64)), held(tmp_path / "l.tif", tiff(64, 4096))
    assert large - small > 2 * 4096 * 4096 - 2 * 64 * 64 - 2**16
    grain = Image.fromarray(np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8))
    whole, tiled = saved(grain, "JPEG2000"), saved(grain, "JPEG2000", tile_size=(32, 32))
    more = held(tmp_path / "tiled.jp2", tiled) - len(tiled) - held(tmp_path / "whole.jp2", whole) + len(whole)
    assert more == 255 * 2**14


def test_pictures_within_a_jpeg_do_not_count_as_its_scans(tmp_path: Path) -> None:
    plain = saved(Image.new("RGB", (64, 64), "red"), "JPEG", progressive=True)
    inside = b"\xff\xe2" + struct.pack(">H", 2 + 2 * 500) + b"\xff\xda" * 500
    (tmp_path / "a.jpg").write_bytes(plain[:2] + inside + plain[2:] + b"\xff\xda" * 500)
    (tmp_path / "b.jpg").write_bytes(scans(20))
    assert decoding.decode(tmp_path / "a.jpg").size == decoding.decode(tmp_path / "b.jpg").size == (64, 64)


def test_a_tile_of_two_gigabytes_takes_none_seen_from_outside(tmp_path: Path) -> None:
    (tmp_path / "bomb.tif").write_bytes(tiff(64, 46_000))
    child = subprocess.Popen(
        [sys.executable, "-c", DECODE, str(tmp_path / "bomb.tif")],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin and child.stdout
    child.stdin.write("\n")
    child.stdin.flush()
    said = child.stdout.readline()
    status = Path(f"/proc/{child.pid}/status")
    if status.exists():  # the highest that it ever had
        (peak,) = (int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    else:
        peak = psutil.Process(child.pid).memory_info().rss
    child.communicate("\n", timeout=30)
    assert "holds tiles of 46000 x 46000" in said and peak < 2**30
