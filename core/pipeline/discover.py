"""Discovery in a finished run: ways of seeing, candidate cues, interventions, and what is kept of them."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core import queries
from core.attribution.cam import enlarge
from core.attribution.head import forward, frozen_eval
from core.classifier.loading import Classifier
from core.discovery.candidates import Candidate, Ways, candidates, chosen, ways_of_seeing
from core.discovery.changes import as_far, changed, moved
from core.discovery.cues import Cue, judged, unknown
from core.discovery.interventions import (
    LEAST,
    LEAST_EFFECT,
    Effect,
    Kind,
    Measured,
    Trial,
    insertions,
    measure,
    removals,
)
from core.discovery.regions import Box, around, differing
from core.errors import ImageError, ModelError, RequestError
from core.findings.frame import Frame, Mask, load
from core.images.properties import level as measured_level
from core.model_outputs import logits_of
from core.pipeline.evidence import Evidence, evidence
from core.pipeline.reading import picture_and_input
from core.pipeline.request import Progress
from core.pipeline.stored_run import StoredRun, open_run
from core.queries import FeatureTable
from core.records import ATTENDED, ImageEntry
from core.store import Store, open_for_writing

SECONDS = 100.0
"""Interventions begin within so many seconds of work; what is left over is called untested."""
SLOWER = 4
"""A busy machine may take so many times as long."""
LOOKING = 0.3
"""Share of that time for looking where groups differ."""
RECIPIENTS, MEMBERS, MATES, COMPARED = 48, 32, 64, 24
"""Pictures into which a cue is put, from which it is taken, others of its class, and those that show its place."""
CHANGED = 96
"""Pictures whose property or context is changed: smaller effects than those of a part, so more of them."""
BATCH = 32
KEPT_BYTES = 2**29
"""Inputs that are kept, not read again."""
FIRST = 24
"""Pictures changed first; more are only where these do not settle it."""
REACHED = 0.25
"""Part of a property's dose by which a changed picture may miss its level."""


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
    work = Work(open_run(store, run, device=device), frame, cells, np.random.default_rng(seed))
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


@dataclass
class Tested:
    """What interventions gave for one candidate, or the reason why there are none."""

    effects: list[Effect] = field(default_factory=list)
    region: Box | None = None
    examples: list[Evidence] = field(default_factory=list)
    reason: str = ""


def _cue(frame: Frame, item: Candidate, result: Tested) -> Cue:
    """A candidate with what interventions gave, before the verdicts."""
    if not result.effects:
        return unknown(frame, item, result.reason, region=result.region)
    return Cue.of(frame, item, result.effects, region=result.region, examples=result.examples)


def _settled(effects: Sequence[Effect]) -> bool:
    """Whether more pictures would hardly change what is said: hardly an effect, or surely a slight one."""
    return bool(effects) and all(each.value < LEAST_EFFECT / 2 or each.reach < LEAST_EFFECT for each in effects)


