"""Folders and lists: what is found, with which label and metadata, and what is refused with which words."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import RequestError
from core.images import decode, scan
from tests.support.pictures import save


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
