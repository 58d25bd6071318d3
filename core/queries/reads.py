"""Named reads of one run: counts, matrix, confusion, classes, histogram, slices against the rest.

Every function takes a connection from Store.reader(); `ids` narrows to those image_ids, None means the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.cells import CELLS
from core.columns import BY_NAME
from core.queries.rows import Connection, fetch_as, narrowed
from core.queries.runs import run as run_record
from core.sql.functions import TABLES
from core.statistics import Interval, weighted_rate
from core.store.quoting import identifier


@dataclass(frozen=True)
class RunCounts:
    """Pictures of a run by state. `judged` are those with a score; nothing is left out: the judge's states add up."""

    pictures: int
    predicted: int
    labelled: int
    correct: int
    judged: int
    abstained: int
    judge_failed: int
    not_judged: int
    failures: int


class FailureRow(TypedDict):
    """One thing that did not work; `image_id` and `path` are None where it was no single picture."""

    stage: str
    image_id: str | None
    path: str | None
    reason: str


class MatrixRow(TypedDict):
    """Pictures of one cell, counted and by the sum of what they stand for."""

    cell: str | None
    n: int
    weight: float


class ConfusionRow(TypedDict):
    """Pictures of one label with one prediction."""

    label: str
    prediction: str
    n: int
    mean_confidence: float


class ClassRow(TypedDict):
    """Pictures of one label; `high` counts those whose attention is high."""

    label: str
    n: int
    correct: int
    mean_confidence: float
    judged: int
    mean_score: float | None
    high: int
    confused_with: str | None
    confused_n: int


@dataclass(frozen=True)
class Group:
    """One side of a slice: n pictures, `labelled` of them with label and prediction; scores (judged,) with weights."""

    n: int
    labelled: int
    correct: int
    scores: NDArray[np.float64]
    weights: NDArray[np.float64]


@dataclass(frozen=True)
class SliceStats:
    """A slice against the rest of its run."""

    inside: Group
    rest: Group


def columns(con: Connection) -> list[tuple[str, str]]:
    """Columns of `samples` with their DuckDB types, in order."""
    rows = con.execute("DESCRIBE samples").fetchall()
    return [(str(row[0]), str(row[1])) for row in rows]


def table_columns(con: Connection) -> dict[str, list[str]]:
    """The tables that SQL may read, each with its columns in order."""
    rows = con.execute(
        """SELECT table_name, list(column_name ORDER BY ordinal_position) FROM information_schema.columns
        WHERE table_schema = 'main' AND list_contains(?, table_name)
        GROUP BY table_name ORDER BY table_name <> 'samples', table_name""",
        [sorted(TABLES)],
    ).fetchall()
    return {str(name): list(names) for name, names in rows}


def metadata_columns(con: Connection) -> list[tuple[str, str]]:
    """The columns of `samples` that come from the user's metadata."""
    return [column for column in columns(con) if column[0] not in BY_NAME]


def filled(con: Connection, run: str, names: Sequence[str]) -> list[str]:
    """Those of these columns of `samples` that hold something in a run."""
    counts = ", ".join(f"count({identifier(name)})" for name in names)
    found = con.execute(f"SELECT {counts} FROM samples WHERE run = ?", [run]).fetchall()[0]
    return [name for name, n in zip(names, found, strict=True) if n]


def descriptions(con: Connection, run: str) -> list[str | None]:
    """The judge's descriptions of all pictures of a run in the order of `image_id`; None where there is none."""
    rows = con.execute("SELECT description FROM samples WHERE run = ? ORDER BY image_id", [run]).fetchall()
    return [row[0] for row in rows]


def run_counts(con: Connection, run: str, *, ids: Sequence[str] | None = None) -> RunCounts:
    """Counts of a run's pictures by state.

    Raises:
        QueryError: there is no such run.
    """
    run_record(con, run)
    where, parameters = narrowed(ids)
    row = con.execute(
        f"""SELECT count(*), count(prediction), count(correct), count(*) FILTER (correct),
               count(*) FILTER (judge_state = 'ok'), count(*) FILTER (judge_state = 'abstained'),
               count(*) FILTER (judge_state = 'failed'), count(*) FILTER (judge_state IS NULL)
        FROM samples WHERE run = ?{where}""",
        [run, *parameters],
    ).fetchall()[0]
    return RunCounts(*[int(value) for value in (*row, len(failures(con, run)))])


