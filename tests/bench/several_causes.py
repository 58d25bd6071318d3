"""One to six causes at once, and none: what whylook, sliceline and cleanlab's Datalab list of the same drawn runs.

A cause is found when one of the first ten listed groups shares half of its pictures with it (intersection over union),
and named when that group's conditions are the planted ones. A listed group is true when its chance of a mistake is at
least a point above that of the same classes elsewhere; that is known, because it was drawn. The peers get errors or
probabilities with the same columns; `distance` comes to sliceline in fifths that fit the planted one.
`python -m tests.bench.several_causes [WORLDS] [PICTURES]`; 20 worlds of 3,000 pictures for each number by default.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.findings import Finding
from core.findings.frame import load
from core.findings.summarise import ranked
from core.statistics import format_rate, wilson
from tests.support.made_runs import MadeRun, harder, made_run, pulled

Mask = NDArray[np.bool_]
FIRST = 10
SHARED = 0.5
POINT = 0.01


@dataclass(frozen=True)
class Group:
    """Pictures that a tool accuses, (n,), and the conditions by which it names them."""

    mask: Mask
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Drawn:
    """A run whose answers are drawn: its rows in the order of `image_id`, its causes, the true chances of a mistake."""

    con: duckdb.DuckDBPyConnection
    rows: pd.DataFrame
    causes: tuple[Group, ...]
    error: NDArray[np.float64]


def fifth(run: MadeRun) -> NDArray[np.int64]:
    """Which fifth of the distances each picture has."""
    distance = np.asarray(run.columns["distance"], dtype=float)
    return np.searchsorted(np.quantile(distance, [0.2, 0.4, 0.6, 0.8]), distance)


def _night(run: MadeRun) -> Group:
    mask = run.has("time_of_day", "night")
    harder(run, mask, 0.19)
    return Group(mask, frozenset({"time_of_day = 'night'"}))


def _pair(run: MadeRun) -> Group:
    mask = run.has("size", "small") & run.has("habitat", "street")
    harder(run, mask, 0.3)
    return Group(mask, frozenset({"size = 'small'", "habitat = 'street'"}))


def _class_there(run: MadeRun) -> Group:
    mask = (run.label == 3) & run.has("habitat", "snow")
    harder(run, mask, 0.4)
    return Group(mask, frozenset({"label = 'class3'", "habitat = 'snow'"}))


def _range(run: MadeRun) -> Group:
    mask = fifth(run) == 2
    harder(run, mask, 0.2)
    return Group(mask, frozenset({"distance"}))


def _camera(run: MadeRun) -> Group:
    mask = run.has("camera", "camera5")
    harder(run, mask, 0.18)
    return Group(mask, frozenset({"camera = 'camera5'"}))


def _pulls(run: MadeRun) -> Group:
    mask = run.has("habitat", "meadow")
    pulled(run, mask, 2, 0.15)
    return Group(mask & (run.label != 2), frozenset({"habitat = 'meadow'"}))


CAUSES: tuple[Callable[[MadeRun], Group], ...] = (_night, _pair, _class_there, _range, _camera, _pulls)


def draw(seed: int, causes: int, n: int) -> Drawn:
    """A run with so many of the six causes, chosen at random."""
    run = made_run(seed, n=n, hard=False)
    chosen = run.generator.permutation(len(CAUSES))[:causes]
    planted = [CAUSES[place](run) for place in chosen]
    run.columns["fifth"] = fifth(run)  # lets rows be put in order; whylook does not see it
    con = run.connect()
    pull = run.pull if run.pull.size else np.zeros((n, run.classes))
    to_own = pull[np.arange(n), run.label]
    error = pull.sum(1) - to_own + (1 - pull.sum(1)) * run.error
    rows = con.execute("SELECT * FROM every").df()  # as they were drawn
    order = np.argsort(rows["image_id"].to_numpy())
    con.execute("CREATE OR REPLACE VIEW samples AS SELECT * EXCLUDE (near_hash, true_rate, fifth) FROM every")
    causes_ = tuple(Group(item.mask[order], item.names) for item in planted)
    return Drawn(con, rows.iloc[order].reset_index(drop=True), causes_, error[order])


def by_whylook(drawn: Drawn) -> list[Group]:
    """What the report accuses, in its order."""
    kinds = ("weak_slice", "shortcut", "weak_class", "confusion")
    return [_group(drawn, item) for item in ranked(load(drawn.con, "r-made")) if item.kind in kinds]


def _group(drawn: Drawn, finding: Finding) -> Group:
    """A finding's pictures, for a shortcut whatever they are called, and its conditions; a range by its column."""
    sql = re.sub(r" AND prediction = '\w+'", "", finding.sql) if finding.kind == "shortcut" else finding.sql
    ids = drawn.con.execute(f"SELECT image_id FROM ({sql})").df()["image_id"]
    said = sql.split(" AND ")[1:]
    equal = {item for item in said if re.fullmatch(r"\w+ = '.*'", item)}
    ranges = {match[1] for item in said if (match := re.match(r"(\w+) (?:>|<=) ", item))}
    return Group(drawn.rows["image_id"].isin(ids).to_numpy(), frozenset(equal | ranges))


