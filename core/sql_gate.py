"""The gate before user SQL: one SELECT over this store's tables, or a refusal in words with its place.

Knows: what DuckDB's parser says a text does; which tables and functions are let through. Does not know: the data,
processes, time or memory limits (core/sql_worker has those; a statement that passes here is harmless, not cheap).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from core.errors import QueryError

MAX_CHARACTERS = 20_000
MAX_NESTING = 150
TABLES = frozenset(("samples", "runs", "images", "metadata", "predictions", "attributions"))
TABLES |= {"judgements", "embeddings", "failures", "slices", "findings", "deck"}
TABLE_FUNCTIONS = frozenset(("unnest", "range", "generate_series", "json_each", "json_tree"))
REFUSED_FUNCTIONS = frozenset(
    ("write_log", "sleep_ms", "getenv", "getvariable", "current_setting", "current_query", "current_query_id")
    + ("current_connection_id", "current_transaction_id", "nextval", "currval", "setseed", "query", "query_table")
    + ("json_execute_serialized_sql", "parse_duckdb_log_message", "error", "variant_bytes_to_variant", "stats")
)
_REMEDY = "Here only one SELECT over samples (or another table of this store) can run"
_PLACE = re.compile(r"\n+LINE (\d+): (.*)\n( *)\^", re.DOTALL)


class SqlError(QueryError):
    """A refusal or failure of user SQL; `line` and `column` count from 1, None where the place is unknown."""

    def __init__(self, words: str, *, line: int | None = None, column: int | None = None) -> None:
        """Puts the place, if known, in front of the words."""
        place = f"Line {line}, column {column}: " if line and column else f"Line {line}: " if line else ""
        super().__init__(place + words)
        self.words = words
        self.line = line
        self.column = column


def check_text(sql: str) -> None:
    """The part of the gate that needs no parser, so that no text can overrun one: length, nesting, strange characters.

    Raises:
        SqlError: the text is empty, too long, too deeply nested, or holds a NUL.
    """
    if not sql.strip():
        raise SqlError("There is no query yet. Try SELECT * FROM samples WHERE NOT correct")
    if len(sql) > MAX_CHARACTERS:
        raise SqlError(f"The query has {len(sql):,} characters; at most {MAX_CHARACTERS:,} can run")
    if "\0" in sql or any(0xD800 <= ord(letter) <= 0xDFFF for letter in sql):
        raise SqlError("The query holds a character that is no text")
    depth = 0
    for index, letter in enumerate(sql):
        depth += (letter in "([{") - (letter in ")]}")
        if depth > MAX_NESTING:
            raise _at(sql, len(sql[:index].encode()), f"The query is nested more than {MAX_NESTING} deep")


def check(sql: str) -> None:
    """Lets exactly one SELECT over this store's tables pass.

    Raises:
        SqlError: anything else, in words, with line and column where the parser knows them.
    """
    check_text(sql)
    con = duckdb.connect(":memory:", config={"python_enable_replacements": False, "threads": 1})
    try:
        tree = _parse(con, sql)
    except RecursionError as error:
        raise SqlError("The query is nested too deeply") from error
    finally:
        con.close()
    nodes = list(_nodes(tree))
    # DuckDB would look for a file of that name, so a CTE may not be called like one
    names = {str(node["key"]) for node in nodes if isinstance(node.get("value"), dict) and "query" in node["value"]}
    common = {name.lower() for name in names if re.fullmatch(r"\w+", name)}
    for node in nodes:
        _check_node(sql, node, common)


def _parse(con: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The parser's tree of the only statement."""
    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as error:
        raise translate(error, sql) from error
    if not statements:
        raise SqlError("There is no query yet, only a comment")
    if len(statements) > 1 and statements[0].type == duckdb.StatementType.SELECT:
        raise SqlError(f"{_REMEDY}; this text holds {len(statements)} statements")
    kind = str(statements[0].type).rpartition(".")[2]
    refusal = f"{_REMEDY}, not {kind}" if kind != "SELECT" else _REMEDY
    if re.match(r"\s*pivot\b", sql, re.IGNORECASE):
        refusal = "Write the pivot as SELECT * FROM samples PIVOT (… ON … IN ('a', 'b')): its values must be named"
    try:
        text = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0]
    except duckdb.Error as error:
        raise translate(error, sql) from error
    tree: dict[str, Any] = json.loads(text)
    if tree["error"]:
        raise SqlError(refusal if tree.get("error_type") == "not implemented" else str(tree.get("error_message")))
    return tree


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the parser's tree, without recursion."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_node(sql: str, node: dict[str, Any], common: set[str]) -> None:
    place = node.get("query_location", -1)
    if node.get("type") == "BASE_TABLE":
        name, schema = str(node.get("table_name", "")), str(node.get("schema_name") or "")
        known = name.lower() in TABLES and schema.lower() in ("", "main") or (name.lower() in common and not schema)
        if not known or node.get("catalog_name"):
            full = ".".join(part for part in (node.get("catalog_name"), schema, name) if part)
            raise _at(sql, place, f"There is no table {full} to read here; there are {', '.join(sorted(TABLES))}")
    elif node.get("type") == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise _at(sql, place, f"{name}() cannot be read from here; {_REMEDY[0].lower()}{_REMEDY[1:]}")
    elif node.get("type") == "SHOW_REF" and not node.get("query"):
        raise _at(sql, place, "Only DESCRIBE and SUMMARIZE of a table are possible here")
    elif "function_name" in node:
        name = str(node["function_name"]).lower()
        schema = str(node.get("schema") or "").lower()
        if name in REFUSED_FUNCTIONS or node.get("catalog") or schema not in ("", "main"):
            raise _at(sql, place, f"The function {name}() cannot be used here")
    elif node.get("class") == "PARAMETER":
        raise _at(sql, place, "A query cannot have parameters (? or $1); write the value")


def _at(sql: str, offset: int, words: str) -> SqlError:
    """A refusal at a byte offset of the parser."""
    data = sql.encode()
    if not 0 <= offset <= len(data):
        return SqlError(words)
    before = data[:offset].decode(errors="ignore")
    return SqlError(words, line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))


def translate(error: duckdb.Error, sql: str) -> SqlError:
    """DuckDB's error as words and a place; its own position marker is taken apart, long lines included."""
    text = str(error)
    place = _PLACE.search(text)
    words = (text[: place.start()] if place else text).strip()
    words = re.sub(r"^(?:[A-Z][A-Za-z]* )+Error: ", "", words)
    words = re.sub(r"\s*\n\s*", " ", words)
    if words.startswith("Max expression depth"):
        return SqlError("The query is nested too deeply")
    if not place:
        return SqlError(words)
    line, shown, marker = int(place[1]), place[2], len(place[3]) - len(f"LINE {place[1]}: ")
    lines = sql.split("\n")
    if not 0 < line <= len(lines):
        return SqlError(words)
    cut = 3 if shown.startswith("...") else 0
    found = lines[line - 1].find(shown[cut : cut + 20].rstrip(".")) if cut else 0
    return SqlError(words, line=line, column=max(1, found + marker - cut + 1) if found >= 0 else None)
