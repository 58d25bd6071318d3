"""How far to trust a run's maps: table `faithfulness` as measures with intervals."""

from __future__ import annotations

from dataclasses import dataclass

from core.queries.rows import Connection, fetch_rows
from core.statistics import Interval, format_mean, format_rate, mean_interval, wilson

_MEASURES = (
    ("morf", "probability left while the most relevant pixels go first", "morf_random", "lower"),
    ("lerf", "probability left while the least relevant pixels go first", "morf_random", "higher"),
    ("insertion", "probability reached while the most relevant pixels come first", "insertion_random", "higher"),
    ("road", "ROAD: least less most relevant removed, pixels imputed", None, "higher"),
    ("energy_inside", "share of the map on the object", "energy_inside_edges", "higher"),
    ("pointing", "largest value on the object", None, "higher"),
    ("randomised", "likeness to the map of the same network with random weights", None, "nearer 0"),
)


@dataclass(frozen=True)
class Measure:
    """One measure over the sample: mean with interval, the control it should beat, and which way is better."""

    name: str
    meaning: str
    value: Interval
    control: Interval | None
    better: str


@dataclass(frozen=True)
class Faithfulness:
    """What is known of a run's maps; `ordered` is the share of pictures where MoRF falls faster than LeRF."""

    measures: tuple[Measure, ...]
    ordered: Interval
    n: int

    def rows(self) -> list[dict[str, str]]:
        """One row of text per measure, for a table."""
        rows = [
            {
                "measure": measure.name,
                "value": format_mean(measure.value),
                "control": format_mean(measure.control, n=False) if measure.control else "",
                "better": measure.better,
                "meaning": measure.meaning,
            }
            for measure in self.measures
        ]
        told = {"measure": "ordered", "value": format_rate(self.ordered), "control": "", "better": "higher"}
        return [
            *rows,
            {**told, "meaning": "pictures whose probability falls faster in the map's order than in reverse"},
        ]


def map_faithfulness(con: Connection, run: str) -> Faithfulness | None:
    """The faithfulness of a run's maps; None where it was not measured."""
    rows = fetch_rows(
        con,
        "SELECT f.* FROM faithfulness f JOIN runs r ON r.attribution_fingerprint = f.fingerprint WHERE r.run = ?",
        [run],
    )
    if not rows:
        return None
    measures = []
    for name, meaning, control, better in _MEASURES:
        value = mean_interval([row[name] for row in rows])
        if value.known:
            beaten = mean_interval([row[control] for row in rows]) if control else None
            measures.append(Measure(name, meaning, value, beaten, better))
    return Faithfulness(tuple(measures), wilson(sum(row["morf"] < row["lerf"] for row in rows), len(rows)), len(rows))
