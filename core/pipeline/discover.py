"""Discovery in a finished run: ways of seeing, candidate cues, interventions, and what is kept of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core import queries
from core.discovery.candidates import Candidate, Ways, candidates, chosen, ways_of_seeing
from core.discovery.cues import Cue, judged, unknown
from core.errors import RequestError
from core.findings.frame import Frame, Mask, load
from core.pipeline.intervening import Interventions, Tested
from core.pipeline.request import Progress
from core.pipeline.stored_run import open_run
from core.queries import FeatureTable
from core.store import Store, open_for_writing

SECONDS = 100.0
"""Interventions begin within so many seconds of work; what is left over is called untested."""
SLOWER = 4
"""A busy machine may take so many times as long."""
LOOKING = 0.3
"""Share of that time for looking where groups differ."""
UNTRIED = "there was no time to test it"


@dataclass(frozen=True)
class Discovery:
    """What came of it: the cues, best evidence first, and how many pictures were looked at in how many seconds."""

    run: str
    cues: tuple[Cue, ...]
    pictures: int
    seconds: float


def discover(
    store: Store,
    run: str,
    *,
    seconds: float = SECONDS,
    device: str = "auto",
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda news: None,
) -> Discovery:
    """Look for cues in a finished run, test whether they are used, and keep both in the store.

    Args:
        store: the store that holds the run.
        run: its name.
        seconds: of this thread's work, within which interventions begin; a busy machine may take `SLOWER` times that.
        device: where the classifier runs.
        seed: of clusters and draws.
        progress: called after every cue.

    Raises:
        RequestError: the run has no features, or its pictures or classifier are not there any more.
        StoreError: another run writes to the store now, or nothing can be written there.
    """
    with open_for_writing(store.folder):
        pass  # refused now, not after all the work
    began, worked = time.monotonic(), time.thread_time()

    def spent() -> float:
        return max(time.thread_time() - worked, (time.monotonic() - began) / SLOWER)

    progress(Progress("looking at what was seen", 0, 0))
    found = queries.features(store.reader(), run)
    if found is None:
        raise RequestError(queries.NO_FEATURES.format(run=run))
    frame = load(store.reader(), run, group=queries.run(store.reader(), run).settings.group)
    places, detail, cells, known = _aligned(frame, found)
    ways = ways_of_seeing(frame, places, detail, known)
    work = Interventions(open_run(store, run, device=device), frame, cells, np.random.default_rng(seed))
    asked = chosen(work.located(candidates(frame, ways), late=lambda: spent() > LOOKING * seconds))
    found_cues: list[Cue] = []
    testing = time.monotonic()
    for place, item in enumerate(asked, start=1):
        late = spent() > seconds
        result = Tested(reason=UNTRIED) if late else work.test(item)
        found_cues.append(_cue(frame, item, result))
        pace = (time.monotonic() - testing) / place
        progress(Progress("testing cues", place, len(asked), seconds_left=(len(asked) - place) * pace))
    cues = judged(found_cues)
    earlier = sum(row.tested > 0 for row in queries.cues(store.reader(), run))
    tested = sum(bool(cue.effects) for cue in cues)
    if tested < earlier and any(cue.reason == UNTRIED for cue in cues):
        raise RequestError(
            f"there was time to test {tested:,} cues, {earlier:,} were tested before: the earlier ones stay; give it "
            "more --seconds"
        )
    _keep(store, run, frame, ways, cues)
    return Discovery(run, tuple(cues), frame.n, time.monotonic() - began)


def _aligned(
    frame: Frame, found: FeatureTable
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Mask]:
    """Features in the order of the frame, zeros where a picture has none, and where it has some."""
    place = {image_id: index for index, image_id in enumerate(found.image_ids)}
    rows = np.asarray([place.get(image_id, -1) for image_id in frame.table["image_id"].to_pylist()], dtype=np.int64)
    known = rows >= 0
    places, detail, cells = (
        np.where(known[:, None], matrix[rows], np.float32(0)) for matrix in (found.places, found.detail, found.cells)
    )
    return places, detail, cells, known


def _cue(frame: Frame, item: Candidate, result: Tested) -> Cue:
    """A candidate with what interventions gave, before the verdicts."""
    if not result.effects:
        return unknown(frame, item, result.reason, region=result.region)
    return Cue.of(frame, item, result.effects, region=result.region, examples=result.examples)


def _keep(store: Store, run: str, frame: Frame, ways: Ways, cues: Sequence[Cue]) -> None:
    """Rows of `strategies` and `cues`, published; a picture holds a cue where its answer is what that pulls to."""
    predictions = frame.table["prediction"].to_pylist()
    used: list[str | None] = [None] * frame.n
    for cue in reversed(cues):
        if cue.verdict == "used":
            for place in np.flatnonzero(cue.members):
                if cue.answer is None or predictions[place] == cue.answer:
                    used[place] = cue.name
    ids = frame.table["image_id"].to_pylist()
    rows = [
        {"image_id": image_id, "strategy": strategy, "detail": detail, "cue": cue}
        for image_id, strategy, detail, cue in zip(ids, ways.strategy, ways.detail, used, strict=True)
    ]
    with open_for_writing(store.folder) as writer:
        writer.write("strategies", rows, fingerprint=run)
        writer.save_cues(run, [cue.row() for cue in cues])
        writer.publish()
