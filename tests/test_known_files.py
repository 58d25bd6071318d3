"""A file is read once for its hash, and again whenever anything about it changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.images import folders, scan
from core.images.known_files import KnownFiles
from tests.support.tiny_world import make_folder


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 24 pictures that changed a while ago."""
    monkeypatch.setattr("core.images.known_files._SETTLED_NS", 0)
    return make_folder(tmp_path / "pictures")


def read_by(pictures: Path, known: KnownFiles, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Ids that a scan gives, and the names of the files that it read."""
    read: list[str] = []
    opened = folders.open_regular

    def noted(path: Path):  # noqa: ANN202
        read.append(path.name)
        return opened(path)

    monkeypatch.setattr(folders, "open_regular", noted)
    found = scan(pictures, known=known)
    monkeypatch.setattr(folders, "open_regular", opened)
    return sorted(entry.image_id for entry in found.entries), sorted(read)


def test_a_second_scan_reads_no_file_and_finds_the_same(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownFiles()
    ids, read = read_by(pictures, known, monkeypatch)
    assert len(ids) == len(read) == 24
    known.save(tmp_path / "kept")
    again, nothing = read_by(pictures, KnownFiles(tmp_path / "kept"), monkeypatch)
    assert again == ids and nothing == []


@pytest.mark.parametrize("change", ["bytes", "same size and time", "other file", "link"])
def test_whatever_changed_is_read_again(
    change: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownFiles()
    ids, _ = read_by(pictures, known, monkeypatch)
    known.save(tmp_path / "kept")
    first, second = sorted(pictures.rglob("*.png"))[:2]
    about = first.stat()
    if change == "bytes":
        first.write_bytes(second.read_bytes())
    elif change == "same size and time":
        data = bytearray(first.read_bytes())
        data[-20] ^= 1
        with first.open("r+b") as handle:
            handle.write(data)
        os.utime(first, ns=(about.st_atime_ns, about.st_mtime_ns))
    elif change == "other file":
        second.replace(first)
    else:
        first.unlink()
        first.symlink_to(second)
    again, read = read_by(pictures, KnownFiles(tmp_path / "kept"), monkeypatch)
    assert first.name in read and again != ids
    assert again == read_by(pictures, KnownFiles(), monkeypatch)[0]


def test_a_file_that_changed_just_now_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = make_folder(tmp_path / "pictures")
    known = KnownFiles()
    read_by(pictures, known, monkeypatch)
    known.save(tmp_path / "kept")
    assert len(read_by(pictures, KnownFiles(tmp_path / "kept"), monkeypatch)[1]) == 24


@pytest.mark.parametrize("damage", [b"", b"PAR1 rubbish PAR1"])
def test_a_damaged_file_of_known_files_is_as_none(
    damage: bytes, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").write_bytes(damage)
    assert len(read_by(pictures, KnownFiles(tmp_path / "kept"), monkeypatch)[1]) == 24
