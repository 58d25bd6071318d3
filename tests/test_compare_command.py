"""`whylook compare` in sentences, tables and JSON; runs by the names that people give them; refusals in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core import queries
from core.errors import StoreError
from core.queries import run_sql
from core.store import Store, open_for_writing
from tests.support.command_line import refusal, whylook
from tests.support.two_runs import make_two_runs


def half_right(rows: int, start: int) -> np.ndarray:
    return np.arange(rows) % 10 >= start


def test_two_runs_are_compared_in_sentences_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, a, b = make_two_runs(tmp_path, rows=100, right=(half_right(100, 1), half_right(100, 4)))
    said = whylook(capsys, "compare", a, b, "--store", tmp_path)
    assert said.code == 0 and said.err == ""
    called = store.run_titles(queries.runs(store.reader()))
    assert called[a].startswith("net0, ") and called[b].startswith("net1, ")
    first, second, _, sentence, *_ = said.out.splitlines()
    assert (first, second) == (f"A is {called[a]} ({a}, net0)", f"B is {called[b]} ({b}, net1)")
    assert sentence.startswith("A is right on 30 pictures more of 100 (90 and 60)")
    for heading in ("more than chance (p < 0.001)", "Regressions: only A is right, the first 10 of 30", "p, adjusted"):
        assert heading in said.out
    told = json.loads(whylook(capsys, "compare", a, b, "--store", tmp_path, "--json").out)
    assert told["a"]["run"] == a and len(told["accuracy"]["regressions"]) == 30
    assert told["sentences"][0] in said.out


def test_a_run_is_called_by_the_name_that_a_person_gave_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, a, b = make_two_runs(tmp_path)
    store.name_run(a, " the  old net ", note="before augmentation")
    said = whylook(capsys, "compare", "the old net", b, "--store", tmp_path)
    assert said.out.startswith(f"A is the old net ({a}, net0)")
    with pytest.raises(StoreError, match="choose another name"):
        store.name_run(b, "the old net")
    with pytest.raises(StoreError, match="choose another name"):
        store.name_run(b, a)
    with pytest.raises(StoreError, match="at most 80"):
        store.name_run(b, "x" * 81)
    with pytest.raises(StoreError, match="no run r-gone"):
        store.name_run("r-gone", "x")
    store.name_run(a, "newer")
    assert store.undo("run_names") == f"naming run {a} “newer”"
    assert Store(tmp_path).run_names()[a].name == "the old net"
    with open_for_writing(tmp_path) as writer:
        writer.publish()
    found = run_sql(store, "SELECT run, name, note FROM run_names").table.to_pylist()
    assert found == [{"run": a, "name": "the old net", "note": "before augmentation"}]
    store.name_run(a, "")
    assert a not in store.run_names()


def test_what_cannot_be_compared_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, a, b = make_two_runs(tmp_path)
    assert "choose two different runs" in refusal(capsys, "compare", a, a, "--store", tmp_path)
    assert "no run r-gone in this store" in refusal(capsys, "compare", a, "r-gone", "--store", tmp_path)
    assert "--group names no column" in refusal(capsys, "compare", a, b, "--store", tmp_path, "--group", "x")
    assert "nothing to read" in refusal(capsys, "compare", a, b, "--store", tmp_path / "none")
