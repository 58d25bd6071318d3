"""A finding: a sentence with its number, its interval, its n and its own SQL."""

from __future__ import annotations

from dataclasses import dataclass

from core.statistics import Interval

KINDS = {
    "failures": "Failures",
    "cue": "Cue that no column lists",
    "shortcut": "Shortcut suspicion",
    "confusion": "Confusion",
    "weak_class": "Weak class",
    "weak_slice": "Weak slice",
    "wrong_label": "Suspected wrong labels",
    "attention": "Attention habit",
}
"""Kinds of findings and their headings."""


@dataclass(frozen=True)
class Finding:
    """One finding of one run.

    `sql` is a complete SELECT that gives exactly the `n` pictures the finding is about; `value` is its number with
    interval, `rest` what it is compared with; `impact` is how many pictures it costs, by which findings are ranked.
    Where the finding compares, `contrast_sql` gives pictures that went right: of the same classes, without the
    condition. `sentence` is what people repeat, with two numbers at most; `evidence` has the intervals, n and the test
    behind it.
    """

    kind: str
    rank: int
    sentence: str
    value: Interval
    rest: Interval | None
    sql: str
    n: int
    impact: float = 0.0
    evidence: str = ""
    contrast_sql: str = ""

    @property
    def heading(self) -> str:
        """The kind in words."""
        return KINDS[self.kind]

    @property
    def about_labels(self) -> bool:
        """Whether its pictures are looked at on the page Labels, since its SQL is a mere list of them."""
        return self.kind == "wrong_label"

    def row(self) -> dict[str, object]:
        """As Store.save_findings keeps it."""
        rest = self.rest
        return {
            "rank": self.rank,
            "kind": self.kind,
            "sentence": self.sentence,
            "sql": self.sql,
            "value": self.value.value,
            "low": self.value.low,
            "high": self.value.high,
            "n": self.n,
            "rest_value": rest.value if rest else None,
            "rest_low": rest.low if rest else None,
            "rest_high": rest.high if rest else None,
            "rest_n": rest.n if rest else None,
            "evidence": self.evidence,
        }
