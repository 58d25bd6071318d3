"""Batches in flight: bounded in bytes, measured before they are computed, and noted in case one kills the process."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from core import images
from core.memory import NoRoom
from core.pipeline.explain import waiting_bytes
from core.pipeline.forwards import Forwards
from core.pipeline.in_flight import InFlight
from core.pipeline.prefetch import ahead, chunks
from core.pipeline.request import RunRequest
from core.pipeline.run import run
from tests.support.nets import PlainNet
from tests.support.tiny_world import make_folder, make_model


def test_results_that_wait_weigh_a_bound_and_the_next_one_is_never_held_up() -> None:
    made: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0.001)
        with lock:
            made.append(number)
        return number

    results = ahead(work, iter(range(60)), threads=4, limit=40, weigh=lambda number: 10, most=50)
    assert next(results) == 0
    time.sleep(0.2)
    assert len(made) <= 1 + 5 + 4
    assert list(results) == list(range(1, 60))
    closed = ahead(work, iter(range(1, 60)), threads=4, limit=40, weigh=lambda number: 100, most=50)
    next(closed)
    closed.close()
    after = len(made)
    time.sleep(0.1)
    assert len(made) == after < 60 + 59  # nothing is begun after it


def test_batches_are_also_bounded_in_bytes() -> None:
    assert list(chunks([5, 5, 1, 1, 1, 9], 3, weigh=int, most=8)) == [[5, 5], [1, 1, 1], [9]]


def forwards(net: nn.Module) -> Forwards:
    classifier: Any = SimpleNamespace(model=net.eval(), layer="", device=torch.device("cpu"), layout=None)
    return Forwards(classifier, "occlusion")


@pytest.mark.slow
def test_what_a_model_needs_is_measured_small_and_told_for_large_pictures() -> None:
    measured = forwards(PlainNet())
    needed = measured.needed(torch.rand(3, 1000, 1500))
    direct = 2 * measured._peak(torch.rand(1, 3, 1000, 1500))
    assert needed == pytest.approx(direct, rel=0.1)
    assert direct > 2 * 32 * 4 * 1_500_000  # the convolution's output alone


def test_a_large_batch_is_cut_and_one_that_fits_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = torch.rand(16, 3, 512, 512)
    free = {"bytes": 0}
    monkeypatch.setattr("core.memory.free_memory", lambda: free["bytes"])
    measured = forwards(PlainNet())
    needed = measured.needed(batch[0])
    free["bytes"] = 4 * 5 * needed + 4
    assert measured.batch_size(batch) == (5, needed > 2**28)
    free["bytes"] = 3 * needed
    with pytest.raises(NoRoom):
        measured.batch_size(batch)
    assert measured.batch_size(batch[:2]) == (2, False)  # usual batches are not measured
    assert forwards(PlainNet(side=1024)).batch_size(torch.rand(3, 3, 1024, 1024)) == (1, True)


def test_pictures_that_wait_take_a_share_of_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    held = psutil.Process().memory_info().rss
    monkeypatch.setenv("WHYLOOK_MEMORY", str(held + 2**30))
    assert 2**26 <= waiting_bytes() <= 2**27 + 2**24
    monkeypatch.setenv("WHYLOOK_MEMORY", "1MB")
    assert waiting_bytes() == 2**26


def test_a_note_outlives_the_attempt_that_died_and_is_gone_when_all_went_well(tmp_path: Path) -> None:
    notes = InFlight(tmp_path)
    with notes.working(["a"]), notes.working([]), notes.working(["b"]):
        assert InFlight(tmp_path).deaths("a") == 1  # another process, after a kill
    second = InFlight(tmp_path)
    assert (second.deaths("a"), second.deaths("c")) == (0, 0)  # this attempt lived to say that it was done
    with second.working(["a"]):
        InFlight(tmp_path)
        third = InFlight(tmp_path)
        assert third.deaths("a") == 1
        third.forget(["a"])
        assert not (tmp_path / "in-flight.json").exists()
    (tmp_path / "in-flight.json").write_text("{broken")
    assert InFlight(tmp_path).deaths("a") == 0


def test_only_deaths_on_a_picture_alone_can_blame_it(tmp_path: Path) -> None:
    unfinished = []  # attempts that never come to an end

    def die(*image_ids: str, careful: bool = False) -> InFlight:
        unfinished.append(InFlight(tmp_path, careful=careful).working(image_ids))
        unfinished[-1].__enter__()
        return InFlight(tmp_path, careful=careful)

    for _ in range(5):
        notes = die("a", "b", "c")
    assert notes.deaths("a") == 5 and not any(notes.hopeless(image_id) for image_id in "abc")
    assert die("b").hopeless("b") and not InFlight(tmp_path).hopeless("a")
    assert not die("b", careful=True).hopeless("b")
    assert die("b", careful=True).hopeless("b"), "three alone where processes are also killed from outside"
    InFlight(tmp_path).forget(["b"])
    assert not die("b").hopeless("b") and die("b").hopeless("b")


@pytest.mark.slow
def test_a_picture_that_killed_one_attempt_is_tried_alone_and_after_two_recorded(tmp_path: Path) -> None:
    pictures, store = make_folder(tmp_path / "pictures", per_class=4), tmp_path / "store"
    first, second = (entry.image_id for entry in images.scan(pictures).entries[2:4])
    request = RunRequest(pictures, f"{make_model(tmp_path)}:tiny", no_vlm=True, store=store, batch_size=8, device="cpu")
    store.mkdir()
    (store / "in-flight.json").write_text(
        json.dumps({"working": [first, second], "died": {second: 1}, "alone": {second: 1}})
    )
    done: list[int] = []
    outcome = run(request, progress=lambda news: done.append(news.done), stop=lambda: False)
    assert [(failure.image_id, failure.stage) for failure in outcome.failures] == [(second, "images")]
    assert "the process died 2 times" in outcome.failures[0].reason and "in-flight.json" in outcome.failures[0].reason
    assert outcome.counts["predicted"] == 11
    assert 2 in done  # the recorded one and the one tried alone, before any batch
    (store / "in-flight.json").unlink()
    assert run(request, progress=lambda news: None, stop=lambda: False).counts["predicted"] == 12
