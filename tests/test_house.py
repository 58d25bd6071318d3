"""House rules that no linter checks: what tests share lies in tests/support, and nothing is called one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
FILES = sorted(TESTS.rglob("*.py"))
ROOT = TESTS.parent
CODE = [
    *ROOT.glob("*.py"),
    *(path for name in ("core", "pages", "data", "tests") for path in (ROOT / name).rglob("*.py")),
]


def imported(source: str) -> set[str]:
    """Last words of all that a file imports: modules, and names taken from packages."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(alias.name for alias in node.names)}
    return {name.rpartition(".")[2] for name in found}


def test_no_file_imports_a_test() -> None:
    tests = {path.stem for path in FILES if path.stem.startswith("test_")} | {"conftest"}
    wrong = {str(path.relative_to(TESTS)): imported(path.read_text()) & tests for path in FILES}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize(
    "line",
    [
        "import test_pages",
        "from test_pages import opened",
        "import tests.attack.test_kills as kills",
        "from tests.test_kill import Forker",
        "from tests.attack import test_kills",
        "from . import test_kills",
        "def f():\n    from tests import test_kills",
    ],
)
def test_every_way_to_import_a_test_is_seen(line: str) -> None:
    assert imported(line) & {"test_pages", "test_kills", "test_kill"}


def called_one(source: str) -> set[int]:
    """The lines on which a variable or an argument is called `one`, which says nothing of what it is."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.lineno for node in nodes if isinstance(node, ast.Name) and node.id == "one"}
    return names | {node.lineno for node in nodes if isinstance(node, ast.arg) and node.arg == "one"}


def test_nothing_is_called_one() -> None:
    found = {str(path.relative_to(ROOT)): called_one(path.read_text()) for path in CODE}
    assert len(found) > 100 and not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize("line", ["one = 1", "[one for one in rows]", "key = lambda one: one", "def f(*, one): ..."])
def test_every_way_to_call_something_one_is_seen(line: str) -> None:
    assert called_one(line) == {1}
