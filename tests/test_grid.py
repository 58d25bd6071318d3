"""What is done with chosen pictures on Slices: tags, labels, undo, and sentences for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StoreError
from core.labels import applying, fix_rows
from core.queries import label_rows
from core.store import Store
from pages._grid import done
from tests.support.store_factory import make_store


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, str, list[str]]:
    store, run = make_store(tmp_path / "store", rows=24)
    monkeypatch.setenv("WHYLOOK_STORE", str(store.folder))
    return store, run, [row[0] for row in store.reader().execute("SELECT image_id FROM samples").fetchall()]


def test_chosen_pictures_are_tagged_and_those_outside_of_the_slice_are_not(made) -> None:
    store, run, ids = made
    said = done(run, ids[:5], {"act": "tag", "ids": [*ids[:2], ids[9], "nothing"], "tag": "dark"})
    assert said == "Tagged 2 pictures." and set(store.tags()) == set(ids[:2])
    assert done(run, ids[:5], {"act": "tag", "ids": None, "tag": "dark"}) == "Tagged 3 pictures."
    assert done(run, ids[:5], {"act": "untag", "ids": [ids[0]], "tag": "dark"}) == "Tag taken from 1 picture."
    assert done(run, ids, {"act": "undo", "ids": []}) == "Taken back: taking away tag “dark”: 1 picture"


def test_what_is_said_of_labels_is_on_the_fix_list(made) -> None:
    store, run, ids = made
    cows = [row[0] for row in store.reader().execute("SELECT image_id FROM samples WHERE label = 'cow'").fetchall()]
    act = {"act": "decide", "ids": cows[:2], "verdict": "wrong", "should_be": "horse"}
    assert done(run, ids, act) == "On the fix list: 2 pictures."
    assert done(run, ids, {"act": "decide", "ids": cows[2:3], "verdict": "right"}) == "On the fix list: 1 picture."
    rows = label_rows(store.reader(), run)
    fixes = fix_rows(rows, applying(rows, store.label_decisions()))
    assert [(label, verdict, new) for _, label, verdict, new, *_ in fixes] == [
        ("cow", "wrong", "horse"), ("cow", "wrong", "horse"), ("cow", "right", "")
    ]  # fmt: skip
    assert done(run, ids, {"act": "undo", "ids": []}).startswith("Taken back: label right")
    assert done(run, ids, {"act": "undo", "ids": []}) == "Taken back: should be horse: 2 pictures"
    assert done(run, ids, {"act": "undo", "ids": []}) == "Nothing left to undo."


def test_an_empty_tag_or_too_many_pictures_are_told_in_a_sentence(made) -> None:
    _, run, ids = made
    with pytest.raises(StoreError, match="characters"):
        done(run, ids, {"act": "tag", "ids": ids[:1], "tag": " "})
    with pytest.raises(StoreError, match="narrow the slice"):
        done(run, [str(number) for number in range(5001)], {"act": "tag", "ids": None, "tag": "all"})
    assert done(run, ids, {"act": "something else", "ids": ids[:1]}) == "Nothing was changed."
