"""Interventions in the pictures of a run: a cue put in, taken out, made so or swapped, and what answers then lose.

Knows: the run's pictures and classifier, the interventions of core.discovery. Does not know: which cues are asked, the
store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from core import queries
from core.attribution.cam import enlarge
from core.discovery.candidates import Candidate
from core.discovery.changes import as_far, changed, moved
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
from core.errors import ModelError
from core.findings.frame import Frame, Mask
from core.images.properties import level as measured_level
from core.pipeline.evidence import Evidence, evidence
from core.pipeline.inputs import Inputs
from core.pipeline.stored_run import StoredRun
from core.records import ATTENDED

RECIPIENTS, MEMBERS, MATES, COMPARED = 48, 32, 64, 24
"""Pictures into which a cue is put, from which it is taken, others of its class, and those that show its place."""
CHANGED = 96
"""Pictures whose property or context is changed: smaller effects than those of a part, so more of them."""
FIRST = 24
"""Pictures changed first; more are only where these do not settle it."""
REACHED = 0.25
"""Part of a property's dose by which a changed picture may miss its level."""


@dataclass
class Tested:
    """What interventions gave for one candidate, or the reason why there are none."""

    effects: list[Effect] = field(default_factory=list)
    region: Box | None = None
    examples: list[Evidence] = field(default_factory=list)
    reason: str = ""


def _settled(effects: Sequence[Effect]) -> bool:
    """Whether more pictures would hardly change what is said: hardly an effect, or surely a slight one."""
    return bool(effects) and all(each.value < LEAST_EFFECT / 2 or each.reach < LEAST_EFFECT for each in effects)


class Interventions:
    """The interventions in one run."""

    def __init__(
        self, opened: StoredRun, frame: Frame, cells: NDArray[np.float32], generator: np.random.Generator
    ) -> None:
        """`cells` (n, 2): where each picture's answer rests most, in the order of the frame."""
        self._classifier = opened.classifier
        self._frame, self._cells, self._generator = frame, cells, generator
        self._inputs = Inputs(opened, frame, generator)
        self._ids: list[str] = frame.table["image_id"].to_pylist()
        self._names, self._labels, self._answers = frame.classes
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
            grids = {item.name: self._inputs.grid(self._inputs.some(item.members, COMPARED)) for item in own}
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
        members, mates = self._inputs.some(item.members, MATES), self._inputs.some(own & ~item.members, MATES)
        recipients = self._inputs.some((self._answers >= 0) & ~own, RECIPIENTS)
        if min(len(members), len(mates), len(recipients)) < LEAST:
            return Tested(reason="too few pictures with it, or without it")
        placed, placed_mates = (
            [(self._inputs.tensor(place), self._box(place, item)) for place in some] for some in (members, mates)
        )
        into, others = ([self._inputs.tensor(place) for place in some] for some in (recipients, mates))
        put_in = insertions(into, placed, placed_mates, self._generator)
        taken = removals(placed[:MEMBERS], others, self._generator)
        without = removals(placed_mates[:MEMBERS], others[::-1], self._generator)
        result, put, took = Tested(), None, None
        predict = self._inputs.predict
        for most in (FIRST, len(put_in)):
            put = measure(put_in[:most], answer, predict, kind="insert", known=put)
            took = measure(taken[:most], answer, predict, kind="remove", controls=without[:most], known=took)
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
            self._inputs.some(able, CHANGED),
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
            found = measure(trials, target, self._inputs.predict, kind=kind, known=found)
            result = self._tested([found])
            if _settled(result.effects):
                break
        return result

    def _changed(
        self, place: int, item: Candidate, level: float, other: float, within: tuple[float, float]
    ) -> Trial | None:
        """A picture at a level; None where that is out of its reach. Placebos stay within what pictures are like."""
        assert item.property is not None
        read = self._inputs.read(place)
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
        recipients = self._inputs.some(others & (self._answers != towards) & ~item.members, CHANGED)
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
        return (drawn[0], drawn[1]) if all(self._inputs.input(place) is not None for place in drawn) else None

    def _swapped(self, place: int, donor: int, placebo: int) -> Trial | None:
        """What was attended in a picture, before the whole of the donor, and before the whole of the placebo."""
        tensor = self._inputs.tensor(place)
        image_id = self._ids[place]
        maps = queries.maps(self._frame.con, self._frame.run, [image_id], of_input=True)
        if image_id not in maps:
            return None
        mask = torch.from_numpy(np.asarray(maps[image_id] >= ATTENDED, np.float32))
        attended = enlarge(mask[None], tensor.shape[-2:])[0].to(tensor.dtype)  # (H, W)
        made, instead = (torch.lerp(self._inputs.tensor(other), tensor, attended) for other in (donor, placebo))
        return Trial(tensor, made, (instead,))
