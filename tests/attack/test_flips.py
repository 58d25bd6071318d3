"""One byte flips, anywhere in any file of a store: it is noticed and made good, or it changes nothing.

Each flip is followed by reads, by the same run again, and by a comparison of every column with an undisturbed store.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from core import queries
from core.errors import WhylookError
from core.records import Failure
from core.store import Store, open_for_writing
from core.store.shards import read_shard, shard_paths
from tests.support.command_line import whylook
from tests.support.store_factory import PRINTS, synthetic_rows
from tests.support.tiny_world import make_folder, make_model

FLIPS = 50
FINISHED = 7
"""Every seventh flip is followed by the whole run and a comparison of every column; the others by a writer's check."""
THROUGH_THE_COMMAND_LINE = 15
CLASSES = ("cow", "camel")
STAGES = {"images": "images", "predictions": "classifier", "attributions": "attribution"}
STAGES |= {"checks": "causal", "judgements": "judge", "embeddings": "embedding"}
ROWS = synthetic_rows(24, list(CLASSES), seed=4, pictures=False)
BESIDE = {
    "judge_card": [
        {"image_id": image, "control": control, "told": "cow", "state": "ok", "score": 2.0}
        for image in "xyz"
        for control in ("grey", "noise")
    ],
    "faithfulness": [{"image_id": image, "morf": 0.5} for image in "xyz"],
}
"""Tables of no stage; one picture has several rows of the judge's card."""
VOLATILE = "started, finished, attempt, listing_attempt"
TABLES = (
    "images",
    "predictions",
    "attributions",
    "checks",
    "judgements",
    "embeddings",
    "judge_card",
    "faithfulness",
    "failures",
    "samples",
    "slices",
    "deck",
)
Capture = pytest.CaptureFixture[str]


def work(folder: Path) -> list[str]:
    """A run as the pipeline does it, with rows that are known: what is not done is written, and all is published.

    Returns:
        The damaged files it found.
    """
    with open_for_writing(folder) as writer:
        writer.check()
        run = writer.begin_run({"images": "made"}, PRINTS, class_names=CLASSES)
        for table, stage in STAGES.items():
            done = writer.done(stage, PRINTS[stage])
            missing = [row for row in ROWS[table] if image_id(row) not in done]
            for start in range(0, len(missing), 8):
                writer.write(table, missing[start : start + 8], fingerprint=PRINTS[stage])
        for table, rows in BESIDE.items():
            if not read_rows(folder, table):
                writer.write(table, rows, fingerprint=PRINTS["judge"])
        writer.write("failures", [Failure("images", None, "cow/broken.png", "the file is empty")], run=run)
        writer.report_progress(run=run, stage="judge", done=24, total=24)
        writer.finish_run(run, "done", {"pictures": 24, "failures": 1})
        writer.publish()
        for table, stage in STAGES.items():
            assert len(writer.done(stage, PRINTS[stage])) == len(ROWS[table])
        return [damage.file for damage in writer.damaged()]


def mended(folder: Path, path: Path) -> None:
    """A writer's check, without the run: the damaged file stands aside, and all that is done can be believed."""
    with open_for_writing(folder) as writer:
        writer.check()
        if path.parent.parent.name == "shards":
            assert [damage.file for damage in writer.damaged()] == [shard(path)]
            assert list((folder / "damaged").rglob(path.name))
        lost = Counter({damage.file.partition("/")[0]: damage.rows for damage in writer.damaged()})
        if any("restored" in damage.remedy for damage in writer.damaged()):
            lost.clear()
        for table, stage in STAGES.items():
            done, known = writer.done(stage, PRINTS[stage]), {image_id(row) for row in ROWS[table]}
            assert done <= known and len(known - done) == lost[table], (path.name, table)


def read_rows(folder: Path, table: str) -> int:
    return sum(len(read_shard(path)) for path in shard_paths(folder / "shards" / table))


