"""The judge's report card: a sample of the run's own pictures under true and wrong maps, and under a wrong name.

Only scores are asked for, no words: that is the cheaper part of a judgement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import numpy as np
from numpy.typing import NDArray

from core import images, queries
from core.errors import ImageError, RequestError
from core.judge.controls import AGAIN, CONTROLS, TRUE, WRONG_NAME, control_map, generator_of, wrong_name
from core.pipeline.journal import Journal
from core.pipeline.judging import JudgeTodo, load_judging, shown, small_picture
from core.pipeline.prefetch import ahead, chunks
from core.pipeline.request import Progress, request_from_settings
from core.records import HIGH_SCORE, ImageEntry, Judgement, JudgeRequest, Row
from core.store import Store, open_for_writing

PICTURES_AT_ONCE = 16


@dataclasses.dataclass(frozen=True)
class _Asked:
    """One question: the picture as a control shows it, and the class name told with it."""

    control: str
    request: JudgeRequest


def make_card(
    entries: Sequence[ImageEntry], todo: JudgeTodo, *, sample: int, journal: Journal, stop: Callable[[], bool]
) -> bool:
    """Ask the judge about `sample` pictures and their controls, and keep its scores; none is asked about twice.

    The first pass must be published. Taken are pictures with a map that were classified correctly, as far as one knows,
    and whose attended region matters more than a random one and is no more than half of the picture: where the
    classifier itself looks at nothing in particular, a low score says nothing of the judge. Others follow where these
    are too few. Returns: False when `stop` ended it early.
    """
    journal.publish()  # what an attempt that was stopped has asked already
    rows = _sample(journal, sample)
    here = {entry.image_id: entry for entry in entries}
    known = {
        row["image_id"]
        for row in queries.fetch_rows(
            journal.store.reader(),
            """SELECT image_id FROM judge_card WHERE fingerprint = ?
            GROUP BY image_id HAVING bool_and(state <> 'failed')""",
            [todo.fingerprints["judge"]],
        )
    }
    missing = [row for row in rows if row["image_id"] in here and row["image_id"] not in known]
    if not missing:
        return True
    done = len(rows) - len(missing)
    journal.begin("report card", done=done, total=len(rows))
    names = queries.run(journal.store.reader(), journal.run).class_names
    for some in chunks(missing, PICTURES_AT_ONCE):
        if stop():
            return False
        maps = queries.maps(journal.store.reader(), journal.run, [row["image_id"] for row in some])
        tasks = [(here[row["image_id"]], row["prediction"], maps[row["image_id"]]) for row in some]
        ready = ahead(lambda task: _asked(*task, todo, names), tasks, threads=todo.threads, limit=len(tasks))
        with closing(ready):
            asked = [question for group in ready for question in group]
        with journal.timed("report card"):
            replies = _replies(asked, todo)
        journal.write(
            "judge_card",
            [
                {"image_id": reply.image_id, "control": question.control, "told": question.request.prediction,
                 "state": reply.state, "reason": reply.reason, "score": reply.score,
                 "rubric_shift": reply.rubric_shift, "seconds": reply.seconds}
                for question, reply in replies
            ],
            fingerprint=todo.fingerprints["judge"],
        )  # fmt: skip
        done += len(some)
        journal.report(done, len(rows))
    journal.publish()
    if todo.judge.protocol == "calibrated":
        _calibrate(journal)
    return True


def _calibrate(journal: Journal) -> None:
    """Takes the card's own threshold for the run, where the card supports one; else the paper's 2.5 stays."""
    card = queries.judge_card(journal.store.reader(), journal.run)
    if card is not None and card.supports_threshold:
        assert card.threshold is not None
        journal.store.set_high_score(journal.run, card.threshold.score)


def _replies(asked: Sequence[_Asked], todo: JudgeTodo) -> list[tuple[_Asked, Judgement]]:
    """The true maps twice in the same company, so that a steady judge says exactly the same; then the rest."""
    again = [question for question in asked if question.control == AGAIN]
    true = [dataclasses.replace(question, control=TRUE) for question in again]
    rest = [question for question in asked if question.control not in (TRUE, AGAIN)]
    return [
        pair
        for group in (true, again, rest)
        for pair in zip(group, todo.judge.judge([question.request for question in group], words=False), strict=True)
    ]


def card_of_run(
    store: Store, run: str, *, sample: int, progress: Callable[[Progress], None] = lambda news: None
) -> None:
    """Make or enlarge the report card of a run's judge.

    Raises:
        RequestError: the run has no judge or no map, or its judge or pictures are not where they were.
    """
    record = queries.run(store.reader(), run)
    if "judge" not in record.fingerprints:
        raise RequestError(f"run {run} has no judge: run it again with --vlm and --mmproj, or --vlm-url")
    request = request_from_settings(record.settings.kept, store=store.folder)
    entries = images.scan(request.images, metadata=request.metadata).entries
    with ExitStack() as stack:
        todo = load_judging(request, record.fingerprints, stack)
        if todo.fingerprints["judge"] != record.fingerprints["judge"]:
            raise RequestError(f"the judge is not the one of run {run} any more; run it again")
        with open_for_writing(store.folder) as writer:
            make_card(entries, todo, sample=sample, journal=Journal(writer, run, progress=progress, seconds={}),
                      stop=lambda: False)  # fmt: skip
    if queries.judge_card(store.reader(), run) is None:
        raise RequestError(f"run {run} has no picture with a map to try the judge on, or they are not where they were")


def set_high(store: Store, run: str, high: float | str) -> None:
    """From which score on attention counts as high in a run: a number, `paper` (2.5), or `calibrated` by its card.

    Raises:
        RequestError: there is no card to calibrate by.
    """
    if high == "calibrated":
        card = queries.judge_card(store.reader(), run)
        if card is None or card.threshold is None:
            raise RequestError(
                f"the judge of run {run} has no report card to calibrate by: whylook judge-card makes it"
            )
        high = card.threshold.score
    with open_for_writing(store.folder) as writer:
        writer.set_high_score(run, HIGH_SCORE if high == "paper" else float(high))
        writer.publish()


def _sample(journal: Journal, sample: int) -> list[Row]:
    """image_id and prediction of the pictures to ask about, in the order of their hashes."""
    return queries.fetch_rows(
        journal.store.reader(),
        """SELECT image_id, prediction FROM samples
        WHERE run = ? AND prediction IS NOT NULL AND attention_area IS NOT NULL
        ORDER BY (correct IS NOT FALSE AND coalesce(causal_drop > causal_drop_random, true)) DESC,
                 attention_area <= 0.5 DESC, image_id LIMIT ?""",
        [journal.run, sample],
    )


def _asked(
    entry: ImageEntry, prediction: str, map_: NDArray[np.float32], todo: JudgeTodo, class_names: Sequence[str]
) -> list[_Asked]:
    """Every control of one picture; none where it cannot be read any more. Called in threads."""
    try:
        pixels = small_picture(entry)
    except ImageError:
        return []
    return list(_controls(entry.image_id, pixels, prediction, map_, todo, class_names))


def _controls(
    image_id: str,
    pixels: NDArray[np.uint8],
    prediction: str,
    map_: NDArray[np.float32],
    todo: JudgeTodo,
    class_names: Sequence[str],
) -> Iterator[_Asked]:
    for control in CONTROLS:
        generator = generator_of(image_id, control)
        told = wrong_name(prediction, class_names, generator) if control == WRONG_NAME else prediction
        if told is None:
            continue
        wrong = control_map(map_, control, generator)
        if wrong is None:
            continue
        picture = shown(pixels, wrong, fill=todo.fill, view=todo.view)
        yield _Asked(control, JudgeRequest(image_id, picture, told))
