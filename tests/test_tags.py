"""Tags: kept and taken back in one step, seen by SQL at once, published, and part of the fix list."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import QueryError, StoreError
from core.queries import run_sql
from core.store import Store, open_for_writing
from tests.support.store_factory import make_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store", rows=24)[0]


def ids(store: Store, n: int) -> list[str]:
    return [row[0] for row in store.reader().execute("SELECT image_id FROM samples ORDER BY path").fetchall()[:n]]


def tagged(store: Store, tag: str) -> set[str]:
    sql = f"SELECT image_id FROM samples WHERE list_contains(tags, '{tag}')"
    return set(run_sql(store, sql).table.column("image_id").to_pylist())


def test_tags_are_given_and_taken_back_together_and_other_things_stay(store: Store) -> None:
    first, second, third = ids(store, 3)
    store.save_slice("mine", "SELECT * FROM samples")
    assert store.tag([first, second], "  look   again ") == 2
    assert store.tag([second, third], "dark") == 2
    assert store.tag([second], "dark") == 0
    assert store.tags() == {first: ("look again",), second: ("dark", "look again"), third: ("dark",)}
    assert store.untag([second, first], "look again") == 2
    assert store.tags() == {second: ("dark",), third: ("dark",)}
    assert store.undo("tags", "labels") == "taking away tag “look again”: 2 pictures"
    assert store.undo("tags", "labels") == "tagging “dark”: 2 pictures"
    assert store.tags() == {first: ("look again",), second: ("look again",)}
    assert [item["name"] for item in store.slices()] == ["mine"]
    assert store.undo() == "tagging “look again”: 2 pictures"
    assert store.undo() == "saving slice “mine”" and store.undo() is None


def test_sql_sees_tags_at_once_in_samples_and_in_a_table_of_their_own(store: Store) -> None:
    first, second = ids(store, 2)
    assert tagged(store, "dark") == set()
    store.tag([first, second], "dark")
    assert tagged(store, "dark") == {first, second}
    rows = run_sql(store, "SELECT image_id, tag FROM tags ORDER BY image_id").rows
    assert rows == [{"image_id": key, "tag": "dark"} for key in sorted((first, second))]
    store.undo("tags")
    assert tagged(store, "dark") == set()
    assert run_sql(store, "SELECT count(*) AS n FROM samples WHERE tags = []").rows == [{"n": 24}]
    assert run_sql(store, "SELECT * FROM samples").columns[:2] == ["run", "image_id"]


def test_what_is_said_of_labels_is_a_tag_and_a_decision(store: Store) -> None:
    found = store.reader().execute("SELECT image_id, label FROM samples ORDER BY path").fetchall()
    labels = dict(found[:3]) | {next(key for key, label in found if label == "horse"): "horse"}
    assert store.decide_labels(labels, "wrong", should_be="horse") == 3
    assert tagged(store, "should be horse") == set(dict(found[:3]))
    assert {item.should_be for item in store.label_decisions()} == {"horse"}
    assert store.decide_labels(dict(found[:1]), "right") == 1 and tagged(store, "label right") == {found[0][0]}
    store.undo("labels")
    assert store.undo("labels") == "should be horse: 3 pictures" and store.label_decisions() == []
    assert store.decide_labels(labels, "wrong") == 4 and tagged(store, "label wrong") == set(labels)
    assert store.undo("labels") == "label wrong: 4 pictures"
    with pytest.raises(StoreError, match="only a wrong label"):
        store.decide_labels(labels, "right", should_be="horse")


def test_a_label_of_many_can_be_taken_back_by_itself(store: Store) -> None:
    labels = dict(store.reader().execute("SELECT image_id, label FROM samples").fetchall()[:3])
    store.decide_labels(labels, "right")
    assert store.undo_label(next(iter(labels))) is not None
    assert {item.image_id for item in store.label_decisions()} == set(list(labels)[1:])


def test_the_next_publish_holds_the_tags(store: Store) -> None:
    first = ids(store, 1)[0]
    store.tag([first], "dark")
    with open_for_writing(store.folder) as writer:
        writer.publish()
    con = store.reader()
    assert con.execute("SELECT image_id, tag FROM tags").fetchall() == [(first, "dark")]
    assert con.execute("SELECT image_id FROM samples WHERE tags = ['dark']").fetchall() == [(first,)]
    store.undo("tags")
    assert tagged(store, "dark") == set()


@pytest.mark.parametrize("tag", ["", "   ", "x" * 61])
def test_a_tag_without_words_or_with_too_many_is_refused(store: Store, tag: str) -> None:
    with pytest.raises(StoreError, match="1 to 60 characters"):
        store.tag(ids(store, 1), tag)


def test_a_great_many_pictures_are_not_tagged_by_mistake(store: Store) -> None:
    with pytest.raises(StoreError, match="too many"):
        store.tag([f"{number:032x}" for number in range(5001)], "all")


def test_fifty_steps_can_be_taken_back_however_many_pictures_each_has(store: Store) -> None:
    keys = [f"{number:032x}" for number in range(30)]
    for number in range(52):
        store.tag(keys, f"t{number}")
    undone = sum(store.undo("tags") is not None for _ in range(60))
    assert undone == 50 and store.tags()[keys[0]] == ("t0", "t1")


def test_tags_reach_sql_also_when_a_refused_query_came_between(store: Store) -> None:
    run_sql(store, "SELECT 1 AS n")
    first = ids(store, 1)[0]
    store.tag([first], "dark")
    with pytest.raises(QueryError):
        run_sql(store, "DROP TABLE samples")
    assert tagged(store, "dark") == {first}
