"""A shard that is damaged: a run notices it, sets it aside and does its pictures again; the app names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.store import Store, StoreWriter, open_for_writing
from pages._words import plain
from tests.support.command_line import whylook
from tests.support.flips import flip, shards
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The words of a run of 15 pictures into tmp_path/store, in shards of 4."""
    pictures = make_folder(tmp_path / "pictures", per_class=5)
    words = ["run", str(pictures), "--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--device", "cpu"]
    return [*words, "--batch-size", "4", "--store", str(tmp_path / "store")]


def rows(store: Path) -> list[tuple[object, ...]]:
    return Store(store).reader().execute("SELECT * EXCLUDE (run) FROM samples ORDER BY path").fetchall()


def test_a_run_says_what_is_damaged_sets_it_aside_and_loses_nothing(
    tmp_path: Path, capsys: Capture, words: list[str]
) -> None:
    store = tmp_path / "store"
    assert whylook(capsys, *words).code == 0
    before = rows(store)
    bad = shards(store, "attributions")[1]
    flip(bad)
    answer = whylook(capsys, *words)
    assert answer.code == 1
    said = [line for line in answer.err.splitlines() if line.startswith("damaged: ")]
    assert len(said) == 1 and bad.name in said[0] and " 4 rows; " in said[0] and "4 rows restored" in said[0]
    assert rows(store) == before
    assert (store / "damaged" / "shards" / "attributions" / bad.name).is_file() and not bad.exists()
    assert [damage.sentence for damage in Store(store).set_aside()] == [said[0].removeprefix("damaged: ")]
    assert whylook(capsys, *words).code == 0  # and then all is well again


def test_pictures_that_were_not_published_yet_are_done_again_in_the_same_run(
    tmp_path: Path, capsys: Capture, words: list[str]
) -> None:
    store = tmp_path / "store"
    whylook(capsys, *words)
    before = rows(store)
    for path in [*store.glob("store-*.duckdb"), store / "CURRENT"]:
        path.unlink()
    for table in ("images", "predictions", "attributions"):
        flip(shards(store, table)[2], at=-9)
    answer = whylook(capsys, *words)
    assert answer.code == 1 and answer.err.count("damaged: ") == 3 and "recomputed: this run's now" in answer.err
    after = rows(store)
    assert [row[:6] for row in after] == [row[:6] for row in before]
    assert [row[7] for row in after] == pytest.approx([row[7] for row in before], abs=1e-5)
    assert None not in [row[17] for row in after]


def test_what_is_damaged_while_the_run_works_is_done_again_before_it_ends(
    tmp_path: Path, capsys: Capture, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    write, spoilt = StoreWriter.write, []

    def write_and_spoil(self: StoreWriter, table: str, *arguments: object, **options: object) -> Path | None:
        path = write(self, table, *arguments, **options)  # type: ignore[arg-type]
        if path and table == "attributions" and not spoilt:
            spoilt.append(path)
            flip(path)
        return path

    monkeypatch.setattr(StoreWriter, "write", write_and_spoil)
    answer = whylook(capsys, *words)
    assert answer.code == 1 and spoilt[0].name in answer.err
    assert "attributed 15" in answer.out and len(rows(store)) == 15
    assert whylook(capsys, *words).code == 0


def test_the_page_runs_names_what_was_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run = make_store(tmp_path, rows=12)
    bad = shards(tmp_path, "predictions")[0]
    flip(bad)
    with open_for_writing(store.folder) as writer:
        writer.check()
        writer.publish()
    _, lost = make_store(tmp_path, rows=7)
    for name in (f"{lost}.json", f"{lost}.json.bak"):
        flip(tmp_path / "runs" / name)
    app = opened(monkeypatch, "runs", tmp_path, run=run)
    assert not app.exception and not app.error
    assert "2 files of this store were damaged" in words_on(app)
    told = words_on(app)
    assert plain(bad.name) in told and plain(f"the record of run {lost}") in told
    assert plain("rows restored from the published store") in told and "Nothing is missing" not in told
    shutil.rmtree(tmp_path / "damaged")
    app.run()
    assert plain(bad.name) not in words_on(app)
