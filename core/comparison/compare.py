"""Two runs over the same pictures, compared picture by picture."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.stats import binom

from core.cells import CELLS
from core.comparison.changes import changes
from core.comparison.exact import by_group, flip_p, paired_interval
from core.comparison.judges import judges
from core.comparison.maps import moved
from core.comparison.pairs import Pairs, Side, paired
from core.comparison.result import Accuracy, CellChange, Churn, Comparison, ConfusionChange, Meant
from core.labels.calibration import LEAST, calibration_error
from core.queries import Connection
from core.statistics import format_pictures, mean_interval, wilson

SAME_LABEL = "a.label = b.label"


def compare(con: Connection, a: str, b: str, *, group: str | None = None) -> Comparison:
    """Compares run `b` with run `a`: accuracy, answers, classes and slices, attention, confidence, judges.

    Args:
        con: a reader of the store.
        a: name of the run that was there before.
        b: name of the run that is compared with it.
        group: metadata column whose equal values belong together; None takes the one that the runs name.

    Raises:
        QueryError: there is no such run, or no such column.
        RequestError: both are one run, or have no picture or no class in common.
    """
    pairs = paired(con, a, b, group=group)
    sizes = [int(con.execute("SELECT count(*) FROM samples WHERE run = ?", [run.name]).fetchall()[0][0])
             for run in (pairs.a, pairs.b)]  # fmt: skip
    return Comparison(
        a=pairs.a,
        b=pairs.b,
        matched=pairs.n,
        only_a=sizes[0] - pairs.n,
        only_b=sizes[1] - pairs.n,
        notes=tuple(_notes(pairs)),
        accuracy=_accuracy(pairs),
        churn=_churn(pairs),
        changes=changes(pairs),
        confusions=_confusions(pairs),
        cells=_cells(pairs),
        attention=moved(con, pairs),
        calibration=_calibration(pairs),
        surer=mean_interval(pairs.side_b.confidence - pairs.side_a.confidence),
        judges=judges(pairs),
    )


def _notes(pairs: Pairs) -> list[str]:
    """What limits the comparison, a sentence each."""
    found = []
    if pairs.relabelled:
        found.append(
            f"{format_pictures(pairs.relabelled)} have another label in each run and are left out of the accuracies."
        )
    labels = set(pairs.labels[pairs.labelled])
    for letter, run, other in (("A", pairs.a, pairs.b), ("B", pairs.b, pairs.a)):
        lacks = labels & set(other.class_names) - set(run.class_names)
        if lacks and run.class_names:
            n = int(np.isin(pairs.labels[pairs.labelled], list(lacks)).sum())
            found.append(
                f"{letter}'s classifier lacks {len(lacks):,} of the classes, so it is wrong on the "
                f"{format_pictures(n)} of them."
            )
    unfinished = [letter for letter, run in (("A", pairs.a), ("B", pairs.b)) if run.state != "done"]
    if unfinished:
        found.append(f"Run {' and '.join(unfinished)} did not finish: only what it has is compared.")
    return found


def _accuracy(pairs: Pairs) -> Accuracy | None:
    n = int(pairs.labelled.sum())
    if not n:
        return None
    change = pairs.change
    moves = by_group(change, pairs.groups)
    right = [int((side.right & pairs.labelled).sum()) for side in (pairs.side_a, pairs.side_b)]
    groups = pairs.groups[pairs.labelled]
    return Accuracy(
        n=n,
        a=wilson(right[0], n),
        b=wilson(right[1], n),
        difference=paired_interval(moves, n),
        p=flip_p(moves),
        grouped=np.unique(groups).size < n,
        regressions=pairs.pairs(change < 0),
        wins=pairs.pairs(change > 0),
        regressions_sql=pairs.sql(SAME_LABEL, "a.correct AND NOT b.correct"),
        wins_sql=pairs.sql(SAME_LABEL, "b.correct AND NOT a.correct"),
    )


def _churn(pairs: Pairs) -> Churn:
    a, b = pairs.side_a, pairs.side_b
    answered = np.asarray(
        [x is not None and y is not None for x, y in zip(a.answers, b.answers, strict=True)], dtype=bool
    )
    differ = answered & (a.answers != b.answers)
    between = int((pairs.change != 0).sum())
    low, high = (int(binom.ppf(share, between, 0.5)) for share in (0.025, 0.975))
    return Churn(
        differ=wilson(int(differ.sum()), int(answered.sum())),
        both_wrong=int((differ & pairs.labelled & ~a.right & ~b.right).sum()),
        expected=(low, high) if between and not pairs.frame.grouped else None,
        sql=pairs.sql("a.prediction <> b.prediction"),
    )


def _confusions(pairs: Pairs) -> tuple[ConfusionChange, ...]:
    a, b = (
        Counter(zip(pairs.labels[pairs.labelled], side.answers[pairs.labelled], strict=True))
        for side in (pairs.side_a, pairs.side_b)
    )
    found = [ConfusionChange(*key, a[key], b[key]) for key in {*a, *b} if a[key] != b[key]]
    return tuple(sorted(found, key=lambda item: (-abs(item.b - item.a), item.label, item.answer)))


def _cells(pairs: Pairs) -> tuple[CellChange, ...]:
    a, b = pairs.side_a.cells, pairs.side_b.cells
    both = np.asarray([x is not None and y is not None for x, y in zip(a, b, strict=True)], dtype=bool)
    if not both.any():
        return ()
    return tuple(
        CellChange(kind.name, int((a[both] == kind.name).sum()), int((b[both] == kind.name).sum())) for kind in CELLS
    )


def _calibration(pairs: Pairs) -> tuple[Meant, Meant] | None:
    if int(pairs.labelled.sum()) < LEAST:
        return None

    def meant(side: Side) -> Meant:
        confidence = side.confidence[pairs.labelled]
        return Meant(float(confidence.mean()), calibration_error(confidence, side.right[pairs.labelled]))

    return meant(pairs.side_a), meant(pairs.side_b)
