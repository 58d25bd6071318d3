"""Pictures and lists: what is found, what is decoded, and what is refused with which words."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from core.errors import ImageError, RequestError
from core.images import IMAGE_SUFFIXES, MAX_PIXELS, decode, opened, scan, thumbnail
from core.images.decoding import FORMATS

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"


def picture(seed: int = 0, *, size: tuple[int, int] = (24, 16)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path)
    return path


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: Pillow writes no 16-bit colour and no picture larger than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- decoding -------------------------------------------------------------------------------------------------------


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
    with pytest.raises(ImageError, match="decompression bomb"):
        decode(tmp_path / "a.png")


def test_a_picture_with_a_broken_exif_block_is_still_decoded(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff garbage")
    assert decode(tmp_path / "a.jpg").size == (24, 16)


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


def test_thumbnails_are_webp_and_never_enlarged() -> None:
    import io

    large = Image.open(io.BytesIO(thumbnail(picture(size=(1000, 500)))))
    assert (large.format, large.size) == ("WEBP", (224, 112))
    assert Image.open(io.BytesIO(thumbnail(picture()))).size == (24, 16)
    assert Image.open(io.BytesIO(thumbnail(picture(size=(2000, 1))))).size == (224, 1)


# --- folders --------------------------------------------------------------------------------------------------------


def test_class_folders_give_labels_and_content_hashes(tmp_path: Path) -> None:
    path = save(tmp_path / "cow" / "deep" / "a.png", 1)
    save(tmp_path / "camel" / "b.png", 2)
    found = scan(tmp_path)
    assert found.labels == ["camel", "cow"]
    assert [(entry.relative_paths, entry.label) for entry in found.entries] == [
        (("camel/b.png",), "camel"),
        (("cow/deep/a.png",), "cow"),
    ]
    assert found.entries[1].image_id == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    assert (found.failures, found.warnings) == ([], [])


def test_the_same_bytes_twice_are_one_entry_with_two_paths(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    save(tmp_path / "cow" / "b.png", 1)
    (entry,) = scan(tmp_path).entries
    assert entry.relative_paths == ("cow/a.png", "cow/b.png")


def test_the_same_bytes_under_two_labels_keep_the_first_and_warn(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    save(tmp_path / "camel" / "z.png", 1)
    found = scan(tmp_path)
    assert found.entries[0].label == "camel"
    assert "under 2 labels" in found.warnings[0]


def test_hidden_files_are_skipped_other_files_counted_and_odd_ones_tried(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    (tmp_path / "cow" / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    save(tmp_path / ".git" / "b.png", 3)
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "cow" / "no_suffix").write_bytes((tmp_path / "cow" / "a.png").read_bytes() + b" ")
    found = scan(tmp_path)
    assert [entry.relative_paths[0] for entry in found.entries] == ["cow/a.png", "cow/no_suffix"]
    assert found.warnings == ["files that are no pictures (text, tables, code) were ignored: 1"]


def test_files_that_cannot_be_read_are_failures_and_the_rest_goes_on(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    (tmp_path / "cow" / "empty.png").write_bytes(b"")
    (tmp_path / "cow" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "cow" / "pipe.png")
    found = scan(tmp_path)
    assert len(found.entries) == 1
    assert {failure.path: failure.reason for failure in found.failures} == {
        "cow/empty.png": "empty file (0 bytes)",
        "cow/gone.png": "cannot be read: No such file or directory",
        "cow/pipe.png": "not a regular file",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_and_folders_without_permission_are_failures(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    save(tmp_path / "cow" / "b.png", 2).chmod(0)
    save(tmp_path / "camel" / "c.png", 3).parent.chmod(0)
    try:
        assert sorted(failure.path for failure in scan(tmp_path).failures) == ["camel", "cow/b.png"]
    finally:
        (tmp_path / "camel").chmod(0o755)


def test_linked_class_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "a.png", 1)
    source = tmp_path / "source"
    source.mkdir()
    (source / "cow").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(source)
    assert [entry.label for entry in scan(source).entries] == ["cow"]


def test_links_that_go_round_are_failures_and_the_rest_goes_on(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    (tmp_path / "cow" / "round").symlink_to("round")
    (tmp_path / "there").symlink_to("back")
    (tmp_path / "back").symlink_to("there")
    found = scan(tmp_path)
    assert [entry.relative_paths[0] for entry in found.entries] == ["cow/a.png"]
    assert [failure.path for failure in found.failures] == ["back", "cow/round", "there"]
    assert all("symbolic links" in failure.reason for failure in found.failures)


def test_names_with_quotes_brackets_emoji_and_bytes_that_are_no_utf8_survive(tmp_path: Path) -> None:
    label = 'o\'"x"; DROP TABLE <b>\N{COW FACE}'
    save(tmp_path / label / "a'\N{DROMEDARY CAMEL}<i>.png", 1)
    raw = os.fsencode(tmp_path / label) + b"/\xff\xfe.png"
    with open(raw, "wb") as file:  # noqa: PTH123
        file.write((tmp_path / label / "a'\N{DROMEDARY CAMEL}<i>.png").read_bytes() + b" ")
    found = scan(tmp_path)
    assert found.labels == [label]
    assert len(found.entries) == 2
    for entry in found.entries:
        entry.relative_paths[0].encode("utf-8")
        assert decode(entry.path).mode == "RGB"


def test_sources_that_hold_nothing_to_explain_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        scan(tmp_path / "nowhere")
    with pytest.raises(RequestError, match="no pictures"):
        scan(tmp_path)
    (tmp_path / "list.txt").write_text("x")
    with pytest.raises(RequestError, match="neither a folder"):
        scan(tmp_path / "list.txt")
    save(tmp_path / "a.png")
    with pytest.raises(RequestError, match="one folder per class"):
        scan(tmp_path)


# --- metadata and lists ---------------------------------------------------------------------------------------------


def test_metadata_are_found_and_typed_by_column(tmp_path: Path) -> None:
    save(tmp_path / "cow" / "a.png", 1)
    save(tmp_path / "cow" / "b.png", 2)
    (tmp_path / "metadata.csv").write_text(
        "path,habitat,size,count,night,zip,mixed\n"
        "cow/a.png,meadow,0.25,3,true,007,1\n"
        "./cow\\b.png,,1e-3,4,False,100,x\n"
        "cow/gone.png,snow,1,1,true,1,1\n"
    )
    found = scan(tmp_path)
    assert [dict(entry.metadata) for entry in found.entries] == [
        {"habitat": "meadow", "size": 0.25, "count": 3, "night": True, "zip": "007", "mixed": "1"},
        {"habitat": None, "size": 0.001, "count": 4, "night": False, "zip": "100", "mixed": "x"},
    ]
    assert found.warnings[-1] == "rows of metadata.csv that match no picture: 1 (first: cow/gone.png)"


def test_a_label_column_labels_a_flat_folder(tmp_path: Path) -> None:
    save(tmp_path / "a.png", 1)
    save(tmp_path / "b.png", 2)
    (tmp_path / "labels.csv").write_text("\ufeffPath,Label\na.png,cow\n")
    found = scan(tmp_path, metadata=tmp_path / "labels.csv")
    assert [entry.label for entry in found.entries] == ["cow", None]
    assert any("pictures without a label" in line for line in found.warnings)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_gives_paths_labels_and_metadata(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "x" / "a.png", 1)
    save(tmp_path / "x" / "b.png", 2)
    listing = tmp_path / f"list.{kind}"
    if kind == "csv":
        listing.write_text("path,label,lux\nx/a.png,cow,5\nx/b.png,camel,6\nx/c.png,cow,7\n")
    else:
        pq.write_table(
            pa.table({"path": ["x/a.png", "x/b.png", "x/c.png"], "label": ["cow", "camel", "cow"], "lux": [5, 6, 7]}),
            listing,
        )
    found = scan(listing)
    assert [(entry.relative_paths[0], entry.label, entry.metadata["lux"]) for entry in found.entries] == [
        ("x/a.png", "cow", 5),
        ("x/b.png", "camel", 6),
    ]
    assert [failure.path for failure in found.failures] == ["x/c.png"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,label\na,b\n", "no column `path`"),
        ("path,a,A\nx,1,2\n", "names a column twice"),
        ("path,a\nx\n", "line 2: 1 fields"),
        ("path,a\n,1\n", "row 1 has no path"),
        ("path,a\nx.png,1\nx.png,2\n", "two rows for x.png"),
        ("", "no column `path`"),
    ],
)
def test_a_metadata_file_that_cannot_be_used_is_refused(tmp_path: Path, content: str, words: str) -> None:
    save(tmp_path / "cow" / "a.png")
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(RequestError, match=words):
        scan(tmp_path)


def test_tables_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"path\n\xff\xfe\n")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(RequestError, match="not UTF-8"):
        scan(tmp_path / "a.csv")
    with pytest.raises(RequestError, match="not a Parquet file"):
        scan(tmp_path / "a.parquet")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_real_photographs_are_all_found_and_decoded() -> None:
    found = scan(SHARED / "photos")
    assert (len(found.entries), len(found.labels), found.failures) == (42, 42, [])
    for entry in found.entries:
        with Image.open(entry.path) as original:
            assert decode(entry.path).size == ImageOps.exif_transpose(original).size
