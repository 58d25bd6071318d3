"""The README against reality: its file tree, its tables, its commands and the columns it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.columns import SAMPLE_COLUMNS
from core.commands.parser import COMMANDS
from tests.support.tiny_world import MODEL, make_folder

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCHEMA = (ROOT / "core" / "schema.sql").read_text(encoding="utf-8")


def between(name: str) -> list[str]:
    """Lines between <!-- name --> and <!-- /name -->."""
    return README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0].strip().splitlines()


def tree() -> dict[str, str]:
    """Path and description of every line of the file tree."""
    found, folder = {}, ""
    for line in between("tree"):
        if line.startswith("```"):
            continue
        name, _, words = line.strip().partition(" ")
        path = folder + name if line.startswith("  ") else name
        if not line.startswith("  ") and name.endswith("/"):
            folder = name
        found[path] = words.strip()
    return found


def test_every_path_of_the_file_tree_exists_and_is_described() -> None:
    for path, words in tree().items():
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == path.endswith("/"), path
        assert words or path == "core/", path


def test_the_file_tree_lacks_nothing() -> None:
    named = set(tree())
    modules = {f"core/{path.name}" for path in (ROOT / "core").glob("*.*") if path.name != "__init__.py"}
    packages = {f"core/{path.parent.name}/" for path in (ROOT / "core").glob("*/__init__.py")}
    pages = {f"pages/{path.name}" for path in (ROOT / "pages").glob("[a-z]*.py")}
    demo = {f"data/demo/{path.name}" for path in (ROOT / "data" / "demo").glob("[a-z]*.py")}
    top = {path.name for path in ROOT.glob("*.py")}
    assert modules | packages | pages | demo | top | {"pages/", "core/", "data/demo/", "tests/"} == named


def test_the_table_list_is_that_of_the_schema() -> None:
    listed = {match for line in between("tables") for match in re.findall(r"^\| `(\w+)` \|", line)}
    bookkeeping = {"store_info", "loaded_shards", "superseded", "metadata_names", "documents", "texts", "postings"}
    made = set(re.findall(r"^CREATE TABLE (?:loaded\.)?(\w+)", SCHEMA, re.MULTILINE))
    assert listed == made - bookkeeping


def test_the_columns_of_samples_are_listed_as_they_are_in_the_code() -> None:
    head, rule, *rows = between("columns")
    assert head.count("|") == rule.count("|") == 6
    assert rows == [f"| `{c.name}` | {c.type} | {c.values} | {c.meaning} | {c.source} |" for c in SAMPLE_COLUMNS]
    assert all(row.count("|") == 6 for row in rows)  # nothing in a cell that ends it


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "PICTURES", per_class=4)
    (tmp_path / "my_model.py").write_text(MODEL + "\n\nload = tiny\n")
    monkeypatch.chdir(tmp_path)
    lines = [line for line in between("python") if not line.startswith("```")]
    assert len(lines) <= 12
    names: dict[str, Any] = {}
    exec(compile("\n".join(lines), "README.md", "exec"), names)
    assert (names["outcome"].state, len(names["samples"])) == ("done", 12)
    assert len(names["wrong"]) == (~names["samples"].correct).sum() > 0
    assert names["hits"] == []  # no judge, no explanations
    assert Image.open("overlay.png").size == names["picture"].picture.size


def test_every_command_is_listed() -> None:
    listed = re.findall(r"^\| `whylook ([\w-]+)", README, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
