"""The gate before user SQL: one SELECT over this store's tables, or a refusal in words with its place.

Knows: what DuckDB's parser says a text does, where a CTE's name holds. Does not know: the data, which names are let
through (core/sql/functions), processes, time or memory limits (core/sql/worker; what passes is harmless, not cheap).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from core.errors import QueryError
from core.sql.functions import FUNCTIONS, MACROS, TABLE_FUNCTIONS, TABLE_MACROS, TABLES

MAX_CHARACTERS = 20_000
MAX_NESTING = 150
_REMEDY = "Here only one SELECT over samples (or another table of this store) can run"
_PLACE = re.compile(r"\n+LINE (\d+): (.*)\n( *)\^", re.DOTALL)
_GAP = r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/)"
_EXPLAIN = re.compile(rf"{_GAP}*EXPLAIN\b({_GAP}+ANALYZE\b)?", re.IGNORECASE)
_CTE_NAME = re.compile(r"(?!duckdb_|pragma_|pg_|sqlite_)[\w -]+", re.IGNORECASE)
_TABLE_LIST = "SELECT name FROM (VALUES " + ", ".join(f"('{name}')" for name in sorted(TABLES)) + ") AS tables(name)"
_MARK = "the values that DuckDB will find"
_WORD = re.compile(rb"\w+|.", re.DOTALL)
_CALLABLE = FUNCTIONS | MACROS.keys() | TABLE_FUNCTIONS | TABLE_MACROS
"""Those of tables have been looked at as such."""
_PIVOT_ENDS = {"using", "group", "order", "limit", "offset", "union", "except", "intersect", "qualify"}

Node = dict[str, Any]
"""An object of the parser's tree, as its JSON has it."""
Scope = Mapping[str, bool]
"""The CTEs that can be named at a place, in lower case; true within a recursive one, of its own name."""


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


def check(sql: str) -> str:
    """Lets exactly one SELECT over this store's tables pass, or the EXPLAIN of one; gives the text to run.

    That is the text itself save for SHOW TABLES, which becomes a SELECT of the tables' names. PIVOT without IN is two
    statements for DuckDB, one of which makes a temporary type: run the text in a transaction and roll it back.

    Raises:
        SqlError: anything else, in words, with line and column where the parser knows them.
    """
    check_text(sql)
    con = duckdb.connect(":memory:", config={"python_enable_replacements": False, "threads": 1})
    try:
        kinds = _statements(con, sql)
        found = _EXPLAIN.match(sql)
        if kinds != ["EXPLAIN"] or not found:
            return _check_select(con, sql, kinds)
        # blanks in place of the first words keep every place what it was
        inner = re.sub(r"[^\n]", " ", sql[: found.end()]) + sql[found.end() :]
        explained = f"EXPLAIN {'ANALYZE ' if found[1] else ''}{_check_select(con, inner, _statements(con, inner))}"
        if _statements(con, explained) != ["EXPLAIN"]:
            raise SqlError(f"{_REMEDY}, or its EXPLAIN")
        return explained
    except RecursionError as error:
        raise SqlError("The query is nested too deeply") from error
    finally:
        con.close()


def _check_select(con: duckdb.DuckDBPyConnection, sql: str, kinds: list[str]) -> str:
    if not kinds:
        raise SqlError("There is no query yet, only a comment")
    if kinds == ["SELECT"]:
        tree = _tree(con, sql)
        return _checked(con, sql, tree)
    if set(kinds[:-1]) == {"CREATE"} and kinds[-1] == "SELECT":  # either a PIVOT without IN, or really two statements
        named, marks = with_values_named(sql)
        if marks == len(kinds) - 1 and _statements(con, named) == ["SELECT"]:
            tree = _tree(con, named)
            pivots = [pivot for node, _ in _nodes(tree) for pivot in node.get("pivots") or []]
            if sum(_MARK in json.dumps(pivot["entries"]) for pivot in pivots) == marks:
                _checked(con, named, tree)
                return sql
    if len(kinds) > 1 and kinds[0] == "SELECT":
        raise SqlError(f"{_REMEDY}; this text holds {len(kinds)} statements")
    if len(kinds) > 1 and re.search(r"\bpivot", sql, re.IGNORECASE):
        raise SqlError("Write the pivot as SELECT * FROM samples PIVOT (… FOR … IN ('a', 'b')): name its values")
    raise SqlError(f"{_REMEDY}, not {kinds[0]}")


def _statements(con: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The kinds of statements in a text, as DuckDB runs them."""
    try:
        return [str(statement.type).rpartition(".")[2] for statement in con.extract_statements(sql)]
    except duckdb.Error as error:
        raise translate(error, sql) from error


def _tree(con: duckdb.DuckDBPyConnection, sql: str) -> Node:
    """The parser's tree of the only statement."""
    try:
        text = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0]
    except duckdb.Error as error:
        raise translate(error, sql) from error
    tree: Node = json.loads(text)
    if tree["error"]:
        raise SqlError(_REMEDY if tree.get("error_type") == "not implemented" else str(tree.get("error_message")))
    return tree


