"""A fixed part of `make bench-findings`: reports of drawn runs accuse nobody falsely, and name the cause there is."""

from __future__ import annotations

import numpy as np
import pytest

from core.findings.frame import load
from core.findings.summarise import ranked
from tests.bench.findings import WORLDS, findings, named
from tests.bench.several_causes import Score, by_whylook, draw
from tests.support.made_runs import MadeRun, harder, made_run

QUIET = ("null", "five copies of each", "twenty frames of a video", "habitat goes with label")
CAUSES = [name for name in WORLDS if name not in QUIET]


@pytest.mark.parametrize("name", QUIET)
def test_where_nothing_is_wrong_hardly_a_report_accuses_anything(name: str) -> None:
    """Of 20 worlds one may hold a false finding at 5%; four would be a chance of 1.6%."""
    world = WORLDS[name]
    false = [
        [found for found in findings(world.make(seed, 3000)) if found.kind not in world.true_kinds]
        for seed in range(20)
    ]
    assert sum(map(bool, false)) <= 3, [found.sentence for some in false for found in some]


@pytest.mark.parametrize("name", CAUSES)
def test_a_planted_cause_is_named_in_nearly_every_world(name: str) -> None:
    world = WORLDS[name]
    assert sum(named(findings(world.make(seed, 3000)), world.names) for seed in range(10)) >= 8


def test_a_pair_of_conditions_is_told_instead_of_its_wider_halves() -> None:
    for seed in range(6):
        found = [item for item in findings(WORLDS["pair"].make(seed, 3000)) if item.kind == "weak_slice"]
        wide = [
            item
            for item in found
            if ("night" in item.sentence) != ("small" in item.sentence) and "labelled" not in item.sentence
        ]
        assert not (named(found, ("night", "small")) and wide), [item.sentence for item in found]


@pytest.mark.parametrize("name", ["one condition", "label with value", "shortcut"])
def test_a_finding_that_compares_has_pictures_of_the_same_classes_that_went_right_without_the_condition(
    name: str,
) -> None:
    frame = WORLDS[name].make(0, 3000).frame()
    compared = [item for item in ranked(frame) if item.contrast_sql]
    assert {item.kind for item in compared} >= {"shortcut" if name == "shortcut" else "weak_slice"}
    for item in compared:
        shared = f"SELECT image_id FROM ({item.sql}) INTERSECT SELECT image_id FROM ({item.contrast_sql})"
        assert frame.con.execute(shared).fetchall() == []
        right = frame.con.execute(f"SELECT bool_and(correct), count(*) FROM ({item.contrast_sql})").fetchall()[0]
        assert right[0] and right[1] > 0
        if "labelled" in item.sentence:
            labels = [
                frame.con.execute(f"SELECT DISTINCT label FROM ({sql})").fetchall()
                for sql in (item.sql, item.contrast_sql)
            ]
            assert labels[0] == labels[1]


def test_several_causes_at_once_are_found_and_named_and_what_is_listed_is_true() -> None:
    score = Score()
    for seed in range(4):
        drawn = draw(seed, 4, 3000)
        score.add(drawn, by_whylook(drawn), 0.0)
    assert score.planted == 16 and score.found >= 13 and score.named >= 12
    assert score.first_true >= 0.8 * score.first > 0 and score.false_share <= 0.4  # summed over 4 worlds


def looks_elsewhere(seed: int) -> MadeRun:
    """One class is missed where the map is wide; where it is wide it lies low and to the right, too."""
    run = made_run(seed)
    wide = run.generator.random(3000)
    for name in ("attention_area", "attention_y", "attention_x"):
        run.columns[name] = np.clip(wide + run.generator.normal(0, 0.15, 3000), 0, 1)
    harder(run, (run.label == 3) & (wide > 0.7), 0.6)
    return run


def test_what_is_said_of_where_it_looks_on_one_class_is_one_story() -> None:
    for seed in range(3):
        frame = looks_elsewhere(seed).frame()
        told = [item for item in ranked(frame) if "“class3”" in item.sentence and "attention_" in item.sql]
        assert len(told) == 1 and "Pictures labelled “class3”" in told[0].evidence


def odd(what: str) -> MadeRun:
    """Runs of which there is little to say."""
    run = made_run(3, n=10 if what == "ten pictures" else 400, classes=1 if what == "one class" else 10)
    n = run.label.size
    if what == "one class":
        run.classes = 2  # its mistakes go to another
    elif what == "all right":
        run.error = np.zeros(n)
    elif what == "all wrong":
        run.error = np.ones(n)
    elif what == "constant columns":
        run.columns = {"place": np.full(n, "here", dtype=object), "depth": np.full(n, 3.0)}
    elif what == "many values":
        run.columns = {"name": np.asarray([f"n{i}" for i in range(n)], dtype=object), "number": np.arange(n) * 1.0}
    elif what == "missing values":
        run.columns = {"place": np.full(n, None, dtype=object), "depth": np.full(n, np.nan)}
    return run


@pytest.mark.parametrize(
    "what", ["one class", "ten pictures", "all right", "all wrong", "constant columns", "many values", "missing values"]
)
def test_a_run_of_which_there_is_little_to_say_gives_sentences_and_no_error(what: str) -> None:
    frame = odd(what).frame()
    for finding in ranked(frame):
        assert finding.sentence.endswith(".") and "nan" not in finding.sentence
        assert len(frame.con.execute(finding.sql).fetchall()) == finding.n > 0


def test_a_run_without_labels_has_no_accusation() -> None:
    con = made_run(3, n=300).connect()
    con.execute("ALTER TABLE every ALTER label SET DATA TYPE VARCHAR")
    con.execute("UPDATE every SET label = NULL, correct = NULL, label_probability = NULL")
    assert {finding.kind for finding in ranked(load(con, "r-made"))} <= {"attention"}


def test_a_store_of_an_older_version_has_no_hashes_and_is_read_all_the_same() -> None:
    con = WORLDS["one condition"].make(0, 3000).connect()
    con.execute("ALTER TABLE images DROP near_hash")
    frame = load(con, "r-made")
    assert not frame.grouped and named(ranked(frame), ("night",))


def test_a_difference_that_is_sure_but_too_small_to_matter_is_not_listed() -> None:
    run = made_run(5, n=100_000, hard=False)
    harder(run, run.has("time_of_day", "night"), 0.015)
    assert not [finding for finding in ranked(run.frame()) if "night" in finding.sentence]
