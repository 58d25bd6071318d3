"""Damaged and odd pictures, odd names and a full disk, through the command line: recorded failures, nothing lost."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.findings import summarise
from core.store import Store
from tests.support.command_line import whylook
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[1]
ODD_CLASSES = {
    "blue": 'it\'s "blue"; DROP TABLE images; --',
    "green": "<img src=x onerror=alert(1)>",
    "red": "🐄 `cow` | [a](http:) ${HOME} %s {0}",
}


def odd_picture(generator: np.random.Generator) -> Image.Image:
    return Image.fromarray(generator.integers(40, 200, (40, 30, 3), dtype=np.uint8))


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it is 50,000 pixels wide and high."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(picture: Image.Image, **options: object) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG", **options)
    return sink.getvalue()


def test_what_cannot_be_read_is_recorded_and_everything_else_is_explained(tmp_path: Path, capsys: Capture) -> None:
    pictures, generator = make_folder(tmp_path / "pictures", per_class=3), np.random.default_rng(5)
    red = pictures / "red"
    whole = jpeg(odd_picture(generator))
    (red / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (red / "zero.png").touch()
    (red / "words.png").write_text("not a picture")
    (red / "bomb.png").write_bytes(bomb())
    (red / "dangling.png").symlink_to("gone.png")
    (red / "unreadable.png").symlink_to("/proc/self/mem")  # also the superuser gets an input/output error
    os.mkfifo(red / "pipe.png")
    bad = {f"red/{name}.png" for name in ("zero", "words", "bomb", "dangling", "unreadable", "pipe")}
    bad.add("red/truncated.jpg")

    Image.fromarray(generator.integers(0, 65_535, (20, 30)).astype(np.uint16)).save(red / "deep.png")
    (red / "cmyk.jpg").write_bytes(jpeg(odd_picture(generator).convert("CMYK")))
    odd_picture(generator).convert("L").save(red / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying, to be shown turned by 90 degrees
    (red / "turned.jpg").write_bytes(jpeg(odd_picture(generator), exif=turned))
    odd_picture(generator).convert("LA").save(red / "no suffix at all", "PNG")

    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--store", tmp_path / "store"]
    answer = whylook(capsys, *words)
    assert answer.code == 1
    assert f"predicted 14 · attributed 14 · failures {len(bad)}" in answer.out
    assert "2 more, on the page Runs" in answer.err
    con = Store(tmp_path / "store").reader()
    failed = con.execute("SELECT stage, path, reason FROM failures").fetchall()
    assert {row[1] for row in failed} == bad and len(failed) == len(bad)
    assert all(row[0] == "images" and row[2] and "\n" not in row[2] for row in failed)
    sizes = dict(
        con.execute("SELECT path, (width, height) FROM images WHERE path IN (SELECT path FROM samples)").fetchall()
    )
    assert len(sizes) == 14 and not bad & sizes.keys()
    assert tuple(sizes["red/turned.jpg"]) == (40, 30) and tuple(sizes["red/grey.png"]) == (30, 40)


def test_a_model_that_raises_or_gives_nan_for_some_pictures_loses_only_those(tmp_path: Path, capsys: Capture) -> None:
    pictures = make_folder(tmp_path / "pictures", per_class=3)
    Image.new("RGB", (48, 48), (255, 255, 255)).save(pictures / "red" / "bright.png")
    Image.new("RGB", (48, 48), (0, 0, 0)).save(pictures / "red" / "dark.png")
    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:grumpy", "--no-vlm", "--store", tmp_path / "s"]
    answer = whylook(capsys, *words)
    assert answer.code == 1
    assert "failed: red/bright.png: classifier: " in answer.err and "too bright" in answer.err
    assert "failed: red/dark.png: classifier: " in answer.err and "not finite" in answer.err
    con = Store(tmp_path / "s").reader()
    rows = con.execute("SELECT path FROM samples WHERE prediction IS NULL ORDER BY path").fetchall()
    assert rows == [("red/bright.png",), ("red/dark.png",)]
    assert con.execute("SELECT count(confidence), count(attention_area) FROM samples").fetchall() == [(9, 9)]


def test_names_with_quotes_brackets_sql_and_emoji_are_only_names(tmp_path: Path, capsys: Capture) -> None:
    pictures, generator = make_folder(tmp_path / "pictures", per_class=8, names=ODD_CLASSES), np.random.default_rng(1)
    names = [
        "'; DROP TABLE samples; --.png",
        '"><script>alert(1)<.png',
        "$(touch it-ran).png",
        "new\nline \x1b[31m.png",
    ]
    for name in names:
        odd_picture(generator).save(pictures / ODD_CLASSES["red"] / name)
    odd_picture(generator).save(os.fsencode(pictures / ODD_CLASSES["red"]) + b"/\xff\xfe.png", "PNG")
    (pictures / ODD_CLASSES["red"] / "\x1b[2Jbroken.png").touch()
    store = tmp_path / "store"
    model = f"{make_model(tmp_path)}:nameless"
    answer = whylook(capsys, "run", pictures, "--classifier", model, "--no-vlm", "--store", store)
    assert answer.code == 1 and "\x1b" not in answer.err + answer.out
    con = Store(store).reader()
    counts = con.execute("SELECT label, count(*), count(prediction) FROM samples GROUP BY label").fetchall()
    assert sorted(counts) == sorted([(ODD_CLASSES[key], n, n) for key, n in (("blue", 8), ("green", 8), ("red", 13))])
    found = summarise(con, con.execute("SELECT run FROM runs").fetchall()[0][0])
    assert found
    for finding in found:
        assert len(con.execute(finding.sql).fetchall()) == finding.n
        answer = whylook(capsys, "sql", finding.sql, "--store", store, "--format", "csv")
        assert answer.code == 0 and answer.out.count("\n") >= finding.n + 1
    table = whylook(capsys, "sql", "SELECT path FROM samples", "--store", store)
    assert table.code == 0 and "\x1b" not in table.out
    whylook(capsys, "summary", "--store", store, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<script" not in page and "&lt;img src=x onerror=alert(1)&gt;" in page
    text = whylook(capsys, "summary", "--store", store).out
    prose = re.sub(r"```sql.*?```", "", text, flags=re.DOTALL)
    assert "<img" not in prose and "&lt;img src=x" in prose
    assert not (tmp_path / "it-ran").exists() and not Path("it-ran").exists()


@pytest.mark.parametrize("blocks", [4, 400])  # of 1,024 bytes: no shard fits; shards fit and a generation does not
def test_a_full_disk_ends_the_run_in_one_line_and_nothing_finished_is_lost(
    tmp_path: Path, capsys: Capture, blocks: int
) -> None:
    pictures, store = make_folder(tmp_path / "pictures", per_class=40), tmp_path / "store"
    words = ["run", pictures, "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--device", "cpu"]
    words += ["--batch-size", 8, "--store", store]
    limited = subprocess.run(
        ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "bash", sys.executable, "-m", "core", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    said = [line for line in limited.stderr.splitlines() if line.startswith("whylook: ")]
    assert (limited.returncode, len(said)) == (2, 1), limited.stderr
    assert "cannot write" in said[0] or "cannot publish" in said[0]
    assert "Traceback" not in limited.stderr
    assert not list(store.glob("shards/*/.*.tmp")) and not list(store.glob(".building-*"))
    kept = len(list((store / "shards" / "predictions").glob("part-*.parquet")))
    assert kept == (0 if blocks == 4 else 15)
    assert whylook(capsys, *words).code == 0
    con = Store(store).reader()
    assert con.execute("SELECT count(prediction), count(DISTINCT image_id) FROM samples").fetchall() == [(120, 120)]
    assert len(list((store / "shards" / "predictions").glob("part-*.parquet"))) == 15
