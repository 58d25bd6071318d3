"""Runs whose mistakes are drawn, so that what is true of them is known: for the error rates of findings.

No model and no picture: labels, answers and metadata in an in-memory DuckDB with the columns of `samples`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.columns import BY_NAME
from core.findings.frame import Frame, load

Floats = NDArray[np.float64]


@dataclass
class MadeRun:
    """Columns of a run that are not drawn yet: change `error` and `pull` by cause, then `connect`."""

    generator: np.random.Generator
    label: NDArray[np.int64]
    error: Floats
    """Chance that a picture is classified wrongly, (n,)."""
    columns: dict[str, NDArray[np.object_] | Floats]
    classes: int
    pull: Floats = field(default_factory=lambda: np.zeros(0))
    """Chance that a picture is given a class because of its context, (n, classes)."""
    copies: int = 1
    group: str | None = None
    """The column whose equal values belong together."""
    mistaken: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The class that a wrong picture is given, (n,); drawn where it is empty."""

    def has(self, column: str, value: object) -> NDArray[np.bool_]:
        """Where a column has a value."""
        return np.asarray(self.columns[column] == value)

    def frame(self) -> Frame:
        """Draws the answers; copies of a picture are near-duplicates of each other."""
        return load(self.connect(), "r-made", group=self.group)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Draws the answers and gives a connection with tables `runs`, `metadata` and the view `samples`."""
        n, rng = self.label.size, self.generator
        wrong = rng.random(n) < self.error
        other = self.mistaken if self.mistaken.size else (self.label + rng.integers(1, self.classes, n)) % self.classes
        answer = np.where(wrong, other, self.label)
        if self.pull.size:
            pulled = rng.random(n) < self.pull.sum(1)
            drawn = [rng.choice(self.classes, p=row / row.sum()) if row.sum() else 0 for row in self.pull]
            answer = np.where(pulled, drawn, answer)
        sure = rng.uniform(0.3, 1, n)
        own = np.where(answer == self.label, sure, (1 - sure) * rng.random(n))
        drawn = {
            "run": np.full(n, "r-made"),
            "image_id": np.asarray([f"{rng.integers(2**62):016x}" for _ in range(n)]),
            "true_rate": 1 - self.error,
            "near_hash": np.asarray([rng.bytes(16) for _ in range(n)], dtype=object),
            "label": np.asarray([f"class{place}" for place in self.label]),
            "prediction": np.asarray([f"class{place}" for place in answer]),
            "correct": answer == self.label,
            "confidence": sure,
            "label_probability": own,
            **{name: rng.random(n) for name in BY_NAME if name.startswith(("attention_", "causal_"))},
            "causal_draws": np.full(n, 6),
        }
        keep = np.repeat(np.arange(n), self.copies)
        table = pa.table({name: values[keep] for name, values in {**drawn, **self.columns}.items()})
        missing = [name for name in BY_NAME if name not in table.column_names]
        con = duckdb.connect()
        con.register("made", table)
        empty = ", ".join(f"NULL::{'VARCHAR' if 'st' in name else 'DOUBLE'} AS {name}" for name in missing)
        unique = "image_id" if self.copies == 1 else "image_id || '-' || row_number() OVER ()"
        con.execute(f"CREATE TABLE every AS SELECT * REPLACE ({unique} AS image_id), {empty} FROM made")
        con.execute("CREATE VIEW samples AS SELECT * EXCLUDE (near_hash, true_rate) FROM every")
        con.execute("CREATE TABLE images AS SELECT 'f' AS fingerprint, image_id, near_hash FROM every")
        con.execute("CREATE TABLE runs AS SELECT 'r-made' AS run, 2.5 AS high_score, 'f' AS images_fingerprint")
        return con


def made_run(seed: int, *, n: int = 3000, classes: int = 10, error: float = 0.2, hard: bool = True) -> MadeRun:
    """Ten classes of unequal difficulty and five columns of metadata that nothing depends on."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    rates = np.full(classes, error) if not hard else rng.uniform(0.5, 1.5, classes) * error
    columns = {
        "habitat": rng.choice(["desert", "meadow", "snow", "street", "water"], n).astype(object),
        "time_of_day": rng.choice(["day", "night"], n, p=[0.75, 0.25]).astype(object),
        "size": rng.choice(["small", "middle", "large"], n).astype(object),
        "camera": rng.choice([f"camera{place}" for place in range(8)], n).astype(object),
        "distance": rng.gamma(2, 10, n),
    }
    return MadeRun(rng, label, rates[label], columns, classes)


def in_videos(run: MadeRun, frames: int) -> MadeRun:
    """`frames` pictures for each of the run, in column `video`: what is hard in one is hard in the others.

    The share of mistakes differs from video to video about the run's error rates, and each video has its own mistake.
    """
    keep = np.repeat(np.arange(run.label.size), frames)
    other = (run.label + run.generator.integers(1, run.classes, run.label.size)) % run.classes
    columns = {name: values[keep] for name, values in run.columns.items()}
    columns["video"] = np.asarray([f"video{place}" for place in keep], dtype=object)
    error = run.generator.beta(run.error, 1 - run.error)[keep]
    return MadeRun(run.generator, run.label[keep], error, columns, run.classes, group="video", mistaken=other[keep])


def label_goes_with(run: MadeRun, column: str, values: list[str], *, share: float = 0.8) -> None:
    """Redraws a column so that each class has a usual value."""
    usual = np.asarray(values, dtype=object)[run.label % len(values)]
    other = run.generator.choice(values, run.label.size)
    run.columns[column] = np.where(run.generator.random(run.label.size) < share, usual, other)


def harder(run: MadeRun, where: NDArray[np.bool_], points: float) -> None:
    """Adds `points` of error rate to some pictures."""
    run.error = np.where(where, np.minimum(1, run.error + points), run.error)


def pulled(run: MadeRun, where: NDArray[np.bool_], answer: int, rate: float) -> None:
    """Gives some pictures an answer at a rate, whatever their label."""
    run.pull = np.zeros((run.label.size, run.classes))
    run.pull[where, answer] = rate
