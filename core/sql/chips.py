"""What a click on a value, a range or a condition makes of a query: each gives a new query.

Knows: conditions as data. Does not know: SQL text, the pages.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from core.sql.conditions import Clause, Condition, Group, Operator, Query, Value


def toggled(query: Query, column: str, value: Value | None, *, within: bool = False) -> Query:
    """One more click on a value: it is wanted, then unwanted, then neither; None is "not known".

    Values of one column that are wanted are alternatives. `within`: the column is a list that has the value.
    """
    state = state_of(query, column, value, within=within)
    operator: Operator = "null" if value is None else "has" if within else "in"
    clauses = [kept for clause in query.clauses if (kept := _without(clause, operator, column, value)) is not None]
    if state != "out":
        negated = state == "in"
        place = next((at for at, item in enumerate(clauses) if _is(item, operator, column, negated)), None)
        values = () if value is None else (value,)
        if place is not None and operator == "in":
            old = clauses[place]
            assert isinstance(old, Condition)
            clauses[place] = replace(old, values=(*old.values, *values), source="")
        else:
            clauses.append(Condition(column, operator, values, negated))
    return query.having(*clauses)


def state_of(query: Query, column: str, value: Value | None, *, within: bool = False) -> Literal["in", "out", ""]:
    """Whether a query wants a value, does not want it, or says nothing of it."""
    operator: Operator = "null" if value is None else "has" if within else "in"
    for clause in query.clauses:
        for negated in (False, True):
            if _is(clause, operator, column, negated):
                assert isinstance(clause, Condition)
                if value is None or any(_same(value, other) for other in clause.values):
                    return "out" if negated else "in"
    return ""


def ranged(query: Query, column: str, low: float, high: float) -> Query:
    """The query with a column between two numbers, in place of an earlier range; again: not between, then neither."""
    wanted = Condition(column, "between", (low, high))
    others = [clause for clause in query.clauses if clause != wanted.contrary()]
    kept = [clause for clause in others if not _is(clause, "between", column, False)]
    if len(others) < len(query.clauses):
        return query.having(*kept)
    return query.having(*kept, wanted.contrary() if wanted in query.clauses else wanted)


def range_of(query: Query, column: str) -> tuple[float, float] | None:
    """The range that a query wants of a column."""
    for clause in query.clauses:
        if isinstance(clause, Condition) and _is(clause, "between", column, False):
            low, high = clause.values
            if not isinstance(low, str) and not isinstance(high, str):
                return float(low), float(high)
    return None


def negated(query: Query, place: int) -> Query:
    """The query with one of its conditions turned into its contrary."""
    clauses = list(query.clauses)
    clause = clauses[place]
    if isinstance(clause, Condition):
        clauses[place] = clause.contrary()
    elif isinstance(clause, Group):
        clauses[place] = replace(clause, negated=not clause.negated, source="")
    else:
        clauses[place] = replace(clause, negated=not clause.negated)
    return query.having(*clauses)


def removed(query: Query, place: int) -> Query:
    """The query without one of its conditions."""
    return query.having(*query.clauses[:place], *query.clauses[place + 1 :])


def either(query: Query, first: int, second: int) -> Query:
    """The query in which one of two conditions is enough."""
    members: list[Clause] = []
    for clause in (query.clauses[first], query.clauses[second]):
        alike = isinstance(clause, Group) and clause.joiner == "OR" and not clause.negated
        members += clause.members if alike and isinstance(clause, Group) else [clause]
    clauses = list(query.clauses)
    clauses[first] = Group("OR", tuple(members))
    del clauses[second]
    return query.having(*clauses)


def both(query: Query, place: int) -> Query:
    """The query in which each member of a group must hold."""
    clause = query.clauses[place]
    members = clause.members if isinstance(clause, Group) else (clause,)
    return query.having(*query.clauses[:place], *members, *query.clauses[place + 1 :])


def _is(clause: Clause, operator: Operator, column: str, negated: bool) -> bool:
    return (
        isinstance(clause, Condition)
        and clause.operator == operator
        and clause.negated == negated
        and clause.column.lower() == column.lower()
    )


def _same(value: Value, other: Value) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _without(clause: Clause, operator: Operator, column: str, value: Value | None) -> Clause | None:
    """A clause without one value of one column; None when nothing is left of it."""
    if not isinstance(clause, Condition) or not any(_is(clause, operator, column, no) for no in (False, True)):
        return clause
    left = tuple(other for other in clause.values if value is not None and not _same(value, other))
    if len(left) == len(clause.values) and clause.values:
        return clause
    return replace(clause, values=left, source="") if left else None
