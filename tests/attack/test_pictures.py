"""Some two hundred pictures that are none, or bad ones: each is recorded, nothing runs, memory is bounded."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.errors import ImageError
from core.images import decode
from core.store import Store
from tests.support.tiny_world import make_folder, make_model

ROOT = Path(__file__).resolve().parents[2]
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "ppm": "PPM",
           "jp2": "JPEG2000", "avif": "AVIF", "ico": "ICO", "tga": "TGA"}  # fmt: skip
LIMIT = "3GB"
BOUND = 3 * 2**30
"""Of the whole process with the models in it; three pictures of 170 megapixels took 12 GB before."""


def noise(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, kind, **options)
    return sink.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int, seed: int) -> bytes:
    """A real PNG of that many pixels, in a few megabytes."""
    row, packer = b"\0" + bytes([seed]) * (3 * width), zlib.compressobj(1)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def damaged() -> Iterator[tuple[str, bytes]]:
    """Truncations, flips, zeros and wrong suffixes of every format."""
    chance = np.random.default_rng(4)
    for number, (suffix, kind) in enumerate(FORMATS.items()):
        whole = encoded(noise(number), kind)
        for share in (0.02, 0.3, 0.6, 0.95):
            yield f"cut-{share}.{suffix}", whole[: int(len(whole) * share)]
        for index in range(4):
            data = bytearray(whole)
            for place in chance.integers(0, len(data) if index % 2 else min(64, len(data)), 6):
                data[place] = int(chance.integers(0, 256))
            yield f"flipped-{index}.{suffix}", bytes(data)
        yield f"zeros.{suffix}", whole[: len(whole) // 3] + bytes(len(whole) // 3) + whole[2 * len(whole) // 3 :]
        yield f"head-of-zeros.{suffix}", bytes(32) + whole[32:]
        other = list(FORMATS)[(number + 3) % len(FORMATS)]
        yield f"in-truth-{suffix}.{other}", whole + b" "
        yield f"nothing.{suffix}", b""


def bombs() -> Iterator[tuple[str, bytes]]:
    """Huge pictures in tiny files."""
    yield "bomb-2500.png", png(50_000, 50_000, rows=bytes(100_000))
    yield "bomb-2g.png", png(2**31 - 1, 2**31 - 1, rows=b"")
    yield "bomb-line.png", png(2**28, 1, rows=bytes(100_000))
    yield "bomb-170-cut.png", png(13_000, 13_000, rows=bytes(100_000))
    yield "bomb-16-bit.png", png(13_000, 13_000, depth=16, colour=0, rows=bytes(100_000))
    words = png(8, 8, rows=bytes(200), extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300_000_000), 9)))
    yield "bomb-text.png", words
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(300_000_000), 9))
    yield "bomb-profile.png", png(8, 8, rows=bytes(200), extra=profile)
    yield "bomb.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "bomb.gif", b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"," + struct.pack(
        "<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\x00;"  # fmt: skip
    yield "bomb-frame.gif", b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + struct.pack(
        "<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x4c\x01\x00;"  # fmt: skip
    yield "bomb.ppm", b"P6\n100000 100000\n255\nabc"
    yield "bomb.pgm", b"P5\n13000 13000\n65535\nabc"
    yield "bomb.pbm", b"P1\n99999 99999\n1 0 1"
    yield "bomb.tga", struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65_535, 65_535, 24, 0) + b"\xff\0\0\0" * 9
    yield "bomb.tif", tiff(60_000, 60_000)
    yield "bomb-170.tif", tiff(13_000, 13_000)
    whole = bytearray(encoded(noise(1), "JPEG"))
    place = whole.index(b"\xff\xc0") + 5
    whole[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    yield "bomb.jpg", bytes(whole)
    whole[place : place + 4] = struct.pack(">HH", 13_000, 13_000)
    yield "bomb-170.jpg", bytes(whole)
    inside = huge_png(13_000, 13_000, 3)
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22)
    yield "bomb.ico", icon + inside
    for suffix in ("webp", "avif", "jp2"):
        data = encoded(noise(9, 64, 64), FORMATS[suffix])
        swapped = data.replace(struct.pack(">II", 64, 64), struct.pack(">II", 60_000, 60_000))
        yield f"bomb.{suffix}", swapped if swapped != data else data[:20] + b"\xff" * 10 + data[30:]


def tiff(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height % 2**32)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + table + bytes(4) + bytes(500)


def foreign() -> Iterator[tuple[str, bytes]]:
    """Other files under a picture's name; what a program could be made to run."""
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n(it-ran) (w) file closefile\nshowpage\n%%EOF\n"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
    texts = {
        "postscript": page,
        "dos-eps": b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIIIH", 30, len(page), 0, 0, 0, 0, 0xFFFF) + page,
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(touch it-ran)>>>>endobj\n%%EOF",
        "svg": svg,
        "html": b"<html><script>document.write(1)</script></html>",
        "shell": b"#!/bin/sh\ntouch it-ran\n",
        "pickle": b"cos\nsystem\n(S'touch it-ran'\ntR.",
        "msl": b'<?xml version="1.0"?><image><read filename="/etc/passwd"/></image>',
        "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "fits": b"SIMPLE  =                    T" + b" " * 2850,
        "psd": b"8BPS\0\1" + bytes(60),
        "fli": struct.pack("<IHHHH", 128, 0xAF11, 1, 65_000, 65_000) + bytes(120),
        "zip": b"PK\3\4" + bytes(60),
        "elf": b"\x7fELF" + bytes(60),
        "noise": np.random.default_rng(0).bytes(5000),
        "newlines": b"\n" * 3000,
    }
    for name, data in texts.items():
        for suffix in ("jpg", "png"):
            yield f"{name}.{suffix}", data + suffix.encode()


