"""Exports of a slice, each read back by the package it is for; names, places and disks that are against it."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import duckdb
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.commands.main import main
from core.errors import QueryError, RequestError
from core.export.export import export, rows_of
from core.queries import run_sql
from core.store.extensions import extension_file
from core.store.quoting import literal
from tests.support.command_line import refusal, whylook
from tests.support.slice_files import CHANGED, GONE, LOST, NAMES, World, world
from tests.support.store_factory import make_store

ALL = "SELECT * FROM samples ORDER BY path"
NOT_ORIGINAL = {CHANGED, GONE, LOST}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("exports"))


def by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in rows}


def samples(made: World) -> dict[str, dict[str, Any]]:
    return by_id(run_sql(made.store, ALL).rows)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_parquet_and_csv_hold_every_row_of_a_query(made: World, tmp_path: Path) -> None:
    sql = "SELECT image_id, run, label, score, correct, tags, file FROM samples ORDER BY score"
    asked = run_sql(made.store, sql).table
    assert export(made.store, made.run, sql, tmp_path / "x.parquet", "parquet").rows == len(NAMES)
    assert pq.read_table(tmp_path / "x.parquet").equals(asked)
    export(made.store, made.run, sql, tmp_path / "x.csv", "csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image_id"] for row in rows] == asked["image_id"].to_pylist()
    assert {row["file"] for row in rows} == {"'=1+1"}  # no spreadsheet runs it
    many = "SELECT i AS n FROM range(6001) AS t(i)"
    assert rows_of(made.store, made.run, many).num_rows == 6001  # more than a page shows


def test_a_zip_holds_originals_under_safe_names_and_says_which_are_thumbnails(made: World, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    said = export(
        made.store, made.run, ALL, tmp_path / "x.zip", "zip", overlays=True, tell=lambda *news: seen.append(news)
    )
    assert (said.originals, said.thumbnails, said.missing) == (12, 2, 1)
    assert "2 pictures only as the kept thumbnail" in said.note and "1 picture left out" in said.note
    assert seen == [(place, 15) for place in range(1, 16)]
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len({name.casefold() for name in names}) == len(names) == 14 + 14 + 2
        assert all(re.fullmatch(r"(pictures|overlays)/\w[\w.-]*|samples\.csv|whylook\.json", name) for name in names)
        assert all(len(name.encode()) < 200 for name in names)
        listed = by_id(list(csv.DictReader(io.StringIO(archive.read("samples.csv").decode()))))
        asked = samples(made)
        assert set(listed) == set(made.ids)
        for place, image_id in enumerate(made.ids):
            row = listed[image_id]
            kind = "missing" if place == LOST else "thumbnail" if place in NOT_ORIGINAL else "original"
            assert (row["picture"], row["label"]) == (kind, asked[image_id]["label"] or "")
            assert row["file_"] == "'=1+1" and row["image"] == f"no {place}"
            if kind == "original":
                assert archive.read(row["file"]) == made.originals[image_id]
            if kind != "missing":
                size = Image.open(io.BytesIO(archive.read(row["file"]))).size
                assert Image.open(io.BytesIO(archive.read(row["overlay"]))).size == size
        about = json.loads(archive.read("whylook.json"))
    assert (about["run"], about["sql"], about["original"], about["thumbnail"]) == (made.run, ALL, 12, 2)


def test_hugging_face_reads_pictures_classes_and_columns(
    made: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    export(made.store, made.run, ALL, tmp_path / "x.parquet", "huggingface")
    found = datasets.load_dataset("parquet", data_files=str(tmp_path / "x.parquet"), cache_dir=str(tmp_path))["train"]
    assert found.features["label"] == datasets.ClassLabel(names=["cow", "camel", "horse"])
    assert found.features["image"] == datasets.Image() and found.features["tags"] == datasets.List(
        datasets.Value("string")
    )
    name, asked = found.features["prediction"].int2str, samples(made)
    assert [row["image_id"] for row in found] == [row["image_id"] for row in run_sql(made.store, ALL).rows]
    for row in found:
        wanted, original = asked[row["image_id"]], made.originals[row["image_id"]]
        assert name(row["prediction"]) == wanted["prediction"]
        assert (None if row["label"] is None else name(row["label"])) == wanted["label"]
        same = ("score", "confidence", "correct", "description", "habitat", "night")
        assert {key: row[key] for key in same} == {key: wanted[key] for key in same}
        assert row["image_"] == wanted["image"] and sorted(row["tags"]) == sorted(wanted["tags"])
        place = made.ids.index(row["image_id"])
        if place not in NOT_ORIGINAL:
            assert list(row["image"].getdata()) == list(Image.open(io.BytesIO(original)).getdata())
        assert (row["image"] is None) == (place == LOST)
    assert {tuple(row["tags"]) for row in found} == {(), ("dark",)}


def test_label_studio_takes_tasks_and_page(made: World, tmp_path: Path) -> None:
    out = tmp_path / "to label & check"
    export(made.store, made.run, ALL, out, "label-studio")
    tasks = json.loads((out / "tasks.json").read_text())
    page = (out / "config.xml").read_text()
    offered = [choice.get("value") for choice in ElementTree.fromstring(page).iter("Choice")]
    asked = samples(made)
    assert offered == ["cow", "camel", "horse"] and len(tasks) == 14
    for task in tasks:
        prefix, _, place = task["data"]["image"].partition("?d=")
        assert prefix == "/data/local-files/" and (tmp_path / unquote(place)).is_file()
        (said,) = task["predictions"]
        wanted = asked[task["data"]["image_id"]]
        assert said["result"][0]["value"]["choices"] == [wanted["prediction"]]
        assert (said["model_version"], said["score"]) == (made.run, wanted["confidence"])
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface(page)
    interface.validate()
    for task in tasks:
        assert interface.validate_prediction(task["predictions"][0])
        assert interface.validate_task({"data": task["data"]})
    tasks[0]["predictions"][0]["result"][0]["value"]["choices"] = ["zebra"]
    assert not interface.validate_prediction(tasks[0]["predictions"][0])


def test_fiftyone_finds_labels_predictions_and_fields(made: World, tmp_path: Path) -> None:
    out, asked = tmp_path / "for-fiftyone", samples(made)
    export(made.store, made.run, ALL, out, "fiftyone")
    listed = json.loads((out / "samples.json").read_text())["samples"]
    labels = json.loads((out / "labels.json").read_text())
    assert labels["classes"] == ["cow", "camel", "horse"] and len(listed) == 14
    assert set(labels["labels"]) == {Path(row["filepath"]).stem for row in listed}
    assert {row["filepath"] for row in listed} == {f"data/{path.name}" for path in (out / "data").iterdir()}
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    known = importers.FiftyOneDatasetImporter(str(out))
    assert known._is_legacy_format_data()  # what Dataset.from_dir asks before it chooses the importer
    known = known._to_legacy_importer()
    known.setup()
    found = list(known)
    assert len(found) == 14
    for sample in found:
        wanted = asked[sample["image_id"]]
        assert Path(sample.filepath).is_file() and sample.tags == sorted(wanted["tags"])
        assert (sample["ground_truth"] and sample["ground_truth"].label) == wanted["label"]
        assert sample["prediction"].label == wanted["prediction"]
        assert sample["prediction"].confidence == pytest.approx(wanted["confidence"])
        assert {key: sample[key] for key in ("score", "cell", "description", "habitat")} == {
            key: wanted[key] for key in ("score", "cell", "description", "habitat")
        }
    plain = importers.FiftyOneImageClassificationDatasetImporter(str(out))
    plain.setup()
    read = {Path(path).stem: label for path, _, label in plain}
    assert {stem: label and label.label for stem, label in read.items()} == {
        Path(row["filepath"]).stem: asked[row["image_id"]]["label"] for row in listed
    }


def test_what_is_there_is_only_replaced_on_a_word_and_never_what_others_made(made: World, tmp_path: Path) -> None:
    file, folder, mine = tmp_path / "x.zip", tmp_path / "holidays", tmp_path / "mine"
    file.write_bytes(b"precious")
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"precious")
    for place, form, overwrite, words in (
        (file, "zip", False, "--overwrite"),
        (folder, "fiftyone", False, "--overwrite"),
        (folder, "fiftyone", True, "no export of whylook made"),
        (folder, "zip", True, "this form needs a file"),
        (file, "fiftyone", True, "this form needs a folder"),
    ):
        with pytest.raises(RequestError, match=words):
            export(made.store, made.run, ALL, place, form, overwrite=overwrite)
    assert file.read_bytes() == (folder / "photo.jpg").read_bytes() == b"precious"
    export(made.store, made.run, ALL, file, "zip", overwrite=True)
    assert zipfile.is_zipfile(file)
    for sql in (ALL, f"{ALL} LIMIT 2"):
        export(made.store, made.run, sql, mine, "fiftyone", overwrite=True)
    assert len(list((mine / "data").iterdir())) == 2
    assert left_in(tmp_path) == []


def test_what_a_killed_export_left_is_cleared_by_the_next_and_that_of_a_running_one_is_not(
    made: World, tmp_path: Path
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    killed, running = (tmp_path / f".x.csv.{number}.part" for number in (gone.pid, 1))
    killed.write_bytes(b"half")
    running.write_bytes(b"half")
    export(made.store, made.run, ALL, tmp_path / "x.csv", "csv")
    assert not killed.exists() and running.exists()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["csv", "zip", "huggingface", "label-studio", "fiftyone"])
def test_a_disk_that_takes_no_more_leaves_what_was_there(made: World, tmp_path: Path, form: str) -> None:
    place = tmp_path / "x"
    export(made.store, made.run, f"{ALL} LIMIT 1", place, form)
    read = place if place.is_file() else place / "whylook.json"
    before = read.read_bytes()
    with no_file_larger_than(2000), pytest.raises(RequestError, match=r"cannot write .*x: File too large"):
        export(made.store, made.run, ALL, place, form, overwrite=True)
    assert read.read_bytes() == before and left_in(tmp_path) == []


def test_an_export_that_is_stopped_leaves_nothing(made: World, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    for form in ("zip", "fiftyone", "huggingface"):
        with pytest.raises(KeyboardInterrupt):
            export(made.store, made.run, ALL, tmp_path / "x", form, tell=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_while_an_export_was_made_is_not_replaced(made: World, tmp_path: Path) -> None:
    place = tmp_path / "x.zip"

    def someone_else(done: int, total: int) -> None:
        place.write_bytes(b"precious")

    with pytest.raises(RequestError, match="is there already"):
        export(made.store, made.run, ALL, place, "zip", tell=someone_else)
    assert place.read_bytes() == b"precious" and left_in(tmp_path) == []


def test_a_query_that_gives_no_picture_is_said(made: World, tmp_path: Path) -> None:
    for sql, error, words in (
        ("SELECT label FROM samples", RequestError, "add image_id"),
        ("SELECT * FROM samples WHERE false", RequestError, "no picture of run"),
        ("DROP TABLE samples", QueryError, "only one SELECT"),
    ):
        with pytest.raises(error, match=words):
            export(made.store, made.run, sql, tmp_path / "x.zip", "zip")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_and_says_how_to_open_it(
    made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", made.store.folder)
    said = whylook(capsys, "export", *store, "--to", tmp_path / "x.zip", "--sql", f"{ALL} LIMIT 3", "--overlays")
    assert (said.code, said.out) == (0, f"written: {tmp_path / 'x.zip'} (3 pictures)\n")
    assert "3 of 3" in said.err and "samples.csv" in said.err
    said = whylook(capsys, "export", *store, "--to", tmp_path / "y.csv", "-q")
    assert said.out.endswith("(15 rows)\n") and len((tmp_path / "y.csv").read_text().splitlines()) >= 16
    assert "--as is needed" in refusal(capsys, "export", *store, "--to", tmp_path / "z")
    assert "--overlays goes with" in refusal(capsys, "export", *store, "--to", tmp_path / "z.csv", "--overlays")
    assert "is there already" in refusal(capsys, "export", *store, "--to", tmp_path / "x.zip")
    assert "cannot write" in refusal(capsys, "export", *store, "--to", tmp_path / "nowhere" / "x.zip")


def test_the_whole_store_is_a_duckdb_file_or_a_folder_of_parquet_that_others_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    con = store.reader()
    expected = con.execute("SELECT * FROM samples ORDER BY path").to_arrow_table()
    assert main(["export", "--store", str(store.folder), "--to", str(tmp_path / "all.duckdb"), "-q"]) == 0
    assert "24 rows" in capsys.readouterr().out
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT * FROM samples ORDER BY path").to_arrow_table().equals(expected)
        names = {row[0] for row in copy.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        assert {"samples", "images", "predictions", "attributions", "checks", "judgements", "runs"} <= names
        for table in ("images", "predictions", "attributions", "checks", "judgements", "embeddings"):
            counts = [each.execute(f"SELECT count(*) FROM {table}").fetchall() for each in (copy, con)]
            assert counts[0] == counts[1] != [(0,)], table
    words = ["export", "--store", str(store.folder), "--as", "tables", "--to", str(tmp_path / "all")]
    assert main([*words, "-q"]) == 0
    found = duckdb.sql(f"SELECT * FROM read_parquet('{tmp_path}/all/samples/**/*.parquet', hive_partitioning = true)")
    assert (tmp_path / "all" / "samples" / f"run={run}").is_dir()
    assert found.order("path").select(*expected.column_names).to_arrow_table().to_pylist() == expected.to_pylist()
    assert main([*words, "-q"]) == 2 and main([*words, "-q", "--overwrite"]) == 0
    capsys.readouterr()
    assert main([*words, "--overwrite", "--sql", "SELECT 1"]) == 2
    assert "leave --sql out" in capsys.readouterr().err
    assert main(["export", "--store", str(tmp_path / "none"), "--as", "tables", "--to", str(tmp_path / "x")]) == 2


def test_the_whole_store_is_a_ducklake_that_duckdb_attaches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = make_store(tmp_path / "store", rows=24)
    place = tmp_path / "lake, 'mine'"
    assert main(["export", "--store", str(store.folder), "--as", "ducklake", "--to", str(place), "-q"]) == 0
    assert "24 rows" in capsys.readouterr().out
    with duckdb.connect() as con:
        con.execute(f"LOAD {literal(extension_file('ducklake'))}")
        con.execute(f"ATTACH {literal(f'ducklake:{place}/catalog.ducklake')} AS lake (READ_ONLY)")
        found = con.execute("SELECT * FROM lake.samples ORDER BY path").fetchall()
        assert found == store.reader().execute("SELECT * FROM samples ORDER BY path").fetchall()
        for table, kept in (("embeddings", "vector"), ("predictions", "probabilities"), ("images", "thumbnail")):
            words = f"SELECT {kept} FROM {{}}{table} ORDER BY image_id"
            assert con.execute(words.format("lake.")).fetchall() == [
                (list(row[0]) if isinstance(row[0], tuple) else row[0],)
                for row in store.reader().execute(words.format("")).fetchall()
            ]
