"""Decoding what is no picture, or none that may be opened: an `ImageError` in words, nothing else."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import ImageError
from core.images import IMAGE_SUFFIXES, MAX_PIXELS, decode, opened, scan
from core.images.decoding import FORMATS
from tests.support.pictures import picture, png, save


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "tif"])
def test_a_truncated_picture_is_an_image_error(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    picture(size=(128, 128)).save(whole)
    for share in (0.9, 0.5, 0.1):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        with pytest.raises(ImageError):
            decode(cut)


def test_damaged_bytes_never_raise_anything_but_an_image_error(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "webp", "bmp", "tif"):
        whole = tmp_path / f"whole.{suffix}"
        picture(size=(40, 40)).save(whole)
        for _ in range(60):
            data = bytearray(whole.read_bytes())
            for place in generator.integers(0, len(data), 8):
                data[place] = int(generator.integers(0, 256))
            (tmp_path / f"bad.{suffix}").write_bytes(bytes(data))
            try:
                assert decode(tmp_path / f"bad.{suffix}").mode == "RGB"
            except ImageError as error:
                assert str(error)


def test_empty_and_foreign_files_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_text("<html>not found</html>")
    with pytest.raises(ImageError, match="empty file"):
        decode(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="not a picture"):
        decode(tmp_path / "b.jpg")
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        decode(tmp_path / "c.jpg")


@pytest.mark.parametrize("side", [13_400, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decompressed(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    (tmp_path / "a.png").write_bytes(png(side, side, depth=8, colour=2, rows=b"\x00" * 1000))
    with pytest.raises(
        ImageError,
        match=r"(\d megapixels|\d pixels) is above the ceiling of 179 megapixels.*decompression bomb.*smaller",
    ):
        decode(tmp_path / "a.png")


def test_only_formats_of_pictures_are_opened_and_every_suffix_has_its_format(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES - {".jfif", ".jpe"}:
        assert Image.registered_extensions()[suffix] in FORMATS, suffix
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/it-ran\n")
    (tmp_path / "gs").chmod(0o755)
    page = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_text(page)
    program = (
        "import sys; from pathlib import Path; from core.images import decode; from core.errors import ImageError\n"
        "try: decode(Path(sys.argv[1]))\nexcept ImageError as error: print(error)"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", program, str(tmp_path / "a.jpg")]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said == "not a picture in a known format\n"
    assert not (tmp_path / "it-ran").exists()


def test_the_bytes_that_are_hashed_are_those_that_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = save(tmp_path / "a.png", 1), save(tmp_path / "b.png", 2)
    image_id = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    opened_files: list[object] = []
    real = os.open

    def swapped_at_once(name: object, *words: int, **options: int) -> int:
        handle = real(name, *words, **options)  # type: ignore[arg-type]
        if name == path:
            opened_files.append(name)
            other.replace(path)
        return handle

    monkeypatch.setattr(os, "open", swapped_at_once)
    with opened(path, image_id=image_id) as found:
        assert np.array_equal(np.asarray(found.picture), np.asarray(picture(1)))
    assert opened_files == [path]
    monkeypatch.undo()
    with pytest.raises(ImageError, match="changed while the run"), opened(path, image_id=image_id):
        pass


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "loop", "endless", "sparse"])
def test_what_is_no_regular_file_is_neither_waited_for_nor_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 2**31 + 1)
    else:
        path.symlink_to({"device": "/dev/zero", "loop": "a.png", "endless": "/proc/kmsg"}[kind])
    words = {"loop": "symbolic links", "endless": "empty file", "sparse": "larger than"}.get(kind, "not a regular file")
    with pytest.raises(ImageError, match=words):
        decode(path)
    (tmp_path / "list.csv").write_text("path,label\na.png,cow\n")
    (failure,) = scan(tmp_path / "list.csv").failures
    assert words in failure.reason