def with_values_named(sql: str) -> tuple[str, int]:
    """The text with `IN (…)` after each expression of a PIVOT that lacks it, as the gate can read it, and how often."""
    data = sql.encode()
    starts = [start for start, _ in duckdb.tokenize(sql)]
    words = [_WORD.match(data, start)[0].decode(errors="replace").lower() for start in starts]  # type: ignore[index]
    places: list[int] = []
    for index, word in enumerate(words):
        if word in ("pivot", "pivot_wider"):
            places += _unnamed(words, index + 1)
    pieces, last = [], 0
    for place in sorted(set(places)):
        start = starts[place] if place < len(starts) else len(data)
        pieces.append(data[last:start] + f"\n IN ('{_MARK}') ".encode())
        last = start
    return (b"".join(pieces) + data[last:]).decode(), len(pieces)


def _unnamed(words: list[str], start: int) -> Iterator[int]:
    """Of a PIVOT whose words begin at `start`: the words before which an IN is missing."""
    depth, on, named = 0, False, False
    for index in range(start, len(words) + 1):
        word = words[index] if index < len(words) else ";"
        ends = depth == 0 and (word in ")]};," or word in _PIVOT_ENDS)
        if on and ends and not named:
            yield index
        if ends and (on or word in ")]};") and word != ",":
            return
        if on and depth == 0:
            named = False if word == "," else named or word == "in"
        on = on or (depth == 0 and word == "on")
        depth += (word in "([{") - (word in ")]}")


def _checked(con: duckdb.DuckDBPyConnection, sql: str, tree: Node) -> str:
    """Checks every node of a tree; the text to run in its place."""
    shown = False
    for node, scope in list(_nodes(tree)):
        _check_node(sql, node, scope)
        if node.get("type") == "SHOW_REF" and not node.get("query"):
            node.update(_tree(con, f"FROM ({_TABLE_LIST})")["statements"][0]["node"]["from_table"])
            shown = True
    if not shown:
        return sql
    text: str = con.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()[0][0]
    return text


def _nodes(tree: Node) -> Iterator[tuple[Node, Scope]]:
    """Every object of the parser's tree with the CTEs that can be named there, without recursion."""
    waiting: list[tuple[object, Scope]] = [(tree, {})]
    while waiting:
        item, scope = waiting.pop()
        if isinstance(item, list):
            waiting.extend((part, scope) for part in item)
        elif isinstance(item, dict):
            yield item, scope
            inside = scope
            # a CTE sees those before it, not itself and none after it
            for entry in (item.get("cte_map") or {}).get("map", []):
                waiting.append((entry["value"], inside))
                inside = {**inside, str(entry["key"]).lower(): False}
            for key, value in item.items():
                if key == "cte_map":
                    continue
                itself = item.get("type") == "RECURSIVE_CTE_NODE" and key == "right"
                waiting.append((value, {**inside, str(item["cte_name"]).lower(): True} if itself else inside))


def _check_node(sql: str, node: Node, scope: Scope) -> None:
    place = node.get("query_location", -1)
    for entry in (node.get("cte_map") or {}).get("map", []):
        # DuckDB would look for a file or a system table of that name where the CTE is not seen
        if not _CTE_NAME.fullmatch(str(entry["key"])):
            raise SqlError(f"A CTE cannot be called {entry['key']} here; use letters, digits and _")
    if node.get("type") == "BASE_TABLE":
        _check_table(sql, node, scope)
    elif node.get("type") == "TABLE_FUNCTION":
        function = node.get("function") or {}
        name = str(function.get("function_name", "")).lower()
        if name in TABLE_MACROS:
            _check_source(sql, function, scope)
        elif name not in TABLE_FUNCTIONS or function.get("catalog") or function.get("schema"):
            raise _at(sql, place, f"{name}() cannot be read from here; {_REMEDY[0].lower()}{_REMEDY[1:]}")
    elif node.get("type") == "SHOW_REF" and not node.get("query"):
        if node.get("table_name") not in ('"tables"', "__show_tables_expanded"):
            raise _at(sql, place, "Only SHOW TABLES, and DESCRIBE and SUMMARIZE of a table, are possible here")
    elif "function_name" in node:
        # `label.upper()` comes as function upper of a schema label, and no schema here has functions of its own
        name = str(node["function_name"]).lower()
        if name not in _CALLABLE:
            raise _at(sql, place, f"The function {name}() cannot be used here")
    elif node.get("class") == "PARAMETER":
        raise _at(sql, place, "A query cannot have parameters (? or $1); write the value")


def _check_table(sql: str, node: Node, scope: Scope) -> None:
    name, schema, catalog = (str(node.get(key) or "") for key in ("table_name", "schema_name", "catalog_name"))
    known = not catalog and (
        (name.lower() in TABLES and schema.lower() in ("", "main"))
        or (name.lower() in scope and not schema)
        or (scope.get(name.lower(), False) and schema.lower() == "recurring")
    )
    if not known:
        full = ".".join(part for part in (catalog, schema, name) if part)
        tables = ", ".join(sorted(TABLES))
        raise _at(sql, node.get("query_location", -1), f"There is no table {full} to read here; there are {tables}")


def _check_source(sql: str, function: Node, scope: Scope) -> None:
    """Checks the table that a macro's argument names."""
    arguments = function.get("children", [])
    sources = [part for part in arguments if str(part.get("alias")).lower() == "source"]
    sources += [part for part in arguments[:1] if not part.get("alias")]
    source = sources[0] if len(sources) == 1 else {}
    name = ".".join(source.get("column_names") or [str(source.get("value", {}).get("value", ""))])
    if function.get("catalog") or function.get("schema") or not (name.lower() in TABLES or name.lower() in scope):
        words = f"{function['function_name']}() needs a table of this store first, as in histogram(samples, score)"
        raise _at(sql, function.get("query_location", -1), words)


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