def shard(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def image_id(row: Any) -> str:
    return str(row["image_id"] if isinstance(row, dict) else row.image_id)


def contents(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every column of every table, save what depends on the clock."""
    con = Store(folder).reader()
    found = {
        name: con.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in TABLES if name != "failures"
    }
    found["runs"] = con.execute(f"SELECT * EXCLUDE ({VOLATILE}) FROM runs ORDER BY run").fetchall()
    found["failures"] = con.execute("SELECT * EXCLUDE (attempt) FROM failures").fetchall()
    return found


def look(folder: Path) -> dict[str, object]:
    """What readers see, or the one line that they are told."""
    views: dict[str, Callable[[Store], object]] = {
        "runs": lambda store: [(run["run"], run["state"], run["counts"]) for run in store.run_records()],
        "slices": lambda store: [(entry["name"], entry["sql"]) for entry in store.slices()],
        "generation": lambda store: store.generation(),
        "rows": lambda store: store.reader().execute("SELECT * FROM samples ORDER BY ALL").fetchall(),
        "maps": lambda store: store.reader().execute("SELECT * FROM attributions ORDER BY ALL").fetchall(),
    }
    seen: dict[str, object] = {}
    for name, view in views.items():
        try:
            seen[name] = view(Store(folder))
        except WhylookError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
            seen[name] = error
    try:
        Store(folder).progress()
    except WhylookError as error:
        assert str(folder) in str(error)
    return seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two attempts and two generations, with things kept in it."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    work(folder)
    store = Store(folder)
    for name in ("cows", "camels"):
        store.save_slice(name, f"SELECT * FROM samples WHERE label = '{name[:-1]}'")
    store.save_slide("first", {"title": "Cows", "kind": "text", "run": "r"})
    work(folder)
    return folder


@pytest.fixture(scope="module")
def expected(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], dict[str, Any]]:
    """What an undisturbed store shows, and what it holds after one more attempt."""
    folder = tmp_path_factory.mktemp("expected") / "store"
    shutil.copytree(whole, folder)
    seen = look(folder)
    work(folder)
    return seen, contents(folder)


def flip_somewhere(path: Path, chance: random.Random) -> int:
    """Turns one random bit of a file."""
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return at


KINDS = [f"shards/{table}/part-*.parquet" for table in (*STAGES, *BESIDE, "failures")]
KINDS += ["store-000002.duckdb", "store-000001.duckdb", "CURRENT", "runs/*.json", "runs/*.bak", "saved.json"]
KINDS += ["saved.json.bak", "store.json", "run-progress.json", "write.lock"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_flip_is_noticed_or_without_effect(
    kind: str, whole: Path, expected: tuple[dict[str, object], dict[str, Any]], tmp_path: Path
) -> None:
    chance = random.Random(kind)
    wanted, finished = expected
    for number in range(FLIPS):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        if kind.startswith("shards") and number % 2:  # what was never published cannot be restored, only done again
            for path in (*folder.glob("store-*.duckdb"), folder / "CURRENT"):
                path.unlink()
        path = chance.choice(sorted(folder.glob(kind)))
        at = flip_somewhere(path, chance)
        said = f"{path.name} at {at}"
        for name, seen in look(folder).items():  # never another figure: what is seen is right, or it is an error
            if not kind.startswith("shards"):
                assert isinstance(seen, WhylookError) or seen == wanted[name], (said, name)
        if number % FINISHED:
            mended(folder, path)
        else:
            damaged = work(folder)
            assert not kind.startswith("shards") or damaged == [shard(path)], said
            after = contents(folder)
            for table, rows in finished.items():
                assert after[table] == rows, (said, table)
        shutil.rmtree(folder)


def test_flips_through_the_command_line(tmp_path: Path, capsys: Capture) -> None:
    chance = random.Random(5)
    pictures, model = make_folder(tmp_path / "pictures", per_class=3), make_model(tmp_path)
    words = ["run", pictures, "--classifier", f"{model}:tiny", "--no-vlm", "--device", "cpu", "--batch-size", "3"]
    whole = tmp_path / "whole"
    assert whylook(capsys, *words, "--store", whole).code == 0
    wanted = columns_of(whole)
    kinds = ["shards/*/part-*.parquet", "store-*.duckdb", "runs/*.json", "CURRENT", "store.json"]
    for number in range(THROUGH_THE_COMMAND_LINE):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        kind = kinds[number % len(kinds)]
        path = chance.choice(sorted(folder.glob(kind)))
        at = flip_somewhere(path, chance)
        answer = whylook(capsys, "runs", "--store", folder)
        assert answer.code == 0 and answer.out.count("r-") == 1
        answer = whylook(capsys, "sql", "SELECT count(*) AS n, avg(confidence) AS c FROM samples", "--store", folder)
        assert answer.code == 0 or (answer.code == 2 and len(answer.err.splitlines()) == 1 and "again" in answer.err)
        answer = whylook(capsys, *words, "--store", folder)
        lines = [line for line in answer.err.splitlines() if line.startswith("damaged: ")]
        assert (answer.code, len(lines)) == ((1, 1) if lines else (0, 0)), answer
        assert bool(lines) or not kind.startswith("shards"), (path, at)
        assert columns_of(folder) == wanted, (path, at)


def columns_of(folder: Path) -> list[tuple[Any, ...]]:
    con: duckdb.DuckDBPyConnection = Store(folder).reader()
    (run,) = queries.runs(con)
    assert run.state == "done" and run.counts["pictures"] == 9
    joined = """SELECT s.* EXCLUDE (run), a.map, p.probabilities, i.thumbnail FROM samples s
        JOIN attributions a USING (image_id) JOIN predictions p USING (image_id) JOIN images i USING (image_id)
        ORDER BY s.path"""
    return con.execute(joined).fetchall()
