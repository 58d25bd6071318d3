"""Reads the conditions of a user's query out of its WHERE clause.

Knows: DuckDB's tokens and parser. Does not know: which columns there are. What no condition can say stays as the text
that it was.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import duckdb

from core.sql.conditions import Clause, Condition, Group, Operator, Query, Raw, Value

_COMPARED: dict[str, Operator] = {
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_WHERE_ENDS = {
    "order",
    "limit",
    "offset",
    "group",
    "having",
    "window",
    "qualify",
    "using",
    "union",
    "except",
    "intersect",
}
_WORD = re.compile(rb"\w+|.", re.DOTALL)


@lru_cache(maxsize=256)
def parse(text: str, run: str) -> Query:
    """Reads the conditions of a user's query.

    A query that is more than a SELECT of rows of `samples` becomes one part that a picture must be in; so does one
    with LIMIT, whose rows would else change. A text that cannot be read gives no conditions.
    """
    found = _parts(text)
    if found is not None:
        return found
    inside = Raw(f"image_id IN (SELECT image_id FROM (\n{text.strip().rstrip(';')}\n))")
    of_run = Condition("run", "in", (run,))
    return Query(text, "SELECT * FROM samples", (of_run, inside), "ORDER BY confidence DESC")


@dataclass(frozen=True)
class _Token:
    start: int
    """Byte in the text."""
    word: str
    """Lower case; a quote or sign by itself."""


def _tokens(data: bytes) -> list[_Token]:
    found = []
    for start, _ in duckdb.tokenize(data.decode()):
        match = _WORD.match(data, start)
        found.append(_Token(start, match[0].decode(errors="replace").lower() if match else ""))
    return found


def _outer(tokens: list[_Token]) -> list[tuple[int, str]]:
    """Places and words of the tokens that stand in no parentheses and no CASE."""
    depth, found = 0, []
    for place, token in enumerate(tokens):
        closes = token.word in (")", "]", "}", "end")
        depth -= closes
        if depth == 0 and not closes:
            found.append((place, token.word))
        depth += token.word in ("(", "[", "{", "case")
    return found


def _parts(text: str) -> Query | None:
    """A query taken apart; None when it is no plain SELECT of rows of `samples`."""
    text = text.strip().rstrip(";").rstrip()
    con = duckdb.connect(":memory:", config={"python_enable_replacements": False, "threads": 1})
    try:
        tree = _tree(con, text)
        if tree is None or not _is_plain(tree):
            return None
        data = text.encode()
        tokens = _tokens(data)
        outer = _outer(tokens)
        start = next((place for place, word in outer if word == "where"), None)
        ends = [place for place, word in outer if word in _WHERE_ENDS and place > (start or 0)]
        end = tokens[ends[0]].start if ends else len(data)
        tail = data[end:].decode()
        if start is None:
            return Query(text, data[:end].decode(), (), tail)
        head = data[: tokens[start].start].decode()
        inner = data[tokens[start].start + len("where") : end].decode().strip()
        clause = _clause(con, inner)
        together = isinstance(clause, Group) and clause.joiner == "AND" and not clause.negated
        return Query(text, head, clause.members if together and isinstance(clause, Group) else (clause,), tail)
    except (duckdb.Error, RecursionError, UnicodeError):
        return None
    finally:
        con.close()


def _tree(con: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any] | None:
    """The parser's tree of the only statement of a text."""
    found = json.loads(con.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()[0][0])
    if found["error"] or len(found["statements"]) != 1:
        return None
    node: dict[str, Any] = found["statements"][0]["node"]
    return node


def _is_plain(node: dict[str, Any]) -> bool:
    """Whether conditions may be added to a SELECT without changing what its other parts mean."""
    table = node.get("from_table") or {}
    return (
        node.get("type") == "SELECT_NODE"
        and table.get("type") == "BASE_TABLE"
        and str(table.get("table_name")).lower() == "samples"
        and not (table.get("sample") or node.get("sample") or node.get("qualify") or node.get("having"))
        and not (node.get("group_expressions") or node["cte_map"]["map"])
        and node.get("aggregate_handling") == "STANDARD_HANDLING"
        and all(item["type"] == "ORDER_MODIFIER" for item in node["modifiers"])
    )


