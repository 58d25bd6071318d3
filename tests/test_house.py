"""The tests' own house: what they share lies in tests/support, and each test file stands alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
FILES = sorted(TESTS.rglob("*.py"))


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
