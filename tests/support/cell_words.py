"""Of how many pictures of a demo world are the words of their cell and of their mistake true? Against the object masks.

The judge is not asked again here: what a run stored is compared with the truth, which the run never read.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from core import queries
from core.images.masking import mask_weights
from core.statistics import Interval, wilson

QUARTER = 0.25


@dataclass(frozen=True)
class Seen:
    """What is true of one picture: the animal in it, how much of it is in view, and how much of the view is it."""

    animal: str
    label: str
    answer: str
    in_view: float
    """Share of the object that the mask shows, 0..1."""
    of_view: float
    """Share of what the mask shows that is the object, 0..1."""

    def shows(self, name: str) -> bool:
        """Whether a quarter or more of what `name` names is in view."""
        return self.animal == name and self.in_view >= QUARTER

    def shows_little(self, name: str) -> bool:
        """Whether less than a quarter of the view is what `name` names."""
        return self.animal != name or self.of_view < QUARTER


CLAIMS: Mapping[str, Callable[[Seen], bool]] = {
    "correct_high": lambda seen: seen.shows(seen.answer),
    "correct_low": lambda seen: seen.shows_little(seen.answer),
    "wrong_high": lambda seen: seen.shows(seen.answer),
    "wrong_low": lambda seen: seen.shows_little(seen.answer),
    "answer supported": lambda seen: seen.shows(seen.answer) and seen.animal != seen.label,
    "label supported": lambda seen: seen.shows(seen.label) and not seen.shows(seen.answer),
    "little support": lambda seen: seen.shows_little(seen.answer) and seen.shows_little(seen.label),
}
"""What each cell and each kind of mistake says of a picture."""


@dataclass(frozen=True)
class Claim:
    """A cell or a mistake: of what share of its pictures it is true, and of what share of all judged ones it would be.

    Where the two are alike, the words say nothing of the picture.
    """

    name: str
    true: Interval
    anywhere: Interval


def claims(con: queries.Connection, run: str, world: Path) -> list[Claim]:
    """Every cell and mistake of a run over the evaluation pictures of `world`, as made by data/demo/make_world.py."""
    rows = queries.fetch_rows(con, "SELECT * FROM samples WHERE run = ? AND cell IS NOT NULL ORDER BY path", [run])
    with (world / "truth" / "evaluation.csv").open(newline="") as file:
        truth = {row["path"]: row for row in csv.DictReader(file)}
    maps = queries.maps(con, run, [row["image_id"] for row in rows])
    seen = []
    for row in rows:
        known = truth[row["path"]]
        mask = np.asarray(Image.open(world / "truth" / known["mask"]).convert("L")) > 0
        shown = mask_weights(maps[row["image_id"]], size=mask.shape)
        inside = float(shown[mask].sum())
        parts = inside / float(mask.sum()), inside / max(float(shown.sum()), 1e-9)
        seen.append(Seen(known["animal"], row["label"], row["prediction"], *parts))
    found = []
    for name, claim in CLAIMS.items():
        true = [claim(each) for each in seen]
        own = [each for each, row in zip(true, rows, strict=True) if name in (row["cell"], row["mistake"])]
        found.append(Claim(name, wilson(sum(own), len(own)), wilson(sum(true), len(true))))
    return found
