"""Suspected wrong labels, most suspicious first, each with its reasons in words.

Knows: what LabelRows hold. Does not know: stores, pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.images.near_duplicates import near_groups
from core.labels.agreement import FLOOR, Codes, Floats, agreed, of_label, thresholds
from core.queries.labels import LabelRows
from core.statistics import format_pictures, format_spoken

RATIO, PRIOR = 0.1, 1.25
LOWEST, HIGHEST = 0.03, 0.3
"""The limit of what a label may get of what its class usually gets, at least and at most; see `suspicion`."""
NEIGHBOURS, FEW = 10, 3
"""Pictures that a picture is compared with, and how many of them are worth a reason."""
MOST = 500
"""Suspects that are listed at most."""
REFERENCES = 30_000
"""Pictures among which neighbours are looked for at most."""
_AT_ONCE = 64


@dataclass(frozen=True)
class Suspect:
    """A picture whose label may be wrong: `suggested` is what it may be, `support` the probability of its label."""

    rank: int
    image_id: str
    paths: tuple[str, ...]
    label: str
    suggested: str
    support: float
    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)


@dataclass(frozen=True)
class Suspects:
    """The suspects of a run, most suspicious first: at most MOST of `flagged`, among `looked_at` labelled pictures."""

    listed: tuple[Suspect, ...]
    flagged: int
    looked_at: int
    mistakes: int
    """Pictures whose prediction is not their label: what one would look through without a ranking."""
    with_features: bool
    note: str
    """A sentence where nothing could be said, or less than usual; empty where there is none."""
    left_out: int = 0
    """Pictures that were not looked at, where those that were are a uniform sample."""

    @property
    def headline(self) -> str:
        """What is claimed of the flagged ones, and no more."""
        of = f" of a sample of {self.looked_at:,}" if self.left_out else ""
        return f"{format_pictures(self.flagged)}{of} may have a wrong label"

    @property
    def speaks(self) -> str:
        """What speaks against them, as a clause."""
        who = "the classifier, or pictures that look alike, speak" if self.with_features else "the classifier speaks"
        return f"{who} against the label"


@dataclass(frozen=True)
class Suspicion:
    """How probable each class is (n, classes), how doubtful each label, the more the higher, and which are flagged."""

    both: Floats
    doubt: Floats
    flagged: NDArray[np.bool_]


def suspicion(
    probabilities: Floats, labels: Codes, features: NDArray[np.float32] | None, groups: Codes | None = None
) -> Suspicion:
    """Which labels are doubtful, from probabilities (n, classes), labels (n,) and features (n, d); see `agreed`.

    A class's share is its probability divided by what pictures of that label usually get, so that soft and hard classes
    are alike. Doubt rises as the label's share falls and, half as much, as the best other class's rises: labels are
    wrong at random or between classes that are alike, and this ranks both well. Flagged are labels with a share below a
    limit where another class is likelier; the more labels are doubtful at all, the less it takes (the limit is 1.25
    times the part of labels with a share below 0.1).
    """
    both = agreed(probabilities, labels, features, groups)
    share = both / np.maximum(thresholds(both, labels), FLOOR).astype(both.dtype)
    own = of_label(share, labels)
    share[np.arange(labels.size), labels] = 0
    doubt = np.log(np.maximum(share.max(axis=1), FLOOR)) / 2 - np.log(np.maximum(own, FLOOR))
    against = both.argmax(axis=1) != labels
    limit = np.clip(PRIOR * float((against & (own < RATIO)).mean()), LOWEST, HIGHEST)
    return Suspicion(both, doubt, against & (own < limit))


def suspects(rows: LabelRows, *, most: int = MOST) -> Suspects:
    """The suspected wrong labels of a run, ranked; `note` says why where there are none."""
    known = (rows.labels >= 0) & (rows.labels < rows.classes) & np.isfinite(rows.probabilities).all(axis=1)
    places = np.flatnonzero(known)
    labels, probabilities = rows.labels[places], rows.probabilities[places]
    mistakes = int((probabilities.argmax(axis=1) != labels).sum()) if rows.classes else 0
    if note := _nothing(rows, labels, mistakes):
        return Suspects((), 0, int(places.size), mistakes, False, note)
    groups = near_groups(rows.hashes)
    features = None if rows.features is None else rows.features[places]
    found = suspicion(probabilities, labels, features, groups[places])
    both, order = found.both, np.argsort(-found.doubt, kind="stable")
    flagged = order[found.flagged[order]]
    chosen = flagged[:most]
    reasons = _reasons(rows, groups, places[chosen], both[chosen])
    listed = tuple(
        Suspect(
            rank,
            rows.image_ids[places[row]],
            rows.paths[places[row]],
            rows.names[labels[row]],
            rows.names[int(both[row].argmax())],
            float(both[row, labels[row]]),
            why,
        )
        for rank, (row, why) in enumerate(zip(chosen, reasons, strict=True), start=1)
    )
    with_features = rows.features is not None
    note = "" if flagged.size else "No label stands out as wrong."
    if places.size < 50:
        note = f"{note} With {places.size} labelled pictures little can be said.".strip()
    if rows.left_out:
        words = f"The probabilities of all {rows.n + rows.left_out:,} pictures do not fit into memory at once: "
        note = f"{note} {words}a uniform sample of {rows.n:,} was looked at.".strip()
    return Suspects(listed, int(flagged.size), int(places.size), mistakes, with_features, note, rows.left_out)


def _nothing(rows: LabelRows, labels: Codes, mistakes: int) -> str:
    """Why nothing can be said of these labels; empty where something can."""
    if not rows.n:
        return "This run has no pictures yet."
    if not (rows.labels >= 0).any():
        return "These pictures have no labels, so none can be wrong."
    if not labels.size:
        return "No label is the name of a class that the classifier knows, so labels and answers cannot be compared."
    if rows.classes < 2:
        return "The classifier knows one class only, so no label can be another."
    if not mistakes:
        return "Every label is what the classifier answers, so none is suspect."
    if mistakes == labels.size:
        return (
            "The classifier answers otherwise on every picture: check that the class names are in the order of its "
            "outputs before you look at single labels."
        )
    return ""


def _reasons(rows: LabelRows, groups: Codes, places: Codes, both: Floats) -> list[tuple[str, ...]]:
    """Why each is suspect, strongest first, in words."""
    near = _near(rows, places)
    members: dict[int, list[int]] = {}
    for place in np.flatnonzero(np.isin(groups, groups[places])):
        members.setdefault(int(groups[place]), []).append(int(place))
    found: list[tuple[str, ...]] = []
    for row, place in enumerate(places):
        label, guess = int(rows.labels[place]), int(both[row].argmax())
        copies = {int(rows.labels[other]) for other in members[int(groups[place])]} - {label, -1}
        said = [f"a near-duplicate is labelled {rows.names[other]}" for other in sorted(copies)]
        said += _neighbour_words(rows, near[row], label, guess)
        said += _classifier_words(rows, int(place), guess)
        score, answer = float(rows.scores[place]), int(rows.probabilities[place].argmax())
        if score >= rows.high_score and answer != label:
            said.append(f"the judge finds support for {rows.names[answer]} ({score:.1f} of 5)")
        found.append(tuple(said))
    return found


def _neighbour_words(rows: LabelRows, near: Codes, label: int, guess: int) -> list[str]:
    if not near.size:
        return []
    counts = Counter(int(rows.labels[other]) for other in near)
    if counts[guess] > counts[label] and counts[guess] >= FEW:
        return [f"{counts[guess]} of the {near.size} pictures most like it are labelled {rows.names[guess]}"]
    return []


def _classifier_words(rows: LabelRows, place: int, guess: int) -> list[str]:
    said = rows.probabilities[place]
    answer, name = int(said.argmax()), rows.names[guess]
    if answer != guess:
        return [f"it looks like pictures labelled {name}"]
    return [f"the classifier is {format_spoken(float(said[guess]))} sure that it is {name}"]


def _near(rows: LabelRows, places: Sequence[int] | Codes) -> list[Codes]:
    """The labelled pictures whose features are most alike (cosine), for each of `places`; empty without features."""
    if rows.features is None or not len(places):
        return [np.zeros(0, dtype=np.int64) for _ in places]
    usable = np.flatnonzero(np.isfinite(rows.features).all(axis=1) & (rows.labels >= 0))
    if usable.size > REFERENCES:  # enough to be near; the suspects themselves must be among them
        usable = np.union1d(usable[:: -(-usable.size // REFERENCES)], np.intersect1d(usable, places))
    centred = rows.features[usable] - rows.features[usable].mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    at = {int(place): row for row, place in enumerate(usable)}
    found: dict[int, Codes] = {}
    asked = [int(place) for place in places if int(place) in at]
    k = min(NEIGHBOURS, usable.size - 1)
    for start in range(0, len(asked), _AT_ONCE):
        part = asked[start : start + _AT_ONCE]
        own = np.asarray([at[place] for place in part])
        alike = centred[own] @ centred.T  # (part, usable)
        alike[np.arange(own.size), own] = -np.inf
        best = np.argpartition(-alike, k - 1, axis=1)[:, :k] if k > 0 else np.zeros((own.size, 0), dtype=np.int64)
        found.update(zip(part, usable[best], strict=True))
    return [found.get(int(place), np.zeros(0, dtype=np.int64)) for place in places]