def odd() -> Iterator[tuple[str, bytes]]:
    """Rare pictures that are well, and good ones with garbage beside the pixels."""
    for number, mode in enumerate(("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16")):
        rgb = noise(50 + number)
        made = Image.fromarray(np.full((20, 30), 300 + number, np.uint16)) if mode == "I;16" else (
            rgb.convert("LA") if mode == "LA" else rgb if mode == "LAB" else rgb.convert(mode))  # fmt: skip
        yield f"mode-{mode.replace(';', '-')}.tif", encoded(made, "TIFF")
    yield "mode-cmyk.jpg", encoded(noise(70).convert("CMYK"), "JPEG")
    yield "progressive.jpg", encoded(noise(71), "JPEG", progressive=True)
    for suffix in ("gif", "webp", "png", "tif"):
        frames = [noise(80 + index) for index in range(3)]
        yield f"animated.{suffix}", encoded(frames[0], FORMATS[suffix], save_all=True, append_images=frames[1:])
    for number, block in enumerate(
        (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    ):
        yield f"exif-{number}.jpg", encoded(noise(90 + number), "JPEG", exif=block + bytes(range(200)))
        yield f"profile-{number}.jpg", encoded(noise(95 + number), "JPEG", icc_profile=block + b"garbage" * 50)
    yield "text.png", png(2, 2, rows=bytes(14), extra=chunk(b"tEXt", b"\xff" * 500) + chunk(b"eXIf", b"II*\0\xff"))
    yield "one-pixel.png", encoded(noise(99, 1, 1), "PNG")
    yield "line.png", encoded(noise(100, 20_000, 1), "PNG")


def every() -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for group in (damaged, bombs, foreign, odd):
        found |= {f"{group.__name__}-{name}": data for name, data in group()}
    return found


@pytest.mark.timeout(170)
def test_no_bad_picture_is_a_traceback_runs_anything_or_takes_memory_beyond_the_bound(tmp_path: Path) -> None:
    files = every()
    assert len(files) >= 150
    pictures = make_folder(tmp_path / "pictures", per_class=2)
    for name, data in files.items():
        (pictures / "red" / name).write_bytes(data)
    for seed in range(3):
        (pictures / "red" / f"huge-{seed}.png").write_bytes(huge_png(13_000, 13_077, seed))
    tools, work = tmp_path / "tools", tmp_path / "work"
    tools.mkdir()
    work.mkdir()
    for tool in ("gs", "gswin64c", "xdg-open", "convert", "inkscape", "xv", "display"):
        (tools / tool).write_text(f"#!/bin/sh\ntouch {work}/it-ran\n")
        (tools / tool).chmod(0o755)
    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--store", tmp_path / "s"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WHYLOOK_MEMORY": LIMIT}
    environment["PATH"] = f"{tools}:{environment['PATH']}"
    with (tmp_path / "said").open("w") as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "core", *map(str, words), "--device", "cpu"],
            env=environment, cwd=work, stdout=said, stderr=said,
        )  # fmt: skip
        most = 0
        while child.poll() is None:
            most = max(most, _resident(child.pid))
            time.sleep(0.01)
    told = (tmp_path / "said").read_text()
    assert child.returncode == 1 and "Traceback" not in told, told
    assert not list(work.iterdir())
    assert most < BOUND, f"{most:,} bytes"
    con = Store(tmp_path / "s").reader()
    failed = dict(con.execute("SELECT path, reason FROM failures").fetchall())
    well = {path for paths in con.execute("SELECT paths FROM images").fetchall() for path in paths[0]}
    wanted = {f"red/{name}" for name in files} | {f"red/huge-{seed}.png" for seed in range(3)}
    assert wanted <= failed.keys() | well and not failed.keys() & well
    assert all(reason and "\n" not in reason for reason in failed.values())
    names = {name.removeprefix("red/") for name in failed}
    assert {name for name in files if name.startswith(("foreign-", "bombs-bomb-2", "bombs-bomb-line"))} <= names
    assert {f"red/huge-{seed}.png" for seed in range(3)} <= well
    assert not {name for name in names if name.startswith("odd-")}
    print(f"{len(files)} files, {len(failed)} failed, {most / 2**30:.2f} GB at most")


def test_each_of_them_is_a_picture_or_an_image_error(tmp_path: Path) -> None:
    for name, data in every().items():
        (tmp_path / name).write_bytes(data)
        try:
            assert decode(tmp_path / name).mode == "RGB"
        except ImageError as error:
            assert str(error), name


def _resident(pid: int) -> int:
    """Bytes of a process, 0 once it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