def by_sliceline(drawn: Drawn) -> list[Group]:
    """The ten worst slices of up to three conditions, with the alpha of sliceline's paper; it has no test."""
    from sliceline.slicefinder import Slicefinder

    columns = ["label", "habitat", "time_of_day", "size", "camera", "fifth"]
    values = drawn.rows[columns].astype(str)
    finder = Slicefinder(alpha=0.95, k=FIRST, max_l=3, min_sup=len(values) // 100, verbose=False)
    finder.fit(values.to_numpy(), (~drawn.rows["correct"]).to_numpy().astype(float))
    found = []
    for row in finder.top_slices_:
        given = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        mask = np.logical_and.reduce([(values[name] == value).to_numpy() for name, value in given.items()])
        names = {"distance" if name == "fifth" else f"{name} = '{value}'" for name, value in given.items()}
        found.append(Group(mask, frozenset(names)))
    return found


def by_datalab(drawn: Drawn) -> list[Group]:
    """The cluster of metadata that does worst, of twenty, as Datalab scores them; it has no names.

    Left to itself it makes no cluster of such columns, and at its own threshold it flags none of these.
    """
    from cleanlab import Datalab
    from sklearn.cluster import KMeans

    rows = drawn.rows
    classes = sorted(rows["label"].unique())
    answer = rows["prediction"].map({name: place for place, name in enumerate(classes)}).to_numpy()
    sure = rows["confidence"].to_numpy()
    chances = np.repeat(((1 - sure) / (len(classes) - 1))[:, None], len(classes), axis=1)
    chances[np.arange(len(rows)), answer] = sure
    features = pd.get_dummies(rows[["habitat", "time_of_day", "size", "camera"]]).to_numpy(dtype=float)
    distance = rows["distance"].to_numpy()
    features = np.column_stack([features, (distance - distance.mean()) / distance.std()])
    with redirect_stdout(io.StringIO()):
        lab = Datalab(data={"label": rows["label"].tolist()}, label_name="label", verbosity=0)
        asked = {"cluster_ids": KMeans(20, n_init=1, random_state=0).fit_predict(features), "threshold": 1.0}
        lab.find_issues(pred_probs=chances, features=features, issue_types={"underperforming_group": asked})
    flagged = lab.get_issues("underperforming_group")["is_underperforming_group_issue"].to_numpy()
    return [Group(flagged)] if flagged.any() else []


TOOLS: dict[str, Callable[[Drawn], list[Group]]] = {
    "whylook": by_whylook,
    "sliceline": by_sliceline,
    "Datalab": by_datalab,
}


def excess(drawn: Drawn, mask: Mask) -> float:
    """How much likelier a mistake is inside than for the same classes elsewhere; for whole classes, than elsewhere."""
    labels = drawn.rows["label"].to_numpy()
    inside, outside = pd.Series(drawn.error[mask]), pd.Series(drawn.error[~mask])
    there = outside.groupby(labels[~mask]).mean().reindex(labels[mask]).to_numpy()
    known = np.isfinite(there)
    if not known.any():
        return float(inside.mean() - outside.mean())
    return float((inside.to_numpy() - there)[known].mean())


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union."""
    return float((first & second).sum() / max(1, (first | second).sum()))


@dataclass
class Score:
    """Counts over worlds."""

    planted: int = 0
    found: int = 0
    named: int = 0
    first: int = 0
    first_true: int = 0
    worlds_false: int = 0
    false_share: float = 0.0
    listed: int = 0
    seconds: float = 0.0

    def add(self, drawn: Drawn, groups: Sequence[Group], seconds: float) -> None:
        """One world."""
        true = [excess(drawn, group.mask) >= POINT for group in groups]
        first = groups[:FIRST]
        for cause in drawn.causes:
            self.found += any(overlap(group.mask, cause.mask) >= SHARED for group in first)
            self.named += any(group.names == cause.names for group in first)
        self.planted += len(drawn.causes)
        self.first, self.first_true = self.first + len(first), self.first_true + sum(true[:FIRST])
        self.worlds_false += not all(true)
        self.false_share += true.count(False) / max(1, len(true))
        self.listed += len(groups)
        self.seconds += seconds

    def line(self, worlds: int) -> str:
        """Everything that is counted, with intervals."""

        def share(hits: int, n: int) -> str:
            return format_rate(wilson(hits, n), n=False) if n else "–"

        told = {
            "found": share(self.found, self.planted),
            "named": share(self.named, self.planted),
            "true of the first ten": share(self.first_true, self.first),
            "worlds with a false one": share(self.worlds_false, worlds),
        }
        words = " ".join(f"{name} {value:19}" for name, value in told.items())
        false = self.false_share / worlds
        return f"{words} false {false:.1%} listed {self.listed / worlds:.1f} {self.seconds / worlds:.2f} s"


def main() -> None:
    """Measures every tool on every number of causes."""
    given = [int(word) for word in sys.argv[1:3]]
    worlds, n = [*given, *(20, 3000)[len(given) :]]
    for causes in range(len(CAUSES) + 1):
        scores = {name: Score() for name in TOOLS}
        for seed in range(worlds):
            drawn = draw(1000 * causes + seed, causes, n)
            for name, ask in TOOLS.items():
                started = time.perf_counter()
                groups = ask(drawn)
                scores[name].add(drawn, groups, time.perf_counter() - started)
        for name, score in scores.items():
            print(f"{causes} causes, {name:10} {score.line(worlds)}", flush=True)


if __name__ == "__main__":
    main()