class Work:
    """The interventions in one run."""

    def __init__(
        self, opened: StoredRun, frame: Frame, cells: NDArray[np.float32], generator: np.random.Generator
    ) -> None:
        """`cells` (n, 2): where each picture's answer rests most, in the order of the frame."""
        self._classifier: Classifier = opened.classifier
        self._frame, self._cells, self._generator = frame, cells, generator
        self._entries: dict[str, ImageEntry] = {entry.image_id: entry for entry in opened.scan.entries}
        self._ids: list[str] = frame.table["image_id"].to_pylist()
        self._inputs: OrderedDict[int, Tensor] = OrderedDict()
        self._order = generator.permutation(frame.n)
        self._shape: torch.Size | None = None
        names, self._labels, self._answers = frame.classes
        self._names = names
        self._class = {name: place for place, name in enumerate(opened.classifier.class_names)}

    def test(self, item: Candidate) -> Tested:
        """Put the cue in, take it out or swap it, as far as its kind allows."""
        if item.answer is not None and item.answer not in self._class:
            return Tested(reason=f"the classifier has no class {item.answer}")
        try:
            if item.kind in queries.GROUPS:
                return self._group(item)
            if item.property is not None:
                return self._property(item)
            if item.answer is not None:
                return self._context(item)
        except ModelError as error:
            return Tested(reason=f"the classifier failed: {error}")
        return Tested(
            reason="no place and no property of the picture stands for it, so it cannot be put in or taken out"
        )

    # ------------------------------------------------------------------ kinds

    def located(self, found: Sequence[Candidate], *, late: Callable[[], bool]) -> list[Candidate]:
        """The candidates, those of kind strategy with the region where they differ from the rest of their class."""
        groups: dict[str | None, list[Candidate]] = defaultdict(list)
        for item in found:
            if item.kind == "strategy":
                groups[item.answer].append(item)
        regions: dict[str, tuple[Box, float]] = {}
        for own in sorted(groups.values(), key=lambda items: min(item.p for item in items)):
            if late():
                break
            grids = {item.name: self._grid(self._some(item.members, COMPARED)) for item in own}
            for item in own:
                rest = [grids[other.name] for other in own if other is not item and grids[other.name].size]
                if rest and grids[item.name].size:
                    regions[item.name] = differing(grids[item.name], np.concatenate(rest))
        return [
            replace(item, region=regions[item.name][0], peak=regions[item.name][1]) if item.name in regions else item
            for item in found
        ]

    def _group(self, item: Candidate) -> Tested:
        answer = self._class[str(item.answer)]
        own = self._answers == self._names.index(str(item.answer))
        if item.kind == "strategy" and item.region is None:
            return Tested(reason="there was no time to look where it lies")
        members, mates = self._some(item.members, MATES), self._some(own & ~item.members, MATES)
        recipients = self._some((self._answers >= 0) & ~own, RECIPIENTS)
        if min(len(members), len(mates), len(recipients)) < LEAST:
            return Tested(reason="too few pictures with it, or without it")
        placed, placed_mates = (
            [(self._tensor(place), self._box(place, item)) for place in some] for some in (members, mates)
        )
        into, others = ([self._tensor(place) for place in some] for some in (recipients, mates))
        put_in = insertions(into, placed, placed_mates, self._generator)
        taken = removals(placed[:MEMBERS], others, self._generator)
        without = removals(placed_mates[:MEMBERS], others[::-1], self._generator)
        result, put, took = Tested(), None, None
        for most in (FIRST, len(put_in)):
            put = measure(put_in[:most], answer, self._predict, kind="insert", known=put)
            took = measure(taken[:most], answer, self._predict, kind="remove", controls=without[:most], known=took)
            result = self._tested([put, took], region=item.region)
            if _settled(result.effects):
                break
        return result

    def _box(self, place: int, item: Candidate) -> Box:
        """Where the cue lies in a picture: the group's region, or about the cell on which the answer rests most."""
        row, column = self._cells[place].tolist()
        return item.region or around((row, column), self._classifier.layout.grid)

    def _tested(self, found: Sequence[Measured | None], *, region: Box | None = None) -> Tested:
        known = [item for item in found if item is not None]
        if not known:
            return Tested(reason="too few pictures to change")
        best = min(known, key=lambda item: (item.effect.p, -item.effect.value))
        return Tested([item.effect for item in known], region, evidence(best, self._classifier.class_names))

    def _property(self, item: Candidate) -> Tested:
        """The property of pictures with it given to others; placebos: as far the other way, another's value."""
        assert item.property is not None
        if item.property == "sharpness" and item.level > float(np.nanmedian(self._frame.numbers("sharpness"))):
            return Tested(reason="detail that is not there cannot be put in")
        usual = self._frame.numbers(item.property)
        levels = usual[item.members & np.isfinite(usual)]
        towards = None if item.answer is None else self._names.index(item.answer)
        able = (self._answers >= 0) & ~item.members & np.isfinite(usual)
        able &= self._frame.correct if towards is None else (self._answers != towards) & (self._labels != towards)
        others = usual[able]
        within = (float(np.nanquantile(usual, 0.01)), float(np.nanquantile(usual, 0.99)))
        return self._until_futile(
            self._some(able, CHANGED),
            lambda place: self._changed(
                place, item, float(self._generator.choice(levels)), float(self._generator.choice(others)), within
            ),
            kind="apply",
            answer=None if item.answer is None else self._class[item.answer],
        )

    def _until_futile(
        self, places: Sequence[int], make: Callable[[int], Trial | None], *, kind: Kind, answer: int | None
    ) -> Tested:
        """The pictures changed one way, all of them unless the first settle it; `answer` None: the own one."""
        trials: list[Trial] = []
        answers: list[int] = []
        result, found = Tested(reason="too few pictures to change"), None
        for some in (places[:FIRST], places[FIRST:]):
            for place in some:
                said = self._class.get(self._names[self._answers[place]]) if answer is None else answer
                if said is not None and (trial := make(place)) is not None:
                    trials.append(trial)
                    answers.append(said)
            target = np.asarray(answers, dtype=np.int64) if answer is None else answer
            found = measure(trials, target, self._predict, kind=kind, known=found)
            result = self._tested([found])
            if _settled(result.effects):
                break
        return result

    def _changed(
        self, place: int, item: Candidate, level: float, other: float, within: tuple[float, float]
    ) -> Trial | None:
        """A picture at a level; None where that is out of its reach. Placebos stay within what pictures are like."""
        assert item.property is not None
        read = self._read(place)
        if read is None:
            return None
        picture, before = read
        made = changed(picture, item.property, level)
        if abs(measured_level(made, item.property) - level) > REACHED * abs(item.level - item.usual):
            return None
        if item.property == "sharpness":  # it cannot be raised, and lowering it less is the same change
            placebos = [as_far(picture, made)]
        else:
            start = measured_level(picture, item.property)
            back = float(np.clip(moved(start, item.property, start=level, end=start), *within))
            placebos = [changed(picture, item.property, to) for to in (back, other)]
        return Trial(before, self._classifier.transform(made), tuple(map(self._classifier.transform, placebos)))

    def _context(self, item: Candidate) -> Tested:
        """What was attended put into pictures with and without the context, of the same label."""
        answer, towards = self._class[str(item.answer)], self._names.index(str(item.answer))
        others = (self._labels >= 0) & (self._labels != towards)
        recipients = self._some(others & (self._answers != towards) & ~item.members, CHANGED)
        return self._until_futile(
            recipients, lambda place: self._with_context(place, others, item.members), kind="swap", answer=answer
        )

    def _with_context(self, place: int, others: Mask, members: Mask) -> Trial | None:
        pair = self._donors(others, members)
        return self._swapped(place, *pair) if pair is not None else None

    def _donors(self, others: Mask, members: Mask) -> tuple[int, int] | None:
        """A picture with the context and one without, of one label."""
        shared = np.intersect1d(self._labels[others & members], self._labels[others & ~members])
        if not shared.size:
            return None
        label = self._generator.choice(shared)
        drawn = [
            int(self._generator.choice(np.flatnonzero(others & inside & (self._labels == label))))
            for inside in (members, ~members)
        ]
        return (drawn[0], drawn[1]) if all(self._input(place) is not None for place in drawn) else None

    def _swapped(self, place: int, donor: int, placebo: int) -> Trial | None:
        """What was attended in a picture, before the whole of the donor, and before the whole of the placebo."""
        tensor = self._tensor(place)
        image_id = self._ids[place]
        maps = queries.maps(self._frame.con, self._frame.run, [image_id], of_input=True)
        if image_id not in maps:
            return None
        mask = torch.from_numpy(np.asarray(maps[image_id] >= ATTENDED, np.float32))
        attended = enlarge(mask[None], tensor.shape[-2:])[0].to(tensor.dtype)  # (H, W)
        made, instead = (torch.lerp(self._tensor(other), tensor, attended) for other in (donor, placebo))
        return Trial(tensor, made, (instead,))

    # ------------------------------------------------------------------ pictures

    def _some(self, mask: Mask, most: int) -> list[int]:
        """Places of some pictures, one of each group, with inputs of one shape: in one order, so that few are read."""
        found: list[int] = []
        groups: set[int] = set()
        for place in self._order[mask[self._order]].tolist():
            if len(found) == most:
                break
            if (group := int(self._frame.groups[place])) not in groups and self._input(place) is not None:
                found.append(place)
                groups.add(group)
        return found

    def _input(self, place: int) -> Tensor | None:
        """A picture as the classifier sees it; None where it is gone or of another shape than the others."""
        if place not in self._inputs:
            read = self._read(place)
            if read is None:
                return None
            self._inputs[place] = read[1]
            while len(self._inputs) * read[1].nbytes > KEPT_BYTES:
                self._inputs.popitem(last=False)
        self._inputs.move_to_end(place)
        return self._inputs[place]

    def _tensor(self, place: int) -> Tensor:
        """An input that was there before."""
        tensor = self._input(place)
        if tensor is None:
            raise ModelError(f"{self._ids[place]} went away while it was worked on")
        return tensor

    def _read(self, place: int) -> tuple[Image.Image, Tensor] | None:
        entry = self._entries.get(self._ids[place])
        if entry is None:
            return None
        try:
            picture, tensor = picture_and_input(entry, self._classifier)
        except (ImageError, ModelError):
            return None
        self._shape = self._shape or tensor.shape
        return (picture, tensor) if tensor.shape == self._shape else None

    def _predict(self, pictures: Tensor) -> NDArray[np.float64]:
        with frozen_eval(self._classifier.model), torch.inference_mode():
            output = self._classifier.model(pictures.clone().to(self._classifier.device))
        return logits_of(output, len(pictures)).float().softmax(dim=1).cpu().numpy().astype(np.float64)

    def _grid(self, places: Sequence[int]) -> NDArray[np.float32]:
        """The target layer's activations (n, C, h, w) of some pictures; of none, an empty array."""
        parts = [
            forward(self._classifier, torch.stack([self._tensor(place) for place in places[start : start + BATCH]]))[0]
            for start in range(0, len(places), BATCH)
        ]
        return torch.cat([part.detach().float().cpu() for part in parts]).numpy() if parts else np.zeros(0, np.float32)


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
