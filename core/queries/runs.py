"""The runs of a store, each as one record: those that are published, and those that are on disk now."""

from __future__ import annotations

import json
from dataclasses import dataclass

from core.errors import QueryError
from core.queries.rows import Connection, fetch_rows, has_table
from core.records import HIGH_SCORE, MACHINE, STAGES, Row, Run, Settings
from core.statistics import Interval, wilson
from core.store import Store


def runs(con: Connection) -> list[Run]:
    """Every published run, newest first."""
    return [_of_row(row) for row in fetch_rows(con, "SELECT * FROM runs ORDER BY started DESC, run")]


def run(con: Connection, name: str | None = None) -> Run:
    """The run called `name`, or the newest.

    Raises:
        QueryError: there is none; the message names those there are.
    """
    found = runs(con)
    if not found:
        raise QueryError("the store has no runs yet: start one with whylook demo or whylook run")
    for item in found:
        if name in (None, item.name):
            return item
    raise QueryError(f"no run {name} in this store; there are {', '.join(item.name for item in found)}")


@dataclass(frozen=True)
class RunAccuracy:
    """How often a run is right, over its labelled pictures, and how many the judge scored."""

    right: Interval
    judged: int


def accuracies(con: Connection) -> dict[str, RunAccuracy]:
    """What every published run is right on, by its name."""
    rows = con.execute(
        """SELECT run, count(*) FILTER (correct), count(correct), count(*) FILTER (judge_state = 'ok')
        FROM samples GROUP BY run"""
    ).fetchall()
    return {str(run): RunAccuracy(wilson(right, n), judged) for run, right, n, judged in rows}


def run_title(con: Connection, name: str) -> str:
    """What a run is called: the name that it had at the last publication, else its classifier and start."""
    named = (
        has_table(con, "run_names")
        and con.execute("SELECT name FROM run_names WHERE run = ? AND name <> ''", [name]).fetchall()
    )
    return str(named[0][0]) if named else run(con, name).title


def runs_on_disk(store: Store) -> list[Run]:
    """Every run as it is on disk now, newest first; what is published may be a little behind."""
    return [_run(record) for record in store.run_records()]


def _of_row(row: Row) -> Run:
    told = {name: json.loads(row[name] or "{}") for name in ("settings", "counts", "seconds")}
    return _run({**row, **told, "fingerprints": {stage: row[f"{stage}_fingerprint"] for stage in STAGES}})


def _run(record: Row) -> Run:
    """A Run; what an older whylook did not write has its default."""
    high = record.get("high_score")
    return Run(
        name=record["run"],
        state=record["state"],
        started=record["started"],
        finished=record["finished"],
        settings=_settings(record["settings"]),
        fingerprints={stage: mark for stage, mark in record["fingerprints"].items() if mark is not None},
        class_names=tuple(record.get("class_names") or ()),
        counts=record["counts"],
        seconds=record.get("seconds") or {},
        judge_note=record.get("judge_note"),
        judge_limits=record.get("judge_limits"),
        high_score=HIGH_SCORE if high is None else float(high),
        version=record.get("version") or "unknown",
        attempt=record.get("attempt") or 1,
    )


def _settings(kept: Row) -> Settings:
    return Settings(
        images=str(kept.get("images") or ""),
        classifier=str(kept.get("classifier") or ""),
        fill=kept.get("fill") or "black",
        view=kept.get("view") or "masked",
        group=(kept.get(MACHINE) or {}).get("group"),
        kept=kept,
    )
