"""What a person says of labels: kept and undone, as a fix list, as a list of labels that a run reads; the command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import labels, queries
from core.errors import StoreError
from core.findings import summarise
from core.images.folders import scan
from core.labels.fixes import FIX_COLUMNS, LIST_COLUMNS
from core.records import LabelDecision
from core.store import Store
from tests.support.command_line import refusal, whylook
from tests.support.labelled import labelled
from tests.support.page_runs import opened, words_on
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]
CLASSES = ("cow", "camel", "horse")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_store(tmp_path_factory.mktemp("labels") / "store", rows=300, classes=CLASSES, change=sure)


def sure(tables: dict[str, list[Any]]) -> None:
    """Every answer is sure, and every twentieth label is another."""
    for place, (image, row) in enumerate(zip(tables["images"], tables["predictions"], strict=True)):
        top = int(row.probabilities.argmax())
        row.probabilities[:] = 0.01
        row.probabilities[top] = 0.98
        image["label"] = CLASSES[(top + (place % 20 == 0)) % 3]


def test_what_is_read_of_labels_is_what_samples_hold(filled: tuple[Store, str]) -> None:
    store, run = filled
    rows = queries.label_rows(store.reader(), run)
    held = store.reader().execute("SELECT image_id, label, prediction FROM samples ORDER BY image_id").fetchall()
    answers = rows.probabilities.argmax(axis=1)
    assert [(*key, rows.names[answer]) for key, answer in zip(_labels(rows), answers, strict=True)] == held
    assert rows.names == CLASSES and rows.classes == 3 and rows.splits is None
    assert np.isfinite(rows.scores).sum() == queries.run_counts(store.reader(), run).judged


def _labels(rows: queries.LabelRows) -> list[tuple[str, str]]:
    return [(image, rows.names[label]) for image, label in zip(rows.image_ids, rows.labels, strict=True)]


def test_a_decision_is_kept_replaced_and_undone_apart_from_other_things(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.decide_label("a", "right", label="cow")
    store.decide_label("a", "wrong", label="cow", should_be="camel")
    store.save_slice("mine", "SELECT 1")
    assert [(item.image_id, item.verdict, item.should_be) for item in store.label_decisions()] == [
        ("a", "wrong", "camel")
    ]
    assert store.undo("labels") == "“cow”: should be camel"
    assert [item.verdict for item in store.label_decisions()] == ["right"]
    assert [item["name"] for item in store.slices()] == ["mine"]
    assert store.undo("labels") == "“cow”: right" and store.undo("labels") is None
    assert store.label_decisions() == [] and store.undo() == "saving slice “mine”"


@pytest.mark.parametrize(("verdict", "should_be"), [("wrong", ""), ("wrong", "cow"), ("right", "camel")])
def test_only_a_wrong_label_has_one_that_it_should_be_and_another(tmp_path: Path, verdict, should_be) -> None:
    with pytest.raises(StoreError, match="only a wrong label"):
        Store(tmp_path).decide_label("a", verdict, label="cow", should_be=should_be)


def test_a_damaged_decision_is_said_in_words(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.decide_label("a", "right", label="cow")
    path = tmp_path / "saved.json"
    state = json.loads(path.read_text())
    state.pop("checksum")
    state["kinds"]["labels"]["a"]["colour"] = "red"
    path.write_text(json.dumps(state))
    with pytest.raises(StoreError, match="move it away"):
        store.label_decisions()


def test_a_decision_about_another_label_or_picture_says_nothing(filled: tuple[Store, str]) -> None:
    rows = queries.label_rows(filled[0].reader(), filled[1])
    (first, own), (second, _) = _labels(rows)[:2]
    now = queries.run(filled[0].reader()).started
    given = [
        LabelDecision(first, own, "right", None, now),
        LabelDecision(second, "zebra", "right", None, now),
        LabelDecision("elsewhere", own, "right", None, now),
    ]
    assert list(labels.applying(rows, given)) == [first]


def test_the_new_label_list_gives_the_same_pictures_with_the_labels_as_decided(tmp_path: Path, capsys: Capture) -> None:
    pictures, store = make_folder(tmp_path / "pictures", per_class=4), tmp_path / "store"
    words = ["--classifier", f"{make_model(tmp_path)}:tiny", "--no-vlm", "--device", "cpu", "--store", str(store)]
    assert whylook(capsys, "run", str(pictures), *words).code == 0
    before = {entry.image_id: entry.label for entry in scan(pictures).entries}
    wrong, unsure, neither = [image_id for image_id, label in before.items() if label == "red"][:3]
    Store(store).decide_label(wrong, "wrong", label="red", should_be="blue")
    Store(store).decide_label(unsure, "unsure", label="red")
    Store(store).decide_label(neither, "wrong", label="red")
    expected = {**before, wrong: "blue", neither: None}
    for listed in (tmp_path / "fixed.csv", pictures / "fixed.csv", tmp_path / "far" / "fixed.csv"):
        listed.parent.mkdir(exist_ok=True)
        answer = whylook(capsys, "labels", "--store", str(store), "--label-list", str(listed))
        assert answer.code == 0 and f"written: {listed}" in answer.out
        assert tuple(next(csv.reader(listed.open()))) == LIST_COLUMNS
        assert {entry.image_id: entry.label for entry in scan(listed).entries} == expected
    fixes = tmp_path / "fixes.csv"
    assert whylook(capsys, "labels", "--store", str(store), "--fixes", str(fixes)).code == 0
    rows = list(csv.DictReader(fixes.open()))
    assert tuple(rows[0]) == FIX_COLUMNS
    assert {(row["image_id"], row["label"], row["verdict"], row["new_label"]) for row in rows} == {
        (wrong, "red", "wrong", "blue"),
        (unsure, "red", "unsure", ""),
        (neither, "red", "wrong", ""),
    }
    assert all((pictures / row["path"]).is_file() for row in rows)
    assert whylook(capsys, "run", str(tmp_path / "fixed.csv"), *words).code == 0
    con = Store(store).reader()
    assert ("blue",) in con.execute("SELECT label FROM samples WHERE image_id = ?", [wrong]).fetchall()


def test_one_file_does_not_hold_both_lists(filled: tuple[Store, str], tmp_path: Path, capsys: Capture) -> None:
    both = ("--fixes", str(tmp_path / "x.csv"), "--label-list", str(tmp_path / "." / "x.csv"))
    assert "two files" in refusal(capsys, "labels", "--store", str(filled[0].folder), *both)
    assert not (tmp_path / "x.csv").exists()


def test_the_command_prints_the_suspects_in_every_form(filled: tuple[Store, str], capsys: Capture) -> None:
    store, run = filled
    asked = ["labels", "--store", str(store.folder), "--run", run]
    rows = json.loads(whylook(capsys, *asked, "--format", "json").out)
    assert rows and [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert all(row["label"] != row["suggested"] and row["reasons"] and 0 <= row["support"] <= 1 for row in rows)
    few = whylook(capsys, *asked, "--format", "csv", "--limit", "2")
    assert [row["path"] for row in csv.DictReader(io.StringIO(few.out))] == [row["path"] for row in rows[:2]]
    assert f"{len(rows)} pictures may have a wrong label, of 300; the first 2 are shown" in few.err
    assert "support is how probable the label is" in few.err.splitlines()[0]
    assert rows[0]["path"] in whylook(capsys, *asked).out
    assert "cannot write" in refusal(capsys, *asked, "--fixes", str(store.folder / "none" / "x.csv"))


def test_the_finding_names_the_most_suspicious_and_its_query_gives_them(filled: tuple[Store, str]) -> None:
    store, run = filled
    con = store.reader()
    listed = labels.suspects(queries.label_rows(con, run)).listed
    finding = next(item for item in summarise(con, run) if item.kind == "wrong_label")
    found = [row[0] for row in con.execute(f"SELECT image_id FROM ({finding.sql})").fetchall()]
    assert len(found) == finding.n == len(listed) and set(found) == {item.image_id for item in listed}


# --- the page -------------------------------------------------------------------------------------------------------


def _button(app: Any, words: str) -> Any:
    return next(button for button in app.button if words in button.label)


def _cards(app: Any) -> list[dict[str, Any]]:
    """The pictures of the cards on the page, as they were given to the component."""
    given = [json.loads(item.proto.json) for item in app.get("bidi_component") if item.proto.json]
    return [item for data in given if data.get("kind") == "grid" for item in data["items"]]


def _shown(app: Any) -> list[str]:
    return [card["target"]["go"]["state"]["image"] for card in _cards(app)]


def _weights(app: Any, image_id: str) -> dict[str, str]:
    """Which answers of a card stand out."""
    return {name: app.button(key=f"{name}-{image_id}").proto.type for name in ("wrong", "right", "unsure")}


def test_a_decided_card_stays_with_its_answer_until_the_page_is_put_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, run = make_store(tmp_path / "store", rows=300, classes=CLASSES, judged=False, change=sure)
    app = opened(monkeypatch, "labels", store.folder, run=run)
    listed = labels.suspects(queries.label_rows(store.reader(), run)).listed
    first, second, third = listed[:3]
    assert f"{len(listed)} pictures may have a wrong label" in words_on(app)
    assert set(_weights(app, first.image_id).values()) == {"secondary"}
    before = _shown(app)
    assert before == [item.image_id for item in listed[:12]]
    app.button(key=f"wrong-{first.image_id}").click().run()
    app.button(key=f"right-{second.image_id}").click().run()
    other = next(name for name in CLASSES if name not in (third.label, third.suggested))
    app.selectbox(key=f"other-{third.image_id}").select(other).run()
    decided = {item.image_id: (item.verdict, item.should_be) for item in store.label_decisions()}
    assert decided == {
        first.image_id: ("wrong", first.suggested),
        second.image_id: ("right", None),
        third.image_id: ("wrong", other),
    }
    assert _shown(app) == before
    assert _weights(app, first.image_id) == {"wrong": "primary", "right": "secondary", "unsure": "secondary"}
    assert set(_weights(app, third.image_id).values()) == {"secondary"}
    app.button(key="next").click().run()
    assert _shown(app) == [item.image_id for item in listed[3:15]]
    assert not app.exception and not app.error


def test_undo_of_a_card_takes_back_that_card_alone_and_names_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, run = make_store(tmp_path / "store", rows=300, classes=CLASSES, judged=False, change=sure)
    app = opened(monkeypatch, "labels", store.folder, run=run)
    first, second, third = labels.suspects(queries.label_rows(store.reader(), run)).listed[:3]
    other = next(name for name in CLASSES if name not in (first.label, first.suggested))
    app.selectbox(key=f"other-{first.image_id}").select(other).run()
    app.button(key=f"right-{second.image_id}").click().run()
    app.button(key=f"unsure-{third.image_id}").click().run()
    app.button(key=f"undo-{first.image_id}").click().run()
    assert [item.image_id for item in store.label_decisions()] == [second.image_id, third.image_id]
    assert app.selectbox(key=f"other-{first.image_id}").value is None
    said = [toast.value.replace("\\", "") for toast in app.toast]
    assert said == [f"Taken back: {first.paths[0]}, “{first.label}”: should be {other}"]
    _button(app, "Undo").click().run()
    assert [item.image_id for item in store.label_decisions()] == [second.image_id]
    assert app.toast[0].value.replace("\\", "") == f"Taken back: {third.paths[0]}, “{third.label}”: not sure"


def test_a_decision_too_old_for_undo_is_still_taken_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.decide_label("a", "right", label="cow", file="cow/a.png")
    for number in range(60):
        store.decide_label(f"b{number}", "unsure", label="cow")
    assert store.undo_label("a") is None and "a" not in {item.image_id for item in store.label_decisions()}
    assert store.undo_label("b59") == "“cow”: not sure"
    assert len(store.label_decisions()) == 59


def test_what_was_looked_at_is_paged_and_newest_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=300, classes=CLASSES, judged=False, change=sure)
    listed = labels.suspects(queries.label_rows(store.reader(), run)).listed
    ids = [item.image_id for item in listed]
    for item in listed:
        store.decide_label(item.image_id, "unsure", label=item.label)
    app = opened(monkeypatch, "labels", store.folder, run=run)
    assert "Every suspect has been looked at" in words_on(app)
    app.segmented_control(key="show").select("Looked at").run()
    newest = ids[::-1]
    assert len(ids) > 12 and _shown(app) == newest[:12]
    app.button(key=f"undo-{newest[0]}").click().run()
    assert _shown(app) == newest[:12]
    app.session_state[f"seen-page-{run}"] = 2
    app.run()
    assert _shown(app) == newest[12:] and not app.exception and not app.error


def test_a_card_opens_its_picture_and_says_its_file_and_label(monkeypatch: pytest.MonkeyPatch, filled) -> None:
    store, run = filled
    app = opened(monkeypatch, "labels", store.folder, run=run)
    first = labels.suspects(queries.label_rows(store.reader(), run)).listed[0]
    card = _cards(app)[0]
    assert card["target"]["go"] == {"page": "sample", "state": {"run": run, "image": first.image_id}}
    assert card["pictures"][0]["alt"] == f"original picture: {first.paths[0]}, labelled {first.label}"


def _all(*, right: bool) -> Callable[[dict[str, list[Any]]], None]:
    def change(tables: dict[str, list[Any]]) -> None:
        for image, row in zip(tables["images"], tables["predictions"], strict=True):
            top = int(row.probabilities.argmax())
            image["label"] = CLASSES[top if right else (top + 1) % 3]

    return change


@pytest.mark.parametrize(
    ("rows", "change", "words"),
    [
        (60, _all(right=True), "Every label is what the classifier answers"),
        (60, _all(right=False), "answers otherwise on every picture"),
        (10, sure, "little can be said"),
    ],
)
def test_what_cannot_be_told_is_a_sentence_on_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: int, change, words: str
) -> None:
    store, run = make_store(tmp_path / "store", rows=rows, classes=CLASSES, change=change)
    app = opened(monkeypatch, "labels", store.folder, run=run)
    assert words in words_on(app)
    assert not app.exception and not app.error


def test_a_run_of_one_class_is_shown_without_suspects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=60, classes=("cow",))
    app = opened(monkeypatch, "labels", store.folder, run=run)
    assert "one class only" in words_on(app) and "two classes or more" in words_on(app)
    assert not app.exception and not app.error


def test_no_text_of_the_fix_list_of_the_page_is_a_formula_for_a_spreadsheet() -> None:
    from pages.labels import safe_fixes

    rows, _ = labelled(20)
    rows = replace(rows, names=("=1+2", *rows.names[1:]), labels=np.zeros(20, np.int64))
    decision = LabelDecision(rows.image_ids[3], "=1+2", "wrong", "class1", datetime(2026, 1, 2))
    line = next(csv.DictReader(io.StringIO(safe_fixes(rows, labels.applying(rows, [decision])))))
    assert (line["label"], line["new_label"], line["path"]) == ("'=1+2", "class1", rows.paths[3][0])


def test_duplicates_across_labels_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def change(tables: dict[str, list[Any]]) -> None:
        for image in tables["images"][:2]:
            image["near_hash"] = b"n" * 16
        tables["images"][3]["paths"] = ["train/cow/a.png", "test/cow/a.png"]

    store, run = make_store(tmp_path / "store", rows=60, classes=CLASSES, change=change)
    app = opened(monkeypatch, "labels", store.folder, run=run)
    words = words_on(app)
    assert "Nearly the same picture under camel and cow" in words and "The same file in test and train" in words
    assert not app.exception and not app.error
    app.toggle(key="outliers").set_value(True).run()
    assert "no features" in words_on(app) and not app.exception
