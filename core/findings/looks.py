"""What a person's own slices are worth: how large a difference must be to stand, after so many looks at one run.

Every slice that is tried is one more chance to be fooled, so each look has a smaller share of the error budget than the
one before it: alpha-spending, which is alpha-investing (Foster & Stine 2008, JRSS B 70:429) without its reward. By the
union bound all looks together are wrong at most one time in twenty however they depend on each other, which slices of
one run do. e-LOND (arXiv 2311.06412), which rewards what stood under any dependence, too, would ask for a p-value two
hundred times smaller at the 17th look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from core.findings.frame import Codes, Mask
from core.findings.groups import groups_of
from core.findings.significance import RATE, Table, clustered, cross, excess_p
from core.queries import Connection


@dataclass(frozen=True)
class Members:
    """The pictures of a run that have a label and a prediction: id, right or wrong, and group. All of shape (n,)."""

    ids: NDArray[np.bytes_]
    wrong: Mask
    groups: Codes


@dataclass(frozen=True)
class Look:
    """How a slice differs from the rest of its run, and what would be needed; accuracies from 0 to 1.

    `needed` is None where no difference could stand.
    """

    difference: float
    needed: float | None
    stands: bool


def members(con: Connection, run: str, *, group: str | None = None) -> Members:
    """The pictures of a run of which it is known whether they are right.

    Raises:
        QueryError: There is no metadata column `group`.
    """
    rows = con.execute("SELECT image_id, correct FROM samples WHERE run = ? ORDER BY image_id", [run]).to_arrow_table()
    correct = rows["correct"].to_numpy()
    known = np.asarray([value is not None for value in correct], dtype=bool)
    ids = np.asarray(rows["image_id"].to_pylist(), dtype=np.bytes_)
    groups = groups_of(con, run, len(ids), group=group)
    return Members(ids[known], np.asarray(correct[known] == 0, dtype=bool), groups[known])


def inside(known: Members, ids: Sequence[str]) -> Mask:
    """Which of the pictures a slice holds, (n,)."""
    return np.isin(known.ids, np.asarray(ids, dtype=np.bytes_)) if ids else np.zeros(known.ids.size, dtype=bool)


def slice_key(mask: Mask) -> str:
    """The same for a slice and for what it leaves out: both are one comparison."""
    return hashlib.sha256(np.packbits(mask ^ mask[:1]).tobytes()).hexdigest()[:16]


def largest_p(number: int) -> float:
    """The p-value at which look `number` stands, counted from 1; the levels of all looks sum to RATE."""
    return RATE / (number * (number + 1))


def look(known: Members, mask: Mask, *, number: int) -> Look:
    """A slice against the rest of its run, neither of them empty, as look `number`.

    Two-sided. Near-duplicates and pictures that belong together count once, as in the report.
    """
    difference = float(known.wrong[~mask].mean() - known.wrong[mask].mean())
    hits = known.wrong if difference < 0 else ~known.wrong
    one_sided = largest_p(number) / 2
    everything, flat = np.ones_like(mask), np.zeros(mask.size, dtype=np.int64)
    alone = np.unique(known.groups).size == mask.size
    found = (cross if alone else partial(clustered, groups=known.groups))(mask, hits, everything, flat)
    if isinstance(found, Table):
        return Look(difference, _needed(found, one_sided), excess_p(found) <= one_sided)
    excess, spread = found
    worth = int(mask.sum()) * int((~mask).sum()) / mask.size  # times a difference of two rates: hits above chance
    needed = -float(ndtri(one_sided)) * spread / worth
    return Look(difference, needed if needed <= 1 else None, excess >= needed * worth > 0)


def _needed(table: Table, p: float) -> float | None:
    """The least difference of two rates with a p-value of at most `p`, both margins kept."""
    n1, n0 = int(table.inside[0]), int(table.outside[0])
    k = int(table.hits[0] + table.rest_hits[0])

    def with_hits(x: int) -> Table:
        return Table(*(np.asarray([value]) for value in (x, n1, k - x, n0)))

    low, high = max(0, k - n0) - 1, min(n1, k)
    if excess_p(with_hits(high)) > p:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if excess_p(with_hits(middle)) <= p else (middle, high)
    return high / n1 - (k - high) / n0
