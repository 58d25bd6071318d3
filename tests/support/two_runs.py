"""Stores with two runs over the same synthetic pictures, for tests of comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.records import Prediction
from core.store import Store, open_for_writing
from tests.support.store_factory import PRINTS, synthetic_rows

Tables = dict[str, list[Any]]
STAGES = {"predictions": "classifier", "attributions": "attribution", "checks": "causal", "judgements": "judge"}


def answered(image_id: str, classes: Sequence[str], answer: int, sure: float = 0.8) -> Prediction:
    """An answer of that confidence, the rest shared by the other classes."""
    probabilities = np.full(len(classes), (1 - sure) / (len(classes) - 1), dtype=np.float32)
    probabilities[answer] = sure
    return Prediction(image_id, classes[answer], sure, 0.1, None, probabilities)


def make_two_runs(
    folder: Path,
    *,
    rows: int = 60,
    classes: Sequence[str] = ("cow", "camel", "horse"),
    seed: int = 0,
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
    judged: bool = False,
    pictures: bool = False,
    change: Callable[[Tables, int], None] = lambda tables, run: None,
    same: Sequence[str] = (),
    names: Sequence[Sequence[str]] | None = None,
) -> tuple[Store, str, str]:
    """A published store and the names of its two runs.

    Args:
        folder: of the store.
        rows: pictures.
        classes: their labels, in turn.
        seed: of everything drawn.
        right: which pictures each run has right, (rows,) each; None leaves the first run as drawn, in both runs.
        judged: whether both have a judge.
        pictures: whether thumbnails differ.
        change: may edit the rows of run 0 and of run 1 before they are written; images are those of run 0.
        same: stages whose rows both runs share.
        names: class names of either classifier; None means `classes`.
    """
    store, found = Store(folder), []
    tables = [synthetic_rows(rows, list(classes), seed=seed, pictures=pictures) for _ in range(2)]
    for number, own in enumerate(tables):
        if right is not None:
            for place, is_right in enumerate(right[number]):
                answer = place % len(classes) if is_right else (place + 1) % len(classes)
                own["predictions"][place] = answered(own["images"][place]["image_id"], classes, answer)
        change(own, number)
    stages = ["images", "classifier", "attribution", "causal", *(["judge"] if judged else [])]
    with open_for_writing(store.folder) as writer:
        for number, own in enumerate(tables):
            shared = {"images", *same}
            prints = {stage: PRINTS[stage] + ("" if stage in shared else f"-{number}") for stage in stages}
            settings = {"images": "synthetic", "classifier": f"net{number}"}
            known = classes if names is None else names[number]
            run = writer.begin_run(settings, prints, class_names=known, judge_note=None)
            if number == 0:
                writer.write("images", own["images"], fingerprint=prints["images"])
            for table, stage in STAGES.items():
                if stage in stages and (number == 0 or stage not in shared):
                    writer.write(table, own[table], fingerprint=prints[stage])
            writer.finish_run(run, "done", {"pictures": rows, "predicted": rows})
            found.append(run)
        writer.publish()
    return store, found[0], found[1]


def moved_map(attribution: Any) -> Any:
    """The same attribution with its map turned by 180 degrees."""
    return replace(attribution, map=np.ascontiguousarray(attribution.map[::-1, ::-1]))
