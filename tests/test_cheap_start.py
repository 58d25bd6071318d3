"""The command line answers `--help` before anything heavy is loaded."""

import subprocess
import sys

import pytest

HEAVY = ("duckdb", "llama_cpp", "numpy", "pandas", "pyarrow", "streamlit", "torch", "transformers")
LOADED = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules])"


def loaded_after(code: str) -> list[str]:
    """The heavy modules that a fresh Python has loaded after `code`."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_building_the_parser_loads_nothing_heavy() -> None:
    assert loaded_after("from core.commands.parser import build_parser; build_parser()") == []


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], ["--print-completion", "bash"]])
def test_help_version_and_completion_load_nothing_heavy(words: list[str]) -> None:
    assert loaded_after(f"from core.commands.main import main; assert main({words}) == 0") == []


def test_a_heavy_module_that_is_loaded_is_seen() -> None:
    assert "numpy" in loaded_after("import numpy")
