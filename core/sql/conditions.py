"""Conditions of a query as data, and as SQL.

Knows: how a condition is written. Does not know: how one is read (core/sql/where), what a click does (core/sql/chips).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from core.columns import BY_NAME
from core.store.quoting import identifier, literal

Value: TypeAlias = str | int | float | bool
Operator = Literal["in", "between", "null", "has", "<", "<=", ">", ">="]
CONTRARY: dict[Operator, Operator] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
Joiner = Literal["AND", "OR"]


@dataclass(frozen=True)
class Condition:
    """What must hold of one column: `in` some values, `between` two, `null`, or a list that `has` a value."""

    column: str
    operator: Operator
    values: tuple[Value, ...] = ()
    negated: bool = False
    source: str = field(default="", compare=False)
    """The text it was read from, which is kept as long as the condition is."""

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: too few or too many values, or one that SQL has no number for.
        """
        wanted = {"in": range(1, 10_000), "between": range(2, 3), "null": range(1)}.get(self.operator, range(1, 2))
        if len(self.values) not in wanted:
            raise ValueError(f"a condition `{self.operator}` does not take {len(self.values)} values")
        if self.negated and self.operator in CONTRARY:
            raise ValueError(f"the contrary of `{self.operator}` is `{CONTRARY[self.operator]}`, not its negation")
        if any(isinstance(value, float) and not math.isfinite(value) for value in self.values):
            raise ValueError(f"values of a condition are text and finite numbers, got {self.values}")

    def contrary(self) -> Condition:
        """What must hold instead."""
        if self.operator in CONTRARY:
            return replace(self, operator=CONTRARY[self.operator], source="")
        return replace(self, negated=not self.negated, source="")

    @property
    def sql(self) -> str:
        """The condition as SQL."""
        return self.source or _condition_sql(self)


@dataclass(frozen=True)
class Raw:
    """A part of a WHERE clause that no condition can say, as it was written."""

    text: str
    negated: bool = False

    @property
    def sql(self) -> str:
        """The text."""
        return f"NOT ({ended(self.text)})" if self.negated else self.text


@dataclass(frozen=True)
class Group:
    """Two or more parts of which all must hold (AND) or one (OR)."""

    joiner: Joiner
    members: tuple[Condition | Raw | Group, ...]
    negated: bool = False
    source: str = field(default="", compare=False)

    @property
    def sql(self) -> str:
        """The group in parentheses."""
        inner = f" {self.joiner} ".join(ended(member.sql) for member in self.members)
        return self.source or f"{'NOT ' if self.negated else ''}({inner})"


Clause: TypeAlias = Condition | Raw | Group


@dataclass(frozen=True)
class Query:
    """A query as its conditions, all of which must hold, and the text before and after them."""

    text: str
    """The query as it runs."""
    head: str
    clauses: tuple[Clause, ...]
    tail: str

    def having(self, *clauses: Clause) -> Query:
        """The same query with these conditions in place of its own."""
        where = "\n  AND ".join(ended(clause.sql) for clause in clauses)
        parts = [self.head, f"WHERE {where}" if clauses else "", self.tail]
        text = "\n".join(part.strip() for part in parts if part.strip())
        return Query(text, self.head, clauses, self.tail)


def _condition_sql(item: Condition) -> str:
    # names of ours are safe bare, also those that SQL has a word for, as label
    name = item.column if item.column in BY_NAME else identifier(item.column)
    values = [literal(value) for value in item.values]
    no = "NOT " if item.negated else ""
    if item.operator == "null":
        return f"{name} IS {no}NULL"
    if item.operator == "has":
        return f"{no}list_contains({name}, {values[0]})"
    if item.operator == "between":
        return f"{name} {no}BETWEEN {values[0]} AND {values[1]}"
    if item.operator == "in" and len(values) > 1:
        return f"{name} {no}IN ({', '.join(values)})"
    if item.operator == "in" and item.values[0] is True:
        return no + name
    if item.operator == "in":
        return f"{name} {'<>' if item.negated else '='} {values[0]}"
    return f"{name} {item.operator} {values[0]}"


def ended(text: str) -> str:
    """A part after which more may follow: a comment at its end is ended by a new line."""
    return text + "\n" if "--" in text.rpartition("\n")[2] else text
