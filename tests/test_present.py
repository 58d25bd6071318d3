"""Page Present and the keep buttons, without a browser: what they show, keep, take back and say when they cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import streamlit as st

from core.deck.slide import Figure, Shot, Slide
from core.errors import RequestError
from core.store import Store
from pages._keep import deck, rewrite
from tests.support.discovered import make_discovered_store
from tests.support.page_runs import opened, words_on

ODD = ("cow", "horse", "deer")
LONG = "x" * 500


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("kept") / "store", classes=ODD)


@pytest.fixture
def found(kept: tuple[Store, str]) -> Iterator[tuple[Store, str]]:
    yield kept
    for name in ("saved.json", "saved.json.bak"):
        (kept[0].folder / name).unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    st.cache_data.clear()
    yield


def given(app: Any) -> list[dict[str, Any]]:
    """What the components of the deck on a page were given."""
    every = [json.loads(item.proto.json) for item in app.get("bidi_component") if item.proto.json]
    return [item for item in every if "items" in item or "slides" in item]


def slide(key: str, run: str, **changed: Any) -> Slide:
    figure = Figure("of these are right", "share", "SELECT 1, 2", "50%", "50.0% [9.45, 90.5] · n 2")
    return replace(Slide(key, "slice", run, key.capitalize(), (figure,), page="slices"), **changed)


def put(store: Store, *slides: Slide) -> None:
    for item in slides:
        store.save_slide(item.key, asdict(item))


def button(app: Any, words: str) -> Any:
    return next(item for item in app.button if item.label == words)


def test_an_empty_deck_says_what_to_do_and_one_click_makes_the_first(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]
) -> None:
    store, run = found
    app = opened(monkeypatch, "present", store.folder, run=run)
    assert "The deck is empty." in words_on(app)
    assert button(app, "Present").disabled
    button(app, "Make a first deck of this run").click().run()
    assert not app.exception
    titles = [entry["slide"]["title"] for entry in store.deck()]
    assert "What was run" in titles
    assert [item["title"] for item in given(app)[0]["items"]] == titles
    button(app, "Make a first deck of this run").click().run()
    assert len(store.deck()) == len(titles)
    button(app, "Undo").click().run()
    assert store.deck() == []


def test_the_address_of_a_slide_opens_the_stage_there_with_its_pictures_and_the_way_to_them(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]
) -> None:
    store, run = found
    picture = "0000" + "0" * 28
    put(store, slide("first", run), slide("second", run, title=LONG, shots=(Shot(picture, "overlay"), Shot("gone"))))
    app = opened(monkeypatch, "present", store.folder, slide="2")
    stage = given(app)[0]
    assert stage["start"] == 2
    assert stage["slides"][1]["title"] == LONG
    assert stage["slides"][1]["target"]["go"] == {"page": "slices", "state": {"run": run, "slide": "2"}}
    seen, missing = stage["slides"][1]["pictures"]
    assert seen["src"].startswith("data:image/")
    assert missing["missing"] == "no longer in the store"
    for odd in ("0", "99", "-1", "x", "9" * 30):
        assert given(opened(monkeypatch, "present", store.folder, slide=odd))[0]["start"] in (1, 2)


def test_a_slide_whose_run_is_gone_still_shows_its_numbers_and_says_so(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]
) -> None:
    store, _ = found
    put(store, slide("old", "r-gone", shots=(Shot("0"),)))
    shown = given(opened(monkeypatch, "present", store.folder, slide="1"))[0]["slides"][0]
    assert shown["figures"][0]["shown"] == "50%"
    assert "r-gone is no longer in this store" in shown["lost"]
    assert shown["target"] is None
    assert shown["pictures"][0]["missing"] == "no longer in the store"
    assert "no longer" in given(opened(monkeypatch, "present", store.folder))[0]["items"][0]["note"]


def test_what_is_no_slide_is_said_and_can_be_deleted(monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]) -> None:
    store, run = found
    put(store, slide("good", run))
    store.save_slide("bad", {"title": "Bad", "kind": "text", "run": run})
    app = opened(monkeypatch, "present", store.folder)
    assert "no slide of a deck" in words_on(app)
    button(app, "Delete it").click().run()
    assert [entry["slide"]["title"] for entry in store.deck()] == ["Good"]


def test_a_store_that_cannot_be_written_is_a_sentence_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]
) -> None:
    store, run = found
    put(store, slide("mine", run))
    lock = store.folder / ".saved.json.lock"
    lock.unlink()
    lock.mkdir()
    try:
        app = opened(monkeypatch, "present", store.folder, run=run)
        button(app, "Make a first deck of this run").click().run()
        assert not app.exception
        assert "cannot save in" in words_on(app)
        app = opened(monkeypatch, "slices", store.folder, run=run)
        button(app, "Keep for the meeting").click().run()
        assert "Not kept: " in words_on(app)
    finally:
        lock.rmdir()
    assert [entry["slide"]["title"] for entry in store.deck()] == ["Mine"]


@pytest.mark.parametrize("page", ["slices", "sample", "summary"])
def test_a_keep_button_keeps_once_and_takes_back(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str], page: str
) -> None:
    store, run = found
    app = opened(monkeypatch, page, store.folder, run=run)
    button(app, "Keep for the meeting").click().run()
    assert not app.exception
    assert len(store.deck()) == 1
    assert "Kept as slide 1." in words_on(app)
    next(item for item in app.button if (item.key or "").startswith("unkeep-")).click().run()
    assert store.deck() == []


def test_a_page_that_was_reached_from_a_slide_leads_back_to_it(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]
) -> None:
    store, run = found
    app = opened(monkeypatch, "slices", store.folder, run=run, slide="3")
    assert button(app, "Back to slide 3")
    assert not any(item.key == "back-to-slide" for item in opened(monkeypatch, "slices", store.folder, run=run).button)


def test_two_windows_change_different_parts_of_a_slide_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, found: tuple[Store, str]
) -> None:
    store, run = found
    monkeypatch.setenv("WHYLOOK_STORE", str(store.folder))
    put(store, slide("both", run), slide("other", run))
    assert not rewrite("both", "title", "Cows off the meadow", was="Both")
    assert not rewrite("both", "notes", "ask for more pictures", was="")
    assert rewrite("both", "title", "פרות", was="Both")
    now = deck().slides[0]
    assert (now.title, now.notes, now.figures) == ("פרות", "ask for more pictures", slide("both", run).figures)
    assert store.undo("deck") == "changing slide “פרות”"
    assert deck().slides[0].title == "Cows off the meadow"
    store.delete_slide("both")
    with pytest.raises(RequestError, match="another window"):
        rewrite("both", "title", "New", was="Both")
    assert store.undo("deck") == "deleting slide “Cows off the meadow”"
