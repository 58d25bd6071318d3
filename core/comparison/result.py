"""What a comparison of two runs says, as records: A is the run that was there before, B the one it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.records import Run
from core.statistics import Interval


@dataclass(frozen=True)
class Pair:
    """One picture under both runs."""

    image_id: str
    path: str
    label: str | None
    answer_a: str | None
    answer_b: str | None
    overlap: float | None = None
    """Overlap of the two attended parts (intersection over union); None where it was not measured."""


@dataclass(frozen=True)
class Accuracy:
    """Both accuracies over `n` labelled pictures; `difference` is B less A, `p` that of the exact paired test."""

    n: int
    a: Interval
    b: Interval
    difference: Interval
    p: float
    grouped: bool
    """Whether near-duplicates, or pictures of one group, were counted once."""
    regressions: tuple[Pair, ...]
    """Pictures that only A has right."""
    wins: tuple[Pair, ...]
    """Pictures that only B has right."""
    regressions_sql: str
    wins_sql: str


@dataclass(frozen=True)
class Churn:
    """Pictures that get another answer from B; `expected` is the number that only B has right, were both equally good.

    `expected` is a 95% range given how many pictures just one of the two has right; None without labels, and where
    pictures belong together.
    """

    differ: Interval
    both_wrong: int
    """Of those: pictures that both have wrong, with two answers."""
    expected: tuple[int, int] | None
    sql: str


@dataclass(frozen=True)
class Rest:
    """The labelled pictures outside a slice, and how many of them A and B have right."""

    n: int
    a: int
    b: int


@dataclass(frozen=True)
class Change:
    """A class, slice or confusion: hits of A and of B among its `n` pictures, and whether the difference stands.

    Hits are right answers; of a confusion those pictures that are called so. A slice stands where it differs from its
    `rest`, the others where A and B differ. `p` is adjusted for all questions.
    """

    kind: Literal["class", "slice", "confusion"]
    words: str
    sql: str
    n: int
    a: int
    b: int
    only_a: int
    only_b: int
    rest: Rest | None
    difference: Interval
    p: float
    stands: bool


@dataclass(frozen=True)
class Changes:
    """Every class, slice and confusion, those least likely by chance first.

    `asked` shared one false discovery rate; the others have too few disagreements to say anything. `spread` is how
    much the split of a class's disagreements varies between classes beyond chance (0: not at all, 1: all one way), by
    which every p-value is corrected; None where there are too few classes to tell.
    """

    asked: int
    listed: tuple[Change, ...]
    spread: float | None

    @property
    def standing(self) -> tuple[Change, ...]:
        """Those that are more than chance."""
        return tuple(item for item in self.listed if item.stands)


@dataclass(frozen=True)
class CellChange:
    """Pictures in one cell of correct x attention under A and under B, of those that both judges scored."""

    cell: str
    a: int
    b: int


@dataclass(frozen=True)
class ConfusionChange:
    """Pictures of one label with one answer, under A and under B, where the two numbers differ."""

    label: str
    answer: str
    a: int
    b: int


@dataclass(frozen=True)
class Moved:
    """How far the two attended parts overlap (intersection over union) and the maps agree (Spearman), per picture.

    `other` and `rank_other` are those of A's map with B's map of another picture: what two maps have in common anyway.
    `area` is the attended share of the picture, B's less A's.
    """

    overlap: Interval
    other: Interval
    rank: Interval
    rank_other: Interval
    area: Interval
    most: tuple[Pair, ...]
    """Pictures whose attention moved most, the least overlap first."""


@dataclass(frozen=True)
class Meant:
    """Does a run mean its confidence: mean confidence and calibration error over the common pictures."""

    confidence: float
    error: Interval


@dataclass(frozen=True)
class Judges:
    """Two judges over `n` pictures that both scored for the same answer: high or low, chance-corrected, and the scores.

    `difference` is B's mean score less A's, from -5 to 5.
    """

    n: int
    agree: Interval
    kappa: Interval
    rank: float
    difference: Interval
    same_maps: bool
    """Whether both were shown the same maps."""


@dataclass(frozen=True)
class Comparison:
    """Everything that is said of two runs; what cannot be said of them is None."""

    a: Run
    b: Run
    matched: int
    only_a: int
    only_b: int
    notes: tuple[str, ...]
    accuracy: Accuracy | None
    churn: Churn
    changes: Changes
    confusions: tuple[ConfusionChange, ...]
    """Cells of the confusion matrix that differ, the largest differences first."""
    cells: tuple[CellChange, ...]
    attention: Moved | None
    calibration: tuple[Meant, Meant] | None
    surer: Interval
    """Mean difference of the confidences over the pictures that both answered, B's less A's."""
    judges: Judges | None

    @property
    def one_classifier(self) -> bool:
        """Whether both runs have one classifier, so that no answer can differ."""
        return self.a.fingerprints.get("classifier") == self.b.fingerprints.get("classifier")