def _clause(con: duckdb.DuckDBPyConnection, text: str) -> Clause:
    """A part of a WHERE clause as conditions, as far as these can say it."""
    tree = _tree(con, f"SELECT 1 WHERE {text}\n")
    if tree is None:
        return Raw(text)
    if (condition := _condition(tree["where_clause"], text)) is not None:
        return condition
    for joiner in ("OR", "AND"):
        pieces = _split(text, joiner.lower())
        if len(pieces) > 1:
            return _group(joiner, [_clause(con, piece) for piece in pieces])
    no, inner = _unwrapped(text)
    if inner is None:
        return Raw(text)
    clause = _clause(con, inner)
    if isinstance(clause, Raw):
        return Raw(clause.text, clause.negated != no) if no else Raw(text)
    return replace(clause, negated=clause.negated != no, source=text)


def _group(joiner: str, members: list[Clause]) -> Group:
    """A group without groups of its own kind in it."""
    flat: list[Clause] = []
    for member in members:
        alike = isinstance(member, Group) and member.joiner == joiner and not member.negated
        flat += member.members if alike and isinstance(member, Group) else [member]
    return Group("AND" if joiner == "AND" else "OR", tuple(flat))


def _split(text: str, joiner: str) -> list[str]:
    """The parts of a condition between its outermost ANDs or ORs; the AND of a BETWEEN is none."""
    data = text.encode()
    tokens = _tokens(data)
    pieces, start, between = [], 0, 0
    for place, word in _outer(tokens):
        if word == "and" and between:
            between -= 1
        elif word == joiner:
            pieces.append(data[start : tokens[place].start].decode().strip())
            start = tokens[place].start + len(joiner)
        between += word == "between"
    return [*pieces, data[start:].decode().strip()]


def _unwrapped(text: str) -> tuple[bool, str | None]:
    """Whether a NOT stands before the parentheses that hold a whole text, and what they hold; None: there are none."""
    data = text.encode()
    tokens = _tokens(data)
    no = tokens[0].word == "not"
    first = 1 if no else 0
    if len(tokens) < first + 3 or tokens[first].word != "(" or tokens[-1].word != ")":
        return no, None
    if [place for place, _ in _outer(tokens)] != list(range(first + 1)):
        return no, None
    return no, data[tokens[first].start + 1 : tokens[-1].start].decode().strip()


def _condition(node: dict[str, Any], text: str) -> Condition | None:
    """A node of the parser's tree as a condition; None when it is none."""
    kind, parts = str(node["type"]), list(node.get("children") or [])
    if kind == "OPERATOR_NOT":
        inner = _condition(parts[0], "")
        return replace(inner.contrary(), source=text) if inner is not None else None
    if kind == "COLUMN_REF":
        return _made(node, "in", [True], text=text)
    if kind in ("COMPARE_EQUAL", "COMPARE_NOTEQUAL"):
        return _made(node["left"], "in", [_value(node["right"])], kind == "COMPARE_NOTEQUAL", text)
    if kind in _COMPARED:
        return _made(node["left"], _COMPARED[kind], [_value(node["right"])], text=text)
    if kind in ("COMPARE_IN", "COMPARE_NOT_IN"):
        return _made(parts[0], "in", [_value(part) for part in parts[1:]], kind == "COMPARE_NOT_IN", text)
    if kind == "COMPARE_BETWEEN":
        return _made(node["input"], "between", [_value(node["lower"]), _value(node["upper"])], text=text)
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        return _made(parts[0], "null", [], kind == "OPERATOR_IS_NOT_NULL", text)
    if kind == "FUNCTION" and node["function_name"] == "list_contains" and len(parts) == 2:
        return _made(parts[0], "has", [_value(parts[1])], text=text)
    return None


def _made(
    node: dict[str, Any], operator: Operator, values: list[Value | None], negated: bool = False, text: str = ""
) -> Condition | None:
    names = node.get("column_names") or []
    if node["type"] != "COLUMN_REF" or len(names) != 1 or any(value is None for value in values):
        return None
    known = tuple(value for value in values if value is not None)
    try:
        return Condition(str(names[0]), operator, known, negated, text)
    except ValueError:
        return None


def _value(node: dict[str, Any]) -> Value | None:
    """A constant of the parser's tree; None when it is no text, number or truth value."""
    if node["type"] == "OPERATOR_CAST" and node["cast_type"]["id"] == "BOOLEAN":
        return {"t": True, "f": False}.get(str((node["child"].get("value") or {}).get("value")))
    if node["type"] != "VALUE_CONSTANT" or node["value"]["is_null"]:
        return None
    value, kind = node["value"]["value"], node["value"]["type"]
    if kind["id"] == "DECIMAL" and isinstance(value, int):
        return float(value / 10 ** kind["type_info"]["scale"])
    return value if isinstance(value, str | int | float) else None
