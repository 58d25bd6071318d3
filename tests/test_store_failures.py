"""Failures in the store: what stands is not written again, and every attempt shows what it showed before that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from core import queries
from core.records import Failure
from core.store import Store, StoreWriter, open_for_writing
from tests.support.store_factory import image, prediction

PRINTS = {"images": "i", "classifier": "c", "judge": "j"}


def attempt(folder: Path, *calls: Sequence[Failure], rows: Sequence[str] = (), publish: bool = True) -> int:
    """One attempt at the run: these failures, then predictions of `rows`; how many shards of failures it wrote."""
    with open_for_writing(folder) as writer:
        run = writer.begin_run({}, PRINTS, class_names=["cow", "camel"])
        writer.write("images", [image(name) for name in "xyz"], fingerprint="i")
        written = sum(writer.write("failures", call, run=run) is not None for call in calls)
        if rows:
            writer.write("predictions", [prediction(name) for name in rows], fingerprint="c")
        if publish:
            writer.publish()
    return written


def shown(folder: Path) -> list[tuple[str, str]]:
    """Path and reason of the failures that stand, as published and as made from the shards alone."""
    for generation in (True, False):
        if not generation:
            for path in folder.glob("store-*.duckdb"):
                path.unlink()
            with open_for_writing(folder) as writer:
                writer.publish()
        con = Store(folder).reader()
        found = sorted((row["path"], row["reason"]) for row in queries.failures(con, queries.run(con).name))
        if generation:
            before = found
    assert found == before
    return found


def of_file(path: str, reason: str = "empty") -> Failure:
    return Failure("images", None, path, reason)


def of_picture(name: str, reason: str = "late") -> Failure:
    return Failure("classifier", name, f"cow/{name}.png", reason)


def test_the_same_failures_in_other_calls_are_written_once(tmp_path: Path) -> None:
    assert attempt(tmp_path, [of_file("a"), of_file("b")], [of_picture("x")], [of_picture("y")]) == 3
    assert attempt(tmp_path, [of_file("b"), of_file("a")], [of_picture("y"), of_picture("x")]) == 0
    assert attempt(tmp_path, [of_file("a"), of_file("b"), of_picture("x"), of_picture("y")]) == 0
    assert [path for path, _ in shown(tmp_path)] == ["a", "b", "cow/x.png", "cow/y.png"]


@pytest.mark.parametrize("files", [["a"], ["a", "b", "c"], ["c"], []])
def test_other_files_that_cannot_be_read_take_the_place_of_the_earlier_ones(tmp_path: Path, files: list[str]) -> None:
    attempt(tmp_path, [of_file("a"), of_file("b")])
    assert attempt(tmp_path, [of_file(name) for name in files]) == bool(files)
    assert [path for path, _ in shown(tmp_path)] == files
    assert attempt(tmp_path, [of_file(name) for name in files]) == 0
    assert [path for path, _ in shown(tmp_path)] == files


def test_a_file_that_fails_later_in_the_same_attempt_stands_beside_those_that_stood(tmp_path: Path) -> None:
    attempt(tmp_path, [of_file("a")])
    assert attempt(tmp_path, [of_file("a")], [of_file("b")], [of_file("a"), of_file("b")]) == 1
    assert [path for path, _ in shown(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("first", [[], ["b"]])
def test_files_that_are_noted_after_a_publication_stand(tmp_path: Path, first: list[str]) -> None:
    attempt(tmp_path, [of_file("a")])
    with open_for_writing(tmp_path) as writer:
        run = writer.begin_run({}, PRINTS, class_names=["cow", "camel"])
        writer.write("failures", [of_file(name) for name in first], run=run)
        writer.publish()
        writer.write("failures", [of_file("a")], run=run)
        writer.publish()
    assert [path for path, _ in shown(tmp_path)] == ["a", *first]


def test_a_picture_that_fails_for_another_reason_has_that_reason(tmp_path: Path) -> None:
    attempt(tmp_path, [of_picture("x")])
    assert attempt(tmp_path, [of_picture("x", "no room")]) == 1
    assert shown(tmp_path) == [("cow/x.png", "no room")]
    assert attempt(tmp_path, [of_picture("x")]) == 1
    assert shown(tmp_path) == [("cow/x.png", "late")]


def test_two_reasons_of_one_picture_in_one_attempt_both_stand(tmp_path: Path) -> None:
    attempt(tmp_path, [of_picture("x")])
    assert attempt(tmp_path, [of_picture("x")], [of_picture("x", "no room")]) == 1
    assert shown(tmp_path) == [("cow/x.png", "late"), ("cow/x.png", "no room")]
    assert attempt(tmp_path, [of_picture("x")]) == 1
    assert shown(tmp_path) == [("cow/x.png", "late")]


def test_a_failure_beside_the_row_that_was_wanting_is_written_by_each_attempt_that_meets_it(tmp_path: Path) -> None:
    attempt(tmp_path, [of_picture("x")], rows=["x"])
    assert shown(tmp_path) == [("cow/x.png", "late")]
    assert attempt(tmp_path, [of_picture("x")]) == 1
    assert shown(tmp_path) == [("cow/x.png", "late")]
    assert attempt(tmp_path) == 0
    assert shown(tmp_path) == []


def test_what_an_attempt_wrote_and_did_not_live_to_publish_is_not_taken_for_what_stands(tmp_path: Path) -> None:
    attempt(tmp_path, [of_file("a"), of_picture("x")])
    attempt(tmp_path, [of_file("b"), of_picture("x", "no room")], publish=False)
    attempt(tmp_path, [of_file("a"), of_picture("x")])
    assert shown(tmp_path) == [("a", "empty"), ("cow/x.png", "late")]


def test_failures_noted_outside_an_attempt_are_written(tmp_path: Path) -> None:
    attempt(tmp_path, [of_picture("x")])

    def again(writer: StoreWriter, run: str) -> bool:
        return writer.write("failures", [of_picture("x")], run=run) is not None

    run = Store(tmp_path).run_records()[0]["run"]
    with open_for_writing(tmp_path) as writer:
        assert again(writer, run) and not again(writer, run)


def test_records_of_before_name_no_attempt_that_listed_the_files(tmp_path: Path) -> None:
    attempt(tmp_path, [of_file("a")], [of_picture("x")])
    for path in (tmp_path / "runs").iterdir():
        record = json.loads(path.read_bytes())
        del record["listing_attempt"], record["checksum"]
        path.write_text(json.dumps(record))
    assert shown(tmp_path) == [("a", "empty"), ("cow/x.png", "late")]
    assert attempt(tmp_path, [of_file("a")], [of_picture("x")]) == 0
    assert shown(tmp_path) == [("a", "empty"), ("cow/x.png", "late")]
