"""Duplicates that disagree (across labels, across splits) and pictures unlike all others.

Knows: what LabelRows hold. Does not know: stores, pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from core.images.near_duplicates import near_groups
from core.labels.agreement import Floats
from core.queries.labels import LabelRows

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"})
"""Names of folders that are read as splits where no metadata say."""
NEIGHBOUR = 10
REFERENCES = 4_000
"""Pictures that distances are measured to at most."""
FENCE = 3.0
"""An outlier is further than the upper quartile by more than this many quartile ranges (Tukey 1977: far out)."""
MOST_OUTLIERS = 24
LARGEST = 24
"""Pictures of a set that are kept; a set of plain pictures may hold thousands."""


@dataclass(frozen=True)
class DuplicateSet:
    """Pictures that are the same (`exact`: one picture under several paths) or nearly so, and disagree."""

    exact: bool
    image_ids: tuple[str, ...]
    paths: tuple[str, ...]
    n: int
    """Files; `paths` may hold fewer."""
    labels: tuple[str, ...]
    """Distinct; for exact duplicates the names of their folders."""
    splits: tuple[str, ...]

    @property
    def words(self) -> str:
        """What is wrong with them, in one line."""
        kind = "The same file" if self.exact else "Nearly the same picture"
        said = [f"under {' and '.join(self.labels)}"] if len(self.labels) > 1 else []
        said += [f"in {' and '.join(self.splits)}"] if len(self.splits) > 1 else []
        return f"{kind} {', '.join(said)}"


@dataclass(frozen=True)
class Duplicates:
    """How many sets of duplicates there are, and those that disagree: across labels first, then across splits."""

    exact: int
    near: int
    across_labels: tuple[DuplicateSet, ...]
    across_splits: tuple[DuplicateSet, ...]


def duplicates(rows: LabelRows) -> Duplicates:
    """Exact duplicates (one picture, several paths) and near ones (core.images.near_duplicates)."""
    several = [place for place, paths in enumerate(rows.paths) if len(paths) > 1]
    groups = near_groups(rows.hashes)
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if rows.n else []
    near = [part for part in parts if part.size > 1]
    found = [_exact(rows, place) for place in several] + [_near(rows, part) for part in near]
    return Duplicates(
        len(several),
        len(near),
        tuple(item for item in found if len(item.labels) > 1),
        tuple(item for item in found if len(item.splits) > 1),
    )


def _exact(rows: LabelRows, place: int) -> DuplicateSet:
    """Where its files lie in class folders the folders say how each is labelled; the run keeps one label for all."""
    paths = rows.paths[place]
    folders = {PurePosixPath(path).parts[0] for path in paths if "/" in path}
    labels = folders & set(rows.names)
    return DuplicateSet(
        True, (rows.image_ids[place],), paths[:LARGEST], len(paths), tuple(sorted(labels)), _splits(rows, [place])
    )


def _near(rows: LabelRows, places: np.ndarray) -> DuplicateSet:
    kept = places[:LARGEST]
    labels = {rows.names[label] for label in rows.labels[places] if label >= 0}
    return DuplicateSet(
        False,
        tuple(rows.image_ids[place] for place in kept),
        tuple(rows.paths[place][0] for place in kept),
        int(places.size),
        tuple(sorted(labels)),
        _splits(rows, [int(place) for place in places]),
    )


def _splits(rows: LabelRows, places: list[int]) -> tuple[str, ...]:
    """The splits of pictures: those of their folders, else those of the metadata."""
    found: set[str] = set()
    for place in places:
        named = {part for path in rows.paths[place] for part in PurePosixPath(path).parts[:-1]}
        by_folder = {part for part in named if part.casefold() in SPLITS}
        told = rows.splits[place] if rows.splits is not None else None
        found |= by_folder or ({told} if told else set())
    return tuple(sorted(found))


@dataclass(frozen=True)
class Outlier:
    """A picture unlike the others: `times` as far from its 10th nearest neighbour as the picture in the middle."""

    image_id: str
    path: str
    label: str | None
    times: float


def outliers(rows: LabelRows, *, most: int = MOST_OUTLIERS) -> tuple[Outlier, ...] | None:
    """Pictures far from all others by their features, furthest first; None without features or with few pictures."""
    if rows.features is None:
        return None
    usable = np.flatnonzero(np.isfinite(rows.features).all(axis=1))
    if usable.size < 5 * NEIGHBOUR:
        return None
    far = _distances(rows.features[usable].astype(np.float64))
    low, middle, high = np.quantile(far, [0.25, 0.5, 0.75])
    order = np.argsort(-far, kind="stable")[:most]
    return tuple(
        Outlier(
            rows.image_ids[usable[row]],
            rows.paths[usable[row]][0],
            rows.names[rows.labels[usable[row]]] if rows.labels[usable[row]] >= 0 else None,
            float(far[row] / max(middle, 1e-9)),
        )
        for row in order
        if far[row] > high + FENCE * (high - low)
    )


def _distances(features: Floats) -> Floats:
    """The distance of each picture to its 10th nearest neighbour among at most REFERENCES others, (n,)."""
    from sklearn.neighbors import NearestNeighbors  # here: it takes a while to load

    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    references = scaled[:: -(-len(scaled) // REFERENCES)]
    nearest = NearestNeighbors(n_neighbors=NEIGHBOUR + 1, algorithm="brute").fit(references)
    found = np.sort(nearest.kneighbors(scaled)[0], axis=1)
    own = found[:, 0] < 1e-9  # a reference finds itself first
    return np.where(own, found[:, NEIGHBOUR], found[:, NEIGHBOUR - 1])
