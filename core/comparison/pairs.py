"""The pictures that two runs have in common, as columns: label, both answers, both scores, groups.

Knows: view `samples`, what belongs together. Does not know: tests, words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core import queries
from core.comparison.result import Pair
from core.errors import RequestError
from core.findings.frame import Frame, load
from core.queries import Connection, literal
from core.records import Run

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """What one run says of the common pictures, each of shape (n,); None and NaN where it says nothing."""

    answers: NDArray[np.object_]
    confidence: Floats
    right: Mask
    score: Floats
    cells: NDArray[np.object_]


@dataclass(frozen=True)
class Pairs:
    """The n common pictures in the order of `image_id`; `frame` holds all of B's, `places` the common ones of it."""

    a: Run
    b: Run
    ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    labels: NDArray[np.object_]
    side_a: Side
    side_b: Side
    labelled: Mask
    """Where both runs know whether they are right, by the same label."""
    relabelled: int
    frame: Frame
    places: NDArray[np.intp]

    @property
    def n(self) -> int:
        """Pictures in both runs."""
        return int(self.ids.size)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Which pictures belong together, (n,)."""
        return self.frame.groups[self.places]

    @property
    def change(self) -> NDArray[np.int64]:
        """1 where only B is right, -1 where only A is, (n,); 0 elsewhere."""
        found = self.side_b.right.astype(np.int64) - self.side_a.right.astype(np.int64)
        return np.where(self.labelled, found, 0)

    def pairs(self, mask: Mask) -> tuple[Pair, ...]:
        """The pictures of a mask, those of which B is surest first."""
        places = np.flatnonzero(mask)
        order = places[np.argsort(-np.nan_to_num(self.side_b.confidence[places]), kind="stable")]
        return tuple(self.pair(int(place)) for place in order)

    def pair(self, place: int, *, overlap: float | None = None) -> Pair:
        """One picture by its place."""
        answers = self.side_a.answers[place], self.side_b.answers[place]
        return Pair(self.ids[place], self.paths[place], self.labels[place], *answers, overlap)

    def sql(self, *conditions: str) -> str:
        """SELECT of B's common pictures where conditions on `a` and `b` hold, laid out to be read."""
        lines = [
            "SELECT b.* FROM samples b JOIN samples a ON a.image_id = b.image_id",
            f"WHERE b.run = {literal(self.b.name)} AND a.run = {literal(self.a.name)}",
            *(f"  AND {text}" for text in conditions),
        ]
        return "\n".join([*lines, "ORDER BY b.confidence DESC"])


def paired(con: Connection, a: str, b: str, *, group: str | None = None) -> Pairs:
    """The pictures that the runs `a` and `b` have in common.

    Args:
        con: a reader of the store.
        a: the run that was there before.
        b: the run that is compared with it.
        group: metadata column whose equal values belong together; None takes the one that B (or A) was run with.

    Raises:
        QueryError: there is no such run, or no such column.
        RequestError: both are one run, or have no picture or no class in common.
    """
    first, second = queries.run(con, a), queries.run(con, b)
    if first.name == second.name:
        raise RequestError(f"both runs are {first.name}: choose two different runs to compare")
    _check_classes(first, second)
    rows = con.execute(
        """SELECT b.image_id, b.path, b.label, a.label IS DISTINCT FROM b.label AS relabelled,
            a.prediction AS answer_a, b.prediction AS answer_b, a.confidence AS confidence_a,
            b.confidence AS confidence_b, coalesce(a.correct, false) AS right_a, coalesce(b.correct, false) AS right_b,
            a.correct IS NOT NULL AND b.correct IS NOT NULL AS known,
            a.score AS score_a, b.score AS score_b, a.cell AS cell_a, b.cell AS cell_b
        FROM samples b JOIN samples a ON a.image_id = b.image_id WHERE a.run = ? AND b.run = ? ORDER BY b.image_id""",
        [first.name, second.name],
    ).df()
    if rows.empty:
        raise RequestError(
            f"runs {first.name} and {second.name} have no picture in common: pictures are matched by their bytes, so "
            "both runs must read the same files"
        )
    frame = load(con, second.name, group=group or second.settings.group or first.settings.group)
    relabelled = rows["relabelled"].to_numpy(dtype=bool)

    def column(name: str) -> NDArray[np.object_]:
        values = rows[name].astype(object)
        return np.asarray(values.where(values.notna(), None), dtype=object)

    def side(letter: str) -> Side:
        numbers = (
            rows[f"{name}_{letter}"].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("confidence", "score")
        )
        confidence, score = numbers
        right = rows[f"right_{letter}"].to_numpy(dtype=bool)
        return Side(column(f"answer_{letter}"), confidence, right, score, column(f"cell_{letter}"))

    return Pairs(
        a=first,
        b=second,
        ids=column("image_id"),
        paths=column("path"),
        labels=column("label"),
        side_a=side("a"),
        side_b=side("b"),
        labelled=rows["known"].to_numpy(dtype=bool) & ~relabelled,
        relabelled=int(relabelled.sum()),
        frame=frame,
        places=np.flatnonzero(pc.is_in(frame.table["image_id"], pa.array(rows["image_id"])).to_numpy()),
    )


def _check_classes(a: Run, b: Run) -> None:
    if a.class_names and b.class_names and not set(a.class_names) & set(b.class_names):
        raise RequestError(
            f"the classifiers of runs {a.name} and {b.name} have no class name in common ({a.class_names[0]}, … and "
            f"{b.class_names[0]}, …): give both the same class names"
        )