def failures(con: Connection, run: str) -> list[FailureRow]:
    """Everything in a run that did not work and was not mended since: stage, image_id, path, reason."""
    return fetch_as(
        FailureRow,
        con,
        """WITH noted AS (SELECT DISTINCT stage, image_id, path, reason FROM failures WHERE run = $run),
        states AS (
            SELECT 'attribution' AS stage, s.image_id, s.path, t.reason
            FROM samples s JOIN runs r USING (run)
            JOIN attributions t ON t.fingerprint = r.attribution_fingerprint AND t.image_id = s.image_id
            WHERE s.run = $run AND t.state = 'failed'
            UNION ALL
            SELECT 'judge', s.image_id, s.path, t.reason
            FROM samples s JOIN runs r USING (run)
            JOIN judgements t ON t.fingerprint = r.judge_fingerprint AND t.image_id = s.image_id
            WHERE s.run = $run AND s.judge_state = 'failed'
        )
        SELECT stage, image_id, path, reason FROM noted
        UNION ALL SELECT stage, image_id, path, reason FROM states
            WHERE (stage, image_id) NOT IN (SELECT (stage, image_id) FROM noted WHERE image_id IS NOT NULL)
        ORDER BY stage, path""",
        {"run": run},
    )


def checked_maps(con: Connection, fingerprint: str) -> set[str]:
    """Pictures whose causal check stands beside their map, or that have no map to check."""
    rows = con.execute(
        "SELECT image_id FROM attributions WHERE fingerprint = ? AND (causal_drop IS NOT NULL OR state <> 'ok')",
        [fingerprint],
    ).fetchall()
    return {str(row[0]) for row in rows}


def missing_rows(con: Connection, run: str) -> str | None:
    """A sentence where a finished run had more rows when it ended than are published: damage took them since."""
    record = run_record(con, run)
    if record.state != "done":
        return None
    noted, found = record.counts, run_counts(con, run)
    attributed = con.execute(
        """SELECT count(*) FROM runs r JOIN samples s USING (run)
        JOIN attributions a ON a.fingerprint = r.attribution_fingerprint AND a.image_id = s.image_id WHERE r.run = ?""",
        [run],
    ).fetchall()[0][0]
    now = {"pictures": found.pictures, "predicted": found.predicted, "attributed": int(attributed)}
    now |= {"judged": found.judged, "abstained": found.abstained} if "abstained" in noted else {}
    lost = [f"{name} {n:,} of {noted[name]:,}" for name, n in now.items() if n < noted.get(name, 0)]
    return (
        f"Rows of this run are missing ({', '.join(lost)} are left), and the numbers are of what is left: "
        "the same whylook run again computes them anew."
        if lost
        else None
    )


def matrix(con: Connection, run: str, *, ids: Sequence[str] | None = None) -> list[MatrixRow]:
    """Pictures per cell in the usual order, then those without a cell (`cell` None): n and the sum of weights."""
    where, parameters = narrowed(ids)
    found = {
        row["cell"]: row
        for row in fetch_as(
            MatrixRow,
            con,
            f"""SELECT cell, count(*) AS n, coalesce(sum(weight), 0) AS weight
            FROM samples WHERE run = ?{where} GROUP BY cell""",
            [run, *parameters],
        )
    }
    names = (*(cell.name for cell in CELLS), None)
    return [found.get(name, MatrixRow(cell=name, n=0, weight=0.0)) for name in names]


def labels_not_asked(con: Connection, run: str) -> set[str]:
    """Wrongly classified pictures whose judgement says nothing of the label that the run gives them."""
    rows = con.execute(
        """SELECT s.image_id FROM samples s JOIN runs r USING (run)
        JOIN judgements j ON j.fingerprint = r.judge_fingerprint AND j.image_id = s.image_id
        WHERE s.run = ? AND s.correct IS FALSE AND j.state = 'ok' AND j.label_asked IS DISTINCT FROM s.label""",
        [run],
    ).fetchall()
    return {str(row[0]) for row in rows}


def cell_shares(con: Connection, run: str) -> tuple[dict[str, Interval], bool]:
    """How many pictures are of each cell, each judged one counting for what it stands for; and whether that differs."""
    rows = con.execute(
        "SELECT cell, weight FROM samples WHERE run = ? AND cell IS NOT NULL ORDER BY image_id", [run]
    ).to_arrow_table()
    weights = rows["weight"].to_numpy()
    shares = {kind.name: weighted_rate(pc.equal(rows["cell"], kind.name).to_numpy(), weights) for kind in CELLS}
    return shares, bool((weights != 1).any())


