"""Names and options: each is written once, and the lists, help, words, settings and form follow from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from core.attribution import methods
from core.attribution import names as attribution
from core.classifier import names as classifier
from core.commands.catalogue import catalogue_rows, catalogue_text

ROOT = Path(__file__).resolve().parents[1]


def test_every_name_has_a_meaning_and_the_catalogue_prints_it() -> None:
    assert set(attribution.QUESTIONS) == set(get_args(attribution.Question))
    assert set(classifier.PRECISIONS) == set(get_args(classifier.Precision))
    text = " ".join(catalogue_text().split())
    for table in (classifier.SPECS, attribution.QUESTIONS, classifier.PRECISIONS):
        for name, meaning in table.items():
            assert f"{name} {meaning}" in text
    for method in attribution.METHODS.values():
        assert f"{method.name} {method.about}" in text
    assert {row["value"] for row in catalogue_rows() if row["option"] == "--method"} == {*methods.METHODS, "auto"}


def test_a_name_without_a_function_and_a_function_without_a_name_are_refused_at_import() -> None:
    functions = {name: method.maps for name, method in methods.METHODS.items()}
    missing = {name: maps for name, maps in functions.items() if name != "gradcam"}
    for wrong in (missing, {**functions, "gradcam+++": functions["gradcam"]}):
        with pytest.raises(ImportError, match="gradcam"):
            methods._paired(wrong)


def test_names_requests_and_the_parser_load_no_model_library() -> None:
    code = """import sys, core.attribution.names, core.classifier.names, core.judge.names, core.pipeline.request
from core.commands.main import main
main(["run", "--help"])
assert not {"torch", "transformers", "llama_cpp", "duckdb"} & set(sys.modules), "too much is loaded" """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
