"""Whom a judge with a budget looks at, what each stands for, and whether the estimates keep what they promise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import queries
from core.judge.sampling import choose
from core.statistics import mean_interval, weighted_rate
from core.store import Store, open_for_writing
from tests.support.command_line import whylook
from tests.support.store_factory import make_store
from tests.support.tiny_world import make_folder, make_model

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[1]
JUDGE = ROOT / "data" / "demo" / "judge"


def world(right: int, wrong: int) -> dict[str, bool]:
    return {f"image-{index}": index < wrong for index in range(right + wrong)}


def test_without_a_budget_every_picture_is_judged_once_in_an_order_that_does_not_follow_the_folder() -> None:
    everyone = world(80, 20)
    order = choose(everyone, None)
    assert sorted(order) == sorted(everyone) and order != list(everyone)
    assert order == choose(everyone, 100) == choose(everyone, 10_000)


def test_all_wrong_predictions_are_taken_and_the_rest_of_the_budget_goes_to_the_others() -> None:
    everyone = world(80, 20)
    assert Counter(everyone[name] for name in choose(everyone, 50)) == {True: 20, False: 30}
    assert [everyone[name] for name in choose(everyone, 1)] == [True]


def test_whenever_a_run_is_stopped_both_groups_were_judged_in_proportion_to_their_places() -> None:
    everyone = world(80, 20)
    chosen = choose(everyone, 50)
    for stopped in range(5, 50):
        assert abs(sum(everyone[name] for name in chosen[:stopped]) - 0.4 * stopped) <= 1


def test_a_third_of_the_budget_is_kept_for_right_predictions_however_many_are_wrong() -> None:
    assert Counter(world(500, 500)[name] for name in choose(world(500, 500), 90)) == {True: 60, False: 30}


def test_where_right_predictions_are_too_few_wrong_ones_take_their_places() -> None:
    assert Counter(world(5, 95)[name] for name in choose(world(5, 95), 60)) == {True: 55, False: 5}


def test_a_larger_budget_holds_the_pictures_of_a_smaller_one_and_another_seed_takes_others() -> None:
    everyone = world(300, 60)
    assert set(choose(everyone, 90)) <= set(choose(everyone, 200))
    assert set(choose(everyone, 90, seed=1)) != set(choose(everyone, 90))


def test_each_picture_of_a_group_has_the_same_chance() -> None:
    everyone = world(40, 10)
    taken = Counter(name for seed in range(2000) for name in choose(everyone, 30, seed=seed) if not everyone[name])
    rates = np.array([taken[f"image-{index}"] / 2000 for index in range(10, 50)])
    assert np.abs(rates - 0.5).max() < 0.06  # 20 of 40; five standard errors


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A run of 1,200 pictures that are all judged: what an estimate is compared with."""
    store, run = make_store(tmp_path_factory.mktemp("full") / "store", rows=1200, pictures=False)
    return queries.fetch_rows(
        store.reader(),
        "SELECT image_id, correct, cell, score FROM samples WHERE run = ? AND prediction IS NOT NULL",
        [run],
    )


@pytest.mark.parametrize("budget", [150, 400, 800])
def test_estimates_lie_within_their_intervals_of_the_full_run(judged: list[dict[str, Any]], budget: int) -> None:
    """At least 93 of 100 seeded repetitions, over 300: of the mean score and of the right for the right reason."""
    known = {row["image_id"]: row for row in judged}
    wrong = {image_id: row["correct"] is False for image_id, row in known.items()}
    sizes = Counter(wrong.values())
    scores = [row["score"] for row in judged if row["score"] is not None]
    cells = [row["cell"] == "correct_high" for row in judged if row["cell"] is not None]
    full = {"score": np.mean(scores), "cell": np.mean(cells)}
    held = Counter[str]()
    for seed in range(300):
        chosen = choose(wrong, budget, seed=seed)
        asked = Counter(wrong[name] for name in chosen)
        rows = [(known[name], sizes[wrong[name]] / asked[wrong[name]]) for name in chosen]
        scored = [(row["score"], weight) for row, weight in rows if row["score"] is not None]
        found = {
            "score": mean_interval(*map(np.array, zip(*scored, strict=True)), draws=400, seed=seed),
            "cell": weighted_rate(
                [row["cell"] == "correct_high" for row, _ in rows if row["cell"] is not None],
                [weight for row, weight in rows if row["cell"] is not None],
                seed=seed,
            ),
        }
        held.update(name for name, interval in found.items() if interval.low <= full[name] <= interval.high)
    assert min(held["score"], held["cell"]) >= 0.93 * 300, held


