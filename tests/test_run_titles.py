"""What runs are called where nobody gave them a name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from core import queries
from core.records import Run, Settings
from tests.support.two_runs import make_two_runs


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("torchvision:resnet50", "resnet50"),
        ("models/my_model.py:my_net", "my net"),
        ("hf:microsoft/resnet-18", "resnet-18"),
        ("torchscript:/home/me/secret/net.pt", "net.pt"),
        ("", ""),
    ],
)
def test_a_classifier_is_named_without_the_folders_it_lies_in(spec: str, name: str) -> None:
    assert Settings(classifier=spec).classifier_name == name


def test_runs_are_called_by_name_or_classifier_and_start_and_never_two_alike(tmp_path: Path) -> None:
    store, a, b = make_two_runs(tmp_path)
    first, second = sorted(queries.runs(store.reader()), key=lambda run: run.name != a)
    assert first.title == f"net0, {first.started:%-d %b %H:%M}"
    twin: Run = replace(second, settings=first.settings, started=first.started)
    assert store.run_titles([first, twin]) == {a: f"{first.title} ({a})", b: f"{first.title} ({b})"}
    store.name_run(a, "the old net")
    assert store.run_titles([first, twin]) == {a: "the old net", b: first.title}
    assert replace(first, settings=Settings(), started=datetime(2026, 1, 2, 3, 4)).title == f"{a}, 2 Jan 03:04"
