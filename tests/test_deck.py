"""Slides: what is kept and how it is counted, the first deck of a run, and the deck in a store."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import queries
from core.comparison import compare
from core.deck.comparing import of_comparison
from core.deck.figures import told
from core.deck.first import _advice, first_deck
from core.deck.keep import asking, edited, figure, of_cue, of_finding, of_picture, of_slice, slice_title
from core.deck.slide import Slide, from_json
from core.deck.tables import of_confusion, of_groups, of_judge_card, of_matrix
from core.errors import QueryError, RequestError, StoreError
from core.findings import summarise
from core.store import Store, open_for_writing
from tests.support.discovered import make_discovered_store
from tests.support.store_factory import make_store
from tests.support.two_runs import make_two_runs

ODD = ('<img src=x onerror="alert(1)">', "cow's; DROP", "horse")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return make_discovered_store(tmp_path_factory.mktemp("found") / "store", classes=ODD)


def counted(slide: Slide, store: Store) -> None:
    """Every figure, bar and table of a slide comes out of its query once more, and the slide of its JSON."""
    ask = asking(store)
    for known in slide.figures:
        assert figure(ask, known.words, known.measure, known.sql) == known
    if slide.bars is not None:
        assert tuple(str(row["name"]) for row in ask(slide.bars.sql).table.to_pylist()) == slide.bars.names
    if slide.grid is not None:
        rows = [tuple(row.values()) for row in ask(slide.grid.sql).table.to_pylist()]
        assert tuple(str(row[0]) for row in rows) == tuple(row[0] for row in slide.grid.rows)
        assert [f"{row[1]:,}" for row in rows] == [row[1] for row in slide.grid.rows]
    assert from_json(slide.to_json()) == slide


def test_a_slice_is_kept_with_its_accuracy_against_the_rest_and_every_number_can_be_counted_again(
    found: tuple[Store, str],
) -> None:
    store, run = found
    slide = of_slice(asking(store), run, f"SELECT * FROM samples WHERE run = '{run}' AND confidence > 0.5 -- sure\n;")
    counted(slide, store)
    rows = queries.pictures(store.reader(), run, limit=1000)
    inside = [row for row in rows if row["confidence"] > 0.5 and row["correct"] is not None]
    right = sum(bool(row["correct"]) for row in inside)
    assert slide.figures[0].quiet == told("share", [right, len(inside)])[1]
    assert slide.figures[1].quiet == told("share", [
        sum(bool(row["correct"]) for row in rows) - right, len(rows) - len(inside)])[1]  # fmt: skip
    assert slide.title == "Pictures where confidence > 0.5"
    assert 1 <= len(slide.shots) <= 6
    assert dict(slide.state)["run"] == run


def test_a_slice_that_gives_no_pictures_or_cannot_run_is_refused_in_words(found: tuple[Store, str]) -> None:
    store, run = found
    with pytest.raises(RequestError, match="add image_id"):
        of_slice(asking(store), run, "SELECT count(*) AS n FROM samples")
    with pytest.raises(QueryError, match="nothing_here"):
        of_slice(asking(store), run, "SELECT nothing_here FROM samples")


def test_the_title_of_a_slice_is_its_conditions() -> None:
    assert slice_title("SELECT * FROM samples\nWHERE run = 'r'\n  AND label = 'cow'\nORDER BY path") == (
        "Pictures where label = 'cow'"
    )
    assert slice_title("SELECT * FROM samples") == "Pictures of the run"
    assert len(slice_title(f"SELECT * FROM samples WHERE label = '{'x' * 900}'")) == 160


def test_cues_findings_pictures_and_tables_count_again_as_they_were_kept(found: tuple[Store, str]) -> None:
    store, run = found
    con, ask = store.reader(), asking(store)
    for cue in queries.cues(con, run):
        slide = of_cue(ask, run, cue)
        counted(slide, store)
        assert len(slide.pairs) == min(3, len(cue.examples))
        if cue.effect is not None:
            for words, sign in (("they lose 9 points", "−"), ("they gain 9 points", "+"), ("pulls others", "+")):
                told_so = of_cue(ask, run, replace(cue, words=words, effect=abs(cue.effect)))
                assert told_so.figures[0].shown.startswith(sign)
    for finding in summarise(con, run):
        counted(of_finding(ask, run, finding), store)
    image = queries.pictures(con, run, limit=1)[0]["image_id"]
    counted(of_picture(ask, run, queries.sample(con, run, image)), store)
    for slide in (of_groups(ask, run, "label"), of_matrix(ask, run), of_confusion(ask, run, ODD)):
        counted(slide, store)


def test_what_is_not_there_is_refused_in_words(found: tuple[Store, str]) -> None:
    store, run = found
    with pytest.raises(RequestError, match="nothing to draw"):
        of_groups(asking(store), run, "label", within="SELECT * FROM samples WHERE false")
    with pytest.raises(RequestError, match="no confusion"):
        of_confusion(asking(store), run, ())
    with pytest.raises(RequestError, match="2 rows"):
        figure(asking(store), "two", "count", "SELECT unnest([1, 2])")


def test_a_first_deck_tells_the_causes_with_their_changes_and_counts_again(found: tuple[Store, str]) -> None:
    store, run = found
    con = store.reader()
    deck = first_deck(asking(store), con, run, summarise(con, run))
    for slide in deck:
        counted(slide, store)
    assert deck[0].kind == "title"
    causes = [slide for slide in deck if slide.kind == "cause"]
    assert len(causes) == 1
    assert causes[0].pairs
    assert deck[-1].title == "How far to trust this"
    assert len({slide.key for slide in deck}) == len(deck)


def test_what_to_do_about_a_cause_names_its_class_where_it_has_one() -> None:
    assert "every class" in _advice("context", None) and "the class" not in _advice("context", None)
    assert "“cow”" in _advice("strategy", "cow")


def test_a_first_deck_without_judge_discovery_or_story_says_so(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=12, classes=("cow", "horse"))
    deck = first_deck(asking(store), store.reader(), run, [])
    said = "\n".join([slide.title + "\n" + "\n".join(slide.body) for slide in deck])
    assert "No story stands out." in said
    assert "were not looked for" in said
    assert "no report card" in said or "No judge looked" in said
    assert not any(slide.kind in ("cause", "finding") for slide in deck)


def test_a_first_deck_without_labels_or_judge_says_what_nobody_can_say(tmp_path: Path) -> None:
    def unlabelled(tables: dict[str, list[Any]]) -> None:
        for row in tables["images"]:
            row["label"] = None

    store, run = make_store(tmp_path / "store", rows=60, judged=False, change=unlabelled)
    con = store.reader()
    deck = first_deck(asking(store), con, run, summarise(con, run))
    said = "\n".join([slide.title + "\n" + "\n".join(slide.body) for slide in deck])
    assert "How often it is right is not known." in said
    assert "No judge looked" in said
    assert "Without labels no mistakes can be compared." in said
    assert "%" not in "".join(figure.shown for slide in deck for figure in slide.figures)
    image = queries.pictures(con, run, limit=1)[0]["image_id"]
    kept = of_slice(asking(store), run, f"SELECT image_id FROM samples WHERE image_id = '{image}'")
    assert [figure.words for figure in kept.figures] == ["pictures", "of the run"]
    for empty in (of_matrix, lambda ask, run: of_groups(ask, run, "label")):
        with pytest.raises(RequestError):
            empty(asking(store), run)


def test_a_report_card_becomes_a_slide_that_counts_again(tmp_path: Path) -> None:
    store, run = make_store(tmp_path / "store", rows=24)
    con = store.reader()
    print_ = con.execute("SELECT judge_fingerprint FROM runs WHERE run = ?", [run]).fetchall()[0][0]
    controls = ("true", "again", "inverted", "shuffled", "patch", "empty", "wrong name")
    rows = [
        {"image_id": row["image_id"], "control": control, "told": row["prediction"], "state": "ok", "reason": "",
         "score": 4.0 if control in ("true", "again") else 0.5, "rubric_shift": 0.0, "seconds": 0.1}
        for row in queries.pictures(con, run, limit=24)
        for control in controls
    ]  # fmt: skip
    with open_for_writing(store.folder) as writer:
        writer.write("judge_card", rows, fingerprint=print_)
        writer.publish()
    con = store.reader()
    card = queries.judge_card(con, run)
    assert card is not None
    slide = of_judge_card(asking(store), run, card)
    counted(slide, store)
    assert [figure.shown for figure in slide.figures] == ["100%", "0%"]
    assert slide.bars is not None
    assert slide.bars.names[0] == "true map"
    assert slide.bars.values[1:] == (0, 0, 0, 0, 0)


def _two(folder: Path, *right: np.ndarray) -> tuple[Any, str, str]:
    """A reader of a store with two runs, and their names."""
    store, a, b = make_two_runs(folder, rows=20, right=(right[0][:20], right[1][:20]))
    return store.reader(), a, b


def test_a_comparison_becomes_a_slide_with_the_counts_of_both_runs(tmp_path: Path) -> None:
    rows = np.arange(60) % 10
    store, a, b = make_two_runs(tmp_path, rows=60, right=(rows >= 1, rows >= 4))
    found = compare(store.reader(), a, b)
    slide = of_comparison(asking(store), found, "before", "after")
    counted(slide, store)
    assert slide.title == "before is right more often."
    assert found.accuracy is not None
    assert [figure.quiet for figure in slide.figures] == [
        told("share", [54, 60])[1], told("share", [36, 60])[1]
    ]  # fmt: skip
    assert len(slide.shots) == 3
    alike = of_comparison(asking(store), compare(store.reader(), b, a), "x", "y")
    assert alike.key != slide.key
    assert alike.title == "y is right more often."
    near = compare(*_two(tmp_path / "near", rows >= 3, rows != 5))
    assert of_comparison(asking(Store(tmp_path / "near")), near, "x", "y").title == (
        "The difference between x and y may be chance."
    )


def test_a_title_is_one_line_of_500_characters_at_most_in_any_script() -> None:
    slide = Slide("k", "text", "r", "old")
    assert edited(slide, title="  שלום \n עולם ").title == "שלום עולם"
    assert len(edited(slide, title="x" * 500).title) == 500
    with pytest.raises(RequestError, match="501 characters"):
        edited(slide, title="x" * 501)
    with pytest.raises(RequestError, match="needs a title"):
        edited(slide, title="   ")


def test_a_change_of_probability_is_told_in_points() -> None:
    assert told("change", [0.236, 0.151, 0.321, 48]) == ("+24", "+23.6 points [15.1, 32.1] · n 48")
    assert told("change", [-0.236, -0.321, -0.151, 48])[1] == "−23.6 points [−32.1, −15.1] · n 48"
    assert told("mean", [0.5, 0.1, 11]) == ("0.5", "0.500 [0.433, 0.567] · n 11")  # Student's 2.228 at 10
    assert told("single", [0.83]) == ("83%", "one picture")
    with pytest.raises(RequestError, match="change, low, high, n"):
        told("change", [0.2, 48])


def test_undo_names_the_title_and_takes_a_first_deck_back_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.save_slide("own", asdict(Slide("own", "text", "r", "Mine")))
    new = {key: asdict(Slide(key, "text", "r", key.upper())) for key in ("a", "b")}
    store.add_slides(new, words="the first deck of r")
    assert [entry["slide"]["title"] for entry in store.deck()] == ["Mine", "A", "B"]
    store.delete_slide("a")
    assert store.undo("deck") == "deleting slide “A”"
    assert [entry["slide"]["title"] for entry in store.deck()] == ["Mine", "A", "B"]
    assert store.undo("deck") == "the first deck of r"
    assert [entry["slide"]["title"] for entry in store.deck()] == ["Mine"]
    with pytest.raises(StoreError, match="another window"):
        store.delete_slide("a")