@pytest.mark.slow
def test_a_run_with_a_budget_judges_that_many_and_says_what_each_stands_for(tmp_path: Path, capsys: Capture) -> None:
    words = ["run", make_folder(tmp_path / "pictures", per_class=20), "--classifier", f"{make_model(tmp_path)}:tiny",
             "--vlm", JUDGE / "judge.gguf", "--mmproj", JUDGE / "judge-mmproj.gguf", "--card-sample", "0",
             "--store", tmp_path / "store"]  # fmt: skip
    answer = whylook(capsys, *words, "--judge-budget", "30")
    assert answer.code == 0 and "judged 30" in answer.out
    rows = queries.fetch_rows(Store(tmp_path / "store").reader(), "SELECT correct, judge_state, weight FROM samples")
    assert len(rows) == 60 and sum(row["judge_state"] is not None for row in rows) == 30
    for correct in (True, False):
        group = [row for row in rows if row["correct"] is correct]
        asked = [row for row in group if row["judge_state"] is not None]
        assert all(row["weight"] == pytest.approx(len(group) / len(asked)) for row in asked)
    assert sum(row["weight"] for row in rows if row["weight"] is not None) == pytest.approx(60)
    again = whylook(capsys, *words, "--judge-budget", "40")
    later = queries.fetch_rows(Store(tmp_path / "store").reader(), "SELECT run, judge_state, seconds FROM samples "
                               "LEFT JOIN judgements USING (image_id)")  # fmt: skip
    assert "judged 40" in again.out and len({row["run"] for row in later}) == 2


def test_a_budget_of_nothing_is_refused(tmp_path: Path, capsys: Capture) -> None:
    words = ["run", make_folder(tmp_path / "pictures", per_class=2), "--classifier", "x.py:f", "--no-vlm"]
    answer = whylook(capsys, *words, "--judge-budget", "0", "--store", tmp_path / "store")
    assert answer.code == 2 and "--judge-budget must be 1 or more" in answer.err


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 20, 29, 30, 31, 45, 59, 60, 400])
def test_a_run_with_a_budget_shows_its_own_choice_where_another_run_had_more_judged(
    tmp_path: Path, budget: int
) -> None:
    """The schema chooses as the pipeline does, and weights stand for the run's own groups."""
    store, everything = make_store(tmp_path / "store", rows=60, pictures=False)
    record = store.run_records()[0]
    with open_for_writing(store.folder) as writer:
        few = writer.begin_run(
            {**record["settings"], "judge_budget": budget}, record["fingerprints"], class_names=record["class_names"]
        )
        writer.finish_run(few, "done", {})
        writer.publish()
    con = store.reader()
    rows = queries.fetch_rows(con, "SELECT image_id, correct, judge_state, weight FROM samples WHERE run = ?", [few])
    chosen = choose({row["image_id"]: row["correct"] is False for row in rows}, budget)
    assert {row["image_id"] for row in rows if row["judge_state"] is not None} == set(chosen)
    assert len(chosen) == min(budget, 60)
    for correct in (True, False):
        group = [row for row in rows if row["correct"] is correct]
        weights = [row["weight"] for row in group if row["weight"] is not None]
        assert not weights or sum(weights) == pytest.approx(len(group))
    assert queries.run_counts(con, everything).not_judged == 0
    assert all(row["image_id"] in chosen for row in queries.failures(con, few) if row["stage"] == "judge")
    other = next((row["image_id"] for row in rows if row["image_id"] not in chosen), None)
    assert other is None or queries.sample(con, few, other).distribution is None
    found = queries.search(con, few, "visible", vector=None).hits
    assert {hit.image_id for hit in found} <= set(chosen)
