import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core import queries
from core.errors import ModelError, RequestError, StoreError
from core.pipeline.prefetch import ahead, chunks
from core.pipeline.request import Progress, RunOutcome, RunRequest, request_from_settings
from core.pipeline.run import run
from core.store import Store, open_for_writing
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow


def quiet(news: Progress) -> None:
    """Progress that nobody watches."""


def go(request: RunRequest) -> RunOutcome:
    return run(request, progress=quiet, stop=lambda: False)


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    pictures = make_folder(tmp_path / "pictures")
    spec = f"{make_model(tmp_path)}:tiny"
    return RunRequest(pictures, spec, no_vlm=True, store=tmp_path / "store", batch_size=5, device="cpu")


def shard_rows(store: Path) -> dict[str, Counter[tuple[str, str]]]:
    """(fingerprint, image_id) of every row in the raw shards, per table."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    for table in ("images", "predictions", "attributions"):
        found[table] = Counter()
        for path in (store / "shards" / table).glob("part-*.parquet"):
            rows = pq.read_table(path, columns=["fingerprint", "image_id"]).to_pylist()
            found[table].update((row["fingerprint"], row["image_id"]) for row in rows)
    return found


def test_a_run_gives_every_picture_a_prediction_a_map_and_its_metadata(request_: RunRequest) -> None:
    outcome = go(request_)
    assert (outcome.state, outcome.failures) == ("done", ())
    assert outcome.counts["pictures"] == outcome.counts["predicted"] == outcome.counts["attributed"] == 24
    con = Store(request_.store).reader()
    counts = queries.run_counts(con, outcome.run)
    assert (counts.pictures, counts.predicted, counts.labelled, counts.not_judged) == (24, 24, 24, 24)
    row = con.execute("SELECT tone, count(*) FROM samples GROUP BY tone ORDER BY tone").fetchall()
    assert row == [("dark", 12), ("light", 12)]
    first = next(row for row in queries.pictures(con, outcome.run, limit=24) if row["attention_area"] is not None)
    sample = queries.sample(con, outcome.run, first["image_id"])
    assert sample.map.max() == pytest.approx(1.0, abs=1e-3)
    assert sample.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert sample.causal_drop is not None and sample.attention_area is not None


def test_the_same_run_again_adds_nothing(request_: RunRequest) -> None:
    first = go(request_)
    before = shard_rows(request_.store)
    second = go(request_)
    assert second.run == first.run
    assert shard_rows(request_.store) == before
    assert second.counts == first.counts


def test_another_method_reuses_predictions_and_keeps_the_maps_apart(request_: RunRequest) -> None:
    first = go(request_)
    second = go(RunRequest(**{**vars(request_), "method": "layercam"}))
    assert second.run != first.run
    rows = shard_rows(request_.store)
    assert sum(rows["predictions"].values()) == sum(rows["images"].values()) == 24
    assert sum(rows["attributions"].values()) == 48
    con = Store(request_.store).reader()
    ids = [row["image_id"] for row in queries.pictures(con, first.run, limit=24)]
    first_maps, second_maps = queries.maps(con, first.run, ids), queries.maps(con, second.run, ids)
    assert any(
        (first_maps[image_id] != second_maps[image_id]).any() for image_id in first_maps.keys() & second_maps.keys()
    )


def test_changed_bytes_are_another_picture_and_the_old_run_stays_as_it_was(request_: RunRequest) -> None:
    first = go(request_)
    changed = request_.images / "red" / "0000.png"
    Image.open(changed).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(changed)
    second = go(request_)
    con = Store(request_.store).reader()
    assert queries.run_counts(con, first.run).pictures == queries.run_counts(con, second.run).pictures == 24
    old, new = ({row["image_id"] for row in queries.pictures(con, name, limit=99)} for name in (first.run, second.run))
    assert len(old & new) == 23
    assert sum(shard_rows(request_.store)["predictions"].values()) == 25


def test_a_moved_picture_keeps_its_prediction_and_gets_its_new_label(request_: RunRequest) -> None:
    go(request_)
    (request_.images / "red" / "0001.png").rename(request_.images / "blue" / "moved.png")
    second = go(request_)
    con = Store(request_.store).reader()
    row = con.execute(
        "SELECT label, label_probability FROM samples WHERE run = ? AND path = 'blue/moved.png'", [second.run]
    ).fetchone()
    assert row is not None and row[0] == "blue"
    image_id = con.execute("SELECT image_id FROM samples WHERE path = 'blue/moved.png'").fetchall()[0][0]
    assert row[1] == pytest.approx(float(queries.sample(con, second.run, image_id).probabilities[0]), abs=1e-6)
    assert sum(shard_rows(request_.store)["predictions"].values()) == 24


def test_a_stopped_run_goes_on_where_it_was(request_: RunRequest) -> None:
    asked = iter([False, False, True])
    stopped = run(request_, progress=quiet, stop=lambda: next(asked))
    assert stopped.state == "interrupted"
    assert stopped.counts["predicted"] == 10
    assert queries.run_counts(Store(request_.store).reader(), stopped.run).predicted == 10
    seen: list[Progress] = []
    resumed = run(request_, progress=seen.append, stop=lambda: False)
    assert (resumed.run, resumed.state, resumed.counts["predicted"]) == (stopped.run, "done", 24)
    assert next(news for news in seen if news.stage == "pictures").done == 10
    assert all(set(rows.values()) == {1} for rows in shard_rows(request_.store).values())


def test_progress_says_stage_rate_and_time_left_and_reaches_the_store(request_: RunRequest) -> None:
    seen: list[Progress] = []
    run(request_, progress=seen.append, stop=lambda: False)
    assert [news.stage for news in seen][:2] == ["reading the folder", "loading models"]
    middle = next(news for news in seen if news.stage == "pictures" and 0 < news.done < 24)
    assert middle.rate and middle.seconds_left
    assert re.fullmatch(r"[a-z ]+ \d+%", middle.limit), middle.limit
    last = Store(request_.store).progress()
    assert last is not None and (last["done"], last["total"], last["alive"]) == (24, 24, False)


def test_a_reader_sees_a_run_while_it_works(request_: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.pipeline.journal.PUBLISH_SECONDS", 0.0)
    monkeypatch.setattr("core.pipeline.journal.PUBLISH_SHARE", 0.0)
    seen: list[int] = []

    def look(news: Progress) -> None:
        store = Store(request_.store)
        if store.exists():
            seen.append(int(store.reader().execute("SELECT count(prediction) FROM samples").fetchall()[0][0]))

    run(request_, progress=look, stop=lambda: False)
    assert seen == sorted(seen)
    assert len({count for count in seen if 0 < count < 24}) >= 2


def test_one_picture_that_the_model_cannot_take_is_recorded_and_the_others_are_not_lost(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures")
    Image.new("RGB", (48, 48), (255, 255, 255)).save(pictures / "red" / "bright.png")
    Image.new("RGB", (48, 48), (0, 0, 0)).save(pictures / "red" / "dark.png")
    request = RunRequest(pictures, f"{make_model(tmp_path)}:grumpy", no_vlm=True, store=tmp_path / "s", batch_size=26)
    outcome = go(request)
    assert {failure.path for failure in outcome.failures} == {"red/bright.png", "red/dark.png"}
    assert all(failure.stage == "classifier" and "\n" not in failure.reason for failure in outcome.failures)
    counts = queries.run_counts(Store(request.store).reader(), outcome.run)
    assert (counts.pictures, counts.predicted, counts.failures) == (26, 24, 2)


def test_a_model_that_never_works_ends_the_run_at_the_first_batch(tmp_path: Path) -> None:
    pictures = make_folder(tmp_path / "pictures")
    request = RunRequest(pictures, f"{make_model(tmp_path)}:broken", no_vlm=True, store=tmp_path / "s", batch_size=4)
    with pytest.raises((ModelError, RequestError), match="always"):
        go(request)


def test_an_unreadable_picture_is_tried_again_and_forgotten_once_it_is_well(request_: RunRequest) -> None:
    broken = request_.images / "red" / "0003.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    first = go(request_)
    assert [(failure.stage, failure.path) for failure in first.failures] == [("images", "red/0003.png")]
    broken.write_bytes(whole)
    second = go(request_)
    assert second.failures == ()
    assert queries.run_counts(Store(request_.store).reader(), second.run).predicted == 24


def test_two_runs_cannot_write_to_one_store(request_: RunRequest) -> None:
    with open_for_writing(request_.store), pytest.raises(StoreError, match="another run"):
        go(request_)


def test_a_run_can_be_asked_for_again_from_its_settings(request_: RunRequest) -> None:
    first = go(request_)
    record = Store(request_.store).run_records()[0]
    again = request_from_settings(record["settings"], store=request_.store)
    assert go(again).run == first.run
    with pytest.raises(RequestError, match="not started by whylook run"):
        request_from_settings({}, store=request_.store)


def test_memory_does_not_grow_with_the_folder(request_: RunRequest, tmp_path: Path) -> None:
    """What stays per picture is its entry in the listing: a few kilobytes, however large the picture is."""
    pictures = make_folder(tmp_path / "many", per_class=400)
    resident: dict[int, int] = {}

    def look(news: Progress) -> None:
        resident[news.done] = psutil.Process().memory_info().rss

    request = RunRequest(**{**vars(request_), "images": pictures, "batch_size": 20})
    assert run(request, progress=look, stop=lambda: False).counts["predicted"] == 1200
    grown = resident[1180] - resident[400]
    assert grown < 780 * 30_000, f"{grown:,} bytes over 780 pictures"


def test_working_ahead_keeps_the_order_and_the_bound() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return number * 2

    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield number

    results = ahead(work, items(), threads=3, limit=5)
    for expected in range(10):
        assert next(results) == expected * 2
        assert taken <= expected + 1 + 5
    results.close()
    assert taken <= 15
    assert most <= 3


def test_chunks_lose_nothing() -> None:
    assert list(chunks(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