def confusion(con: Connection, run: str, *, ids: Sequence[str] | None = None) -> list[ConfusionRow]:
    """Pairs of label and prediction that occur: n and mean confidence."""
    where, parameters = narrowed(ids)
    return fetch_as(
        ConfusionRow,
        con,
        f"""SELECT label, prediction, count(*) AS n, avg(confidence) AS mean_confidence
        FROM samples WHERE run = ? AND correct IS NOT NULL{where} GROUP BY ALL ORDER BY label, prediction""",
        [run, *parameters],
    )


def most_confused(counts: Mapping[tuple[str, str], int], most: int) -> list[str]:
    """At most `most` classes by name: those of the largest confusions, then those with most mistakes.

    Args:
        counts: pictures by label and prediction.
        most: classes to choose.
    """
    mistakes: dict[str, int] = {}
    for pair, n in counts.items():
        for name in pair:
            mistakes[name] = mistakes.get(name, 0) + (n if pair[0] != pair[1] else 0)
    mutual = {pair: n + counts.get(pair[::-1], 0) for pair, n in counts.items() if pair[0] != pair[1]}
    pairs = [pair for pair, n in sorted(mutual.items(), key=lambda item: (-item[1], item[0])) if n > 1]
    ranked = sorted(mistakes, key=lambda name: (-mistakes[name], name))
    return sorted(list(dict.fromkeys([*(name for pair in pairs for name in pair), *ranked]))[:most])


def per_class(con: Connection, run: str, *, ids: Sequence[str] | None = None) -> list[ClassRow]:
    """One row per label: n, correct, confidence, judged, weighted mean score, number `high`, commonest confusion."""
    where, parameters = narrowed(ids)
    return fetch_as(
        ClassRow,
        con,
        f"""WITH s AS (FROM samples WHERE run = ? AND correct IS NOT NULL{where}),
        wrong AS (
            SELECT label, prediction, count(*) AS n FROM s WHERE NOT correct GROUP BY label, prediction
            QUALIFY row_number() OVER (PARTITION BY label ORDER BY count(*) DESC, prediction) = 1
        )
        SELECT s.label, count(*) AS n, count(*) FILTER (correct) AS correct, avg(confidence) AS mean_confidence,
               count(score) AS judged,
               sum(score * weight) / nullif(sum(weight) FILTER (score IS NOT NULL), 0) AS mean_score,
               count(*) FILTER (cell IN ('correct_high', 'wrong_high')) AS high,
               any_value(wrong.prediction) AS confused_with, coalesce(any_value(wrong.n), 0) AS confused_n
        FROM s LEFT JOIN wrong ON wrong.label = s.label GROUP BY s.label ORDER BY s.label""",
        [run, *parameters],
    )


def histogram(con: Connection, run: str, *, bins: int = 10, ids: Sequence[str] | None = None) -> list[dict[str, float]]:
    """Scores 0 to 5 in equal bins, 5 in the last: how many pictures of each cell the judged ones stand for."""
    where, parameters = narrowed(ids)
    found = con.execute(
        f"""SELECT least(floor(score / 5 * ?), ?)::INTEGER AS bin, cell, round(sum(weight))
        FROM samples WHERE run = ? AND cell IS NOT NULL{where} GROUP BY ALL""",
        [bins, bins - 1, run, *parameters],
    ).fetchall()
    counted = {(int(place), str(cell)): int(n) for place, cell, n in found}
    width = 5 / bins
    return [
        {"low": index * width, "high": (index + 1) * width}
        | {cell.name: counted.get((index, cell.name), 0) for cell in CELLS}
        for index in range(bins)
    ]


def slice_stats(con: Connection, run: str, ids: Sequence[str] | None) -> SliceStats:
    """A slice and the rest of its run; ids of other runs count for nothing, and None is the whole run."""
    table = con.execute("SELECT image_id, correct, score, weight FROM samples WHERE run = ?", [run]).to_arrow_table()
    columns_ = {name: table[name].combine_chunks() for name in table.column_names}
    if ids is None:
        inside = np.ones(len(table), dtype=np.bool_)
    else:
        inside = np.asarray(pc.is_in(columns_["image_id"], value_set=pa.array(ids, pa.string())))
    known = np.asarray(columns_["correct"].is_valid())
    correct = np.asarray(columns_["correct"].fill_null(False))
    score, weight = (
        np.asarray(columns_[name].cast(pa.float64()).fill_null(float("nan"))) for name in ("score", "weight")
    )

    def group(side: NDArray[np.bool_]) -> Group:
        scored = side & ~np.isnan(score)
        n, labelled, right = (int(flags.sum()) for flags in (side, side & known, side & correct))
        return Group(n, labelled, right, score[scored], weight[scored])

    return SliceStats(group(inside), group(~inside))
