"""`whylook summary` and its page on runs of which there is little to say: sentences, never a traceback or a NaN."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.findings.summarise import ranked
from tests.support.command_line import whylook
from tests.support.made_runs import made_run
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store, prediction

Tables = dict[str, list[Any]]
LONG = "v" * 3000


def _answers(tables: Tables, name: Callable[[int, str], str]) -> None:
    for place, entry in enumerate(tables["images"]):
        tables["predictions"][place] = prediction(entry["image_id"], name(place, entry["label"]))


def _one_class(tables: Tables) -> None:
    tables["images"] = [{**entry, "label": "cow"} for entry in tables["images"]]
    _answers(tables, lambda place, label: "cow" if place % 3 else "camel")


def _no_labels(tables: Tables) -> None:
    tables["images"] = [{**entry, "label": None} for entry in tables["images"]]


def _all_right(tables: Tables) -> None:
    _answers(tables, lambda place, label: label)


def _all_wrong(tables: Tables) -> None:
    _answers(tables, lambda place, label: "camel" if label == "cow" else "cow")


def _strange_labels(tables: Tables) -> None:
    """Labels that the classifier does not know: each picture is wrong."""
    tables["images"] = [{**entry, "label": f"x{place % 5}'\"<b>"} for place, entry in enumerate(tables["images"])]


def _no_predictions(tables: Tables) -> None:
    for name in ("predictions", "attributions", "checks", "judgements", "embeddings"):
        tables[name] = []


def _metadata(make: Callable[[int], dict[str, Any]]) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        for place, entry in enumerate(tables["images"]):
            entry["metadata"] = make(place)

    return change


ODD: dict[str, tuple[int, Callable[[Tables], None]]] = {
    "one class": (60, _one_class),
    "no labels": (60, _no_labels),
    "ten pictures": (10, lambda tables: None),
    "one picture": (1, lambda tables: None),
    "all right": (60, _all_right),
    "all wrong": (60, _all_wrong),
    "labels that the classifier does not know": (60, _strange_labels),
    "no predictions": (24, _no_predictions),
    "constant columns": (60, _metadata(lambda place: {"place": "here", "depth": 3.0, "known": True})),
    "missing values": (60, _metadata(lambda place: {"place": None, "depth": None})),
    "no metadata": (60, _metadata(lambda place: {})),
    "a column in half of the pictures": (60, _metadata(lambda place: {"depth": place} if place % 2 else {})),
    "a thousand values": (1000, _metadata(lambda place: {"name": f"n{place}", "number": place, "real": place / 7})),
    "hostile names": (120, _metadata(lambda place: {'a"b': f"it's {place % 2}", "select": place % 3, "": LONG})),
    "names of whylook's own": (120, _metadata(lambda place: {"run": place % 2, "label": "x", "META_RUN": place % 3})),
    "huge numbers": (120, _metadata(lambda place: {"big": 10.0 ** (place - 60), "small": -1e-300 * place})),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", ODD)
def test_a_run_of_which_there_is_little_to_say_gives_sentences_on_every_way_in(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, change = ODD[what]
    store, run = make_store(tmp_path / "store", rows=rows, pictures=False, change=change)
    shown = whylook(capsys, "summary", "--store", store.folder)
    assert shown.code == 0 and not shown.err and "nan" not in shown.out.lower().replace("finan", "")
    for name in ("x.html", "x.md"):
        assert whylook(capsys, "summary", "--store", store.folder, "--out", tmp_path / name).code == 0
    app = opened(monkeypatch, "summary", store.folder, run=run, findings="1")
    assert not app.exception and not app.error, words_on(app)
    if what == "no labels":
        assert "These pictures have no labels" in shown.out and "These pictures have no labels" in words_on(app)
    if what == "no predictions":
        assert "No picture has a prediction" in shown.out


def test_a_column_with_ten_thousand_values_accuses_nobody_and_is_quick() -> None:
    run = made_run(3, n=10_000, hard=False)
    run.columns = {
        "name": np.asarray([f"n{place}" for place in range(10_000)], dtype=object),
        "number": run.generator.permutation(10_000) * 1.0,
    }
    assert {item.kind for item in ranked(run.frame())} <= {"failures", "wrong_label", "attention"}
