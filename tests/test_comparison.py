"""Two runs over the same pictures are compared picture by picture; what is chance is called chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import cohen_kappa_score

from core.comparison import Comparison, compare, sentences
from core.comparison.changes import _apart_p
from core.comparison.exact import LEAST, by_group, flip_p, paired_interval, spread_of, spread_p
from core.comparison.judges import kappa
from core.comparison.maps import overlap, rank_correlation
from core.errors import QueryError, RequestError
from core.queries import run_sql
from core.statistics import wilson
from tests.bench.comparison import coverage, worlds
from tests.support.store_factory import make_store
from tests.support.two_runs import Tables, make_two_runs, moved_map


def flags(n: int, *wrong: int) -> np.ndarray:
    """True but at these places."""
    found = np.ones(n, dtype=bool)
    found[list(wrong)] = False
    return found


def compared(folder: Path, **options: object) -> tuple[Comparison, object]:
    store, a, b = make_two_runs(folder, **options)  # type: ignore[arg-type]
    return compare(store.reader(), a, b), store


@pytest.mark.parametrize("only_a, only_b", [(0, 0), (0, 1), (3, 3), (1, 9), (14, 15), (40, 21), (500, 430)])
def test_the_paired_test_is_mcnemars_exact_test(only_a: int, only_b: int) -> None:
    changes = np.repeat([-1, 1], [only_a, only_b])
    wanted = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert flip_p(changes) == pytest.approx(wanted)


def test_pictures_of_one_group_count_once() -> None:
    change = np.repeat([1, -1, 1], [10, 4, 6])
    groups = np.repeat([0, 1, 2], [10, 4, 6])
    moves = by_group(change, groups)
    assert moves.tolist() == [10, -4, 6]
    assert flip_p(change) < 0.05 < flip_p(moves) == 4 / 8  # of 8 ways to turn them round four reach 12
    assert paired_interval(moves, 20).low < 0 < paired_interval(change, 20).low


def test_intervals_of_differences_hold_the_truth_and_equal_runs_are_rarely_rejected() -> None:
    held, rejected = coverage(1000)
    assert wilson(held, 1000).high >= 0.95
    assert wilson(rejected, 1000).low <= 0.05


def test_a_spread_between_classes_makes_a_difference_less_sure() -> None:
    alike = [np.repeat([-1, 1], [10, 10]) for _ in range(10)]
    apart = [np.repeat([-1, 1], [18, 2] if place % 2 else [2, 18]) for place in range(10)]
    assert spread_of(alike) == 0
    assert spread_of(alike[:7]) is None
    spread = spread_of(apart)
    assert spread is not None and 0.4 < spread < 0.8
    assert spread_p(0.001, 20, spread) > 0.1
    assert spread_p(0.001, 20, 0.0) == 0.001


def test_a_run_that_is_right_on_one_picture_more_is_no_better(tmp_path: Path) -> None:
    right = flags(60, *range(10)), flags(60, *range(1, 5), *range(20, 25))
    found, store = compared(tmp_path / "s", right=right)
    told = found.accuracy
    assert told is not None and found.matched == told.n == 60
    assert (round(told.a.value * 60), round(told.b.value * 60)) == (50, 51)
    assert (len(told.regressions), len(told.wins)) == (5, 6)
    assert told.p == 1.0 and told.difference.low < 0 < told.difference.high
    assert sentences(found)[0] == (
        "B is right on 1 picture more of 60 (50 and 51): no more than chance (p = 1.0); "
        "their answers differ on 11 pictures."
    )
    assert "none differs" in sentences(found)[2]
    assert sentences(found)[-1] == "Settings that differ (A and B): classifier net0 and net1."


def test_a_run_that_is_better_is_said_to_be_and_its_pictures_are_listed(tmp_path: Path) -> None:
    found, store = compared(tmp_path / "s", rows=90, right=(flags(90, *range(30)), flags(90, 80)))
    told = found.accuracy
    assert told is not None and told.p < 0.001 and told.difference.low > 0
    assert {pair.path for pair in told.regressions} == {"horse/00080.png"}
    for sql, listed in ((told.wins_sql, told.wins), (told.regressions_sql, told.regressions)):
        rows = run_sql(store, sql, max_rows=1000).table.to_pylist()  # type: ignore[arg-type]
        assert {row["image_id"] for row in rows} == {pair.image_id for pair in listed}
        assert {row["run"] for row in rows} == {found.b.name}
    for change in found.changes.standing:
        assert len(run_sql(store, change.sql, max_rows=1000).table) == change.only_a + change.only_b  # type: ignore[arg-type]


def test_a_class_that_got_worse_is_found_among_all(tmp_path: Path) -> None:
    classes = tuple(f"class{place}" for place in range(10))
    before = np.random.default_rng(1).random(800) < 0.9
    after = np.where(np.random.default_rng(2).random(800) < 0.05, ~before, before)
    after[::10] &= np.random.default_rng(3).random(80) > 0.5
    found, _ = compared(tmp_path / "s", rows=800, classes=classes, right=(before, after))
    first = found.changes.listed[0]
    assert first.stands and "class0" in first.words
    assert {item.words for item in found.changes.standing if item.kind == "class"} == {"labelled “class0”"}
    assert "class0" in sentences(found)[2]


def test_fewer_disagreements_than_can_ever_tell_are_not_asked() -> None:
    assert flip_p(np.ones(LEAST, dtype=np.int64)) <= 0.05 < flip_p(np.ones(LEAST - 1, dtype=np.int64))


def test_classes_that_move_both_ways_by_chance_of_training_are_no_news(tmp_path: Path) -> None:
    """Every second class gains ten pictures and loses four, the others the other way: that is how classes vary here."""
    classes, rows = tuple(f"class{place}" for place in range(12)), 480
    at = np.arange(rows) // len(classes)  # of each class, 0 to 39
    better = np.arange(rows) % 2 == 0
    before = ~np.where(better, at < 10, at < 4)
    after = ~np.where(better, (at >= 10) & (at < 14), (at >= 10) & (at < 20))
    found, _ = compared(tmp_path / "s", rows=rows, classes=classes, right=(before, after))
    assert found.changes.spread is not None and found.changes.spread > 0.1
    alone = flip_p(np.repeat([1, -1], [10, 4]))
    assert min(item.p for item in found.changes.listed if item.kind == "class") > 1.5 * alone


def test_a_slice_that_differs_by_chance_is_rarely_said_to() -> None:
    drawn, low, n, rows = np.random.default_rng(4), 0, 200, 300
    for _ in range(n):
        inside, labels = drawn.random(rows) < 0.4, drawn.integers(0, 4, rows).astype(str).astype(object)
        change = drawn.choice([-1, 0, 1], rows)
        pairs = SimpleNamespace(change=change, labels=labels, n=rows, frame=SimpleNamespace(grouped=False))
        low += _apart_p(pairs, inside) <= 0.05  # type: ignore[arg-type]
    assert low <= 0.05 * n + 8  # three standard errors, rounded down


def test_worlds_of_two_seeds_rarely_have_a_false_difference() -> None:
    told = [item for kind in ("two seeds, right by their own luck",) for item in worlds(kind, 12, seed=9)]
    assert sum(false for false, _, _ in told) <= 2
    planted = worlds("one class loses 30 points", 6, seed=9)
    assert sum(named for _, named, _ in planted) >= 4


def test_attention_that_turned_round_is_measured_and_shown_first(tmp_path: Path) -> None:
    def turned(tables: Tables, run: int) -> None:
        if run:
            tables["attributions"] = [
                moved_map(item) if place % 2 else item for place, item in enumerate(tables["attributions"])
            ]

    found, _ = compared(tmp_path / "s", change=turned)
    still, _ = compared(tmp_path / "t")
    assert found.attention is not None and still.attention is not None
    assert still.attention.overlap.value == 1 and "same part of every picture" in " ".join(sentences(still))
    assert found.attention.overlap.value < 0.9
    assert all(int(pair.path.split("/")[1][:5]) % 2 for pair in found.attention.most[:5])


def test_overlap_and_rank_correlation_are_those_of_two_maps() -> None:
    left, right = np.eye(4, dtype=np.float32)[:1], np.array([[1, 1, 0, 0]], dtype=np.float32)
    assert overlap(left, right).tolist() == [0.5]
    assert np.isnan(overlap(left * 0, right * 0)[0])
    ramp = np.array([[0.0, 0.1, 0.5, 0.9]], dtype=np.float32)
    assert rank_correlation(ramp, 1 - ramp)[0] == pytest.approx(-1)
    assert rank_correlation(ramp, ramp)[0] == pytest.approx(1)
    assert np.isnan(rank_correlation(right * 0, right)[0])
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 1, 50)).astype(np.float32).round(1)
    a[:, :20] = b[:, :20] = 0  # what neither was shown
    shown = ((a > 0) | (b > 0))[0]
    assert rank_correlation(a, b)[0] == pytest.approx(spearmanr(a[0, shown], b[0, shown]).statistic)


def test_two_judges_are_compared_where_they_scored_the_same_answer(tmp_path: Path) -> None:
    def harsher(tables: Tables, run: int) -> None:
        if run:
            tables["judgements"] = [
                replace(item, score=max(0.0, item.score - 1.5)) if item.score is not None else item
                for item in tables["judgements"]
            ]

    found, _ = compared(tmp_path / "s", judged=True, change=harsher, same=("classifier", "attribution"))
    told = found.judges
    assert told is not None and told.same_maps and told.n == 55
    assert sentences(found)[0].startswith("Both runs are of one classifier, right on ")
    assert told.difference.high < -1
    assert "the judges agree" in " ".join(sentences(found))
    assert sum(cell.a for cell in found.cells) == sum(cell.b for cell in found.cells)
    one_judge, _ = compared(tmp_path / "t", judged=True, same=("judge",))
    assert one_judge.judges is None


def test_kappa_is_cohens() -> None:
    a, b = [0] * 30 + [1] * 20, [0] * 22 + [1] * 8 + [0] * 5 + [1] * 15
    told = kappa(np.bincount(2 * np.array(a) + np.array(b), minlength=4))
    assert told.value == pytest.approx(cohen_kappa_score(a, b))
    assert told.low < told.value < told.high
    assert not kappa(np.array([0, 0, 0, 9])).known


def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path: Path) -> None:
    store, a, b = make_two_runs(tmp_path / "s")
    con = store.reader()
    with pytest.raises(RequestError, match="choose two different runs"):
        compare(con, a, a)
    with pytest.raises(QueryError, match="no run r-gone"):
        compare(con, a, "r-gone")
    _, other = make_store(tmp_path / "s", seed=5, judged=False)
    with pytest.raises(RequestError, match="no picture in common"):
        compare(store.reader(), a, other)
    with pytest.raises(QueryError, match="--group names no column"):
        compare(con, a, b, group="scene")


def test_classes_that_one_classifier_lacks_are_said(tmp_path: Path) -> None:
    store, a, b = make_two_runs(tmp_path / "s", names=(("cow", "camel", "horse"), ("cow", "camel", "dog")))
    assert any("B's classifier lacks 1 of the classes" in text for text in sentences(compare(store.reader(), a, b)))
    store, a, b = make_two_runs(tmp_path / "t", names=(("cow", "camel", "horse"), ("x", "y", "z")))
    with pytest.raises(RequestError, match="no class name in common"):
        compare(store.reader(), a, b)


def test_runs_without_labels_are_compared_by_their_answers(tmp_path: Path) -> None:
    def unlabelled(tables: Tables, run: int) -> None:
        for entry in tables["images"]:
            entry["label"] = None

    found, _ = compared(tmp_path / "s", right=(flags(60), flags(60, 1, 2)), change=unlabelled)
    assert found.accuracy is None and found.calibration is None
    assert sentences(found)[0].startswith("Their answers differ on 2 pictures")
