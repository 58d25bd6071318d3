import math

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import fisher_exact

from core import statistics
from core.findings.significance import RATE, Table, _exact_tail, adjusted, clustered_p, excess_p, selected_z
from core.statistics import (
    Interval,
    auroc,
    format_duration,
    format_mean,
    format_number,
    format_percent,
    format_rate,
    format_spoken,
    mean_interval,
    weighted_rate,
    wilson,
)


def test_wilson_equals_the_published_example() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662.
    value = wilson(81, 263)
    assert value.low == pytest.approx(0.2553, abs=5e-5)
    assert value.high == pytest.approx(0.3662, abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 148), (148, 148), (3, 10**9)])
def test_wilson_stays_between_0_and_1_and_holds_its_rate(k: int, n: int) -> None:
    value = wilson(k, n)
    assert 0 <= value.low <= value.value <= value.high <= 1


def test_nothing_counted_is_unknown_and_not_zero() -> None:
    assert not wilson(0, 0).known
    assert format_rate(wilson(0, 0)) == "not known · n 0"


def test_more_hits_than_pictures_is_an_error() -> None:
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson(3, 2)


def test_the_bootstrap_covers_the_mean_and_is_the_same_each_time() -> None:
    values = np.random.default_rng(1).normal(3.0, 1.0, 400)
    first, second = mean_interval(values), mean_interval(values)
    assert first == second
    assert first.low < 3.0 < first.high
    assert first.high - first.low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_interval_of_many_values_is_that_of_the_bootstrap(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    values = generator.gamma(1.5, 1.0, 21_000)
    weights = generator.choice([1.0, 7.5], values.size) if weighted else None
    fast = mean_interval(values, weights)
    monkeypatch.setattr(statistics, "MANY", 10**9)
    slow = mean_interval(values, weights)
    assert fast.value == slow.value and fast.n == slow.n
    assert fast.high - fast.low == pytest.approx(slow.high - slow.low, rel=0.08)
    assert fast.low == pytest.approx(slow.low, abs=0.1 * (slow.high - slow.low))


def test_weights_move_the_mean_and_missing_values_are_left_out() -> None:
    assert mean_interval([0.0, 1.0], [1.0, 3.0]).value == pytest.approx(0.75)
    assert mean_interval([1.0, math.nan, 3.0]).n == 2
    assert mean_interval([]).n == 0


def test_equal_weights_give_wilson_and_unequal_ones_the_bootstrap() -> None:
    assert weighted_rate([True, False], [2.0, 2.0]) == wilson(1, 2)
    assert weighted_rate([True, False, False], [4.0, 1.0, 1.0]).value == pytest.approx(4 / 6)


def counts(*columns: list[int]) -> Table:
    return Table(*(np.asarray(column) for column in columns))


def test_one_stratum_gives_the_p_value_of_fishers_exact_test() -> None:
    for hits, n1, rest, n0 in ((7, 12, 5, 40), (3, 9, 30, 200), (10, 10, 1, 30)):
        expected = fisher_exact([[hits, n1 - hits], [rest, n0 - rest]], alternative="greater").pvalue
        assert excess_p(counts([hits], [n1], [rest], [n0])) == pytest.approx(expected, rel=1e-9)
    assert excess_p(counts([0], [0], [1], [2])) == 1.0
    assert excess_p(counts([5], [5], [7], [7])) == 1.0


def test_strata_keep_a_hard_class_from_accusing_its_context() -> None:
    # In either class the context changes nothing (90% and 10% wrong); together it seems to: 82% against 18%.
    table = counts([90, 1], [100, 10], [9, 10], [10, 100])
    assert excess_p(table) > 0.5
    assert table.rate == pytest.approx(91 / 110) and table.rest_rate == pytest.approx((90 + 1) / 110)
    assert excess_p(counts([91], [110], [19], [110])) < 1e-20


def test_exact_and_normal_agree_where_one_follows_the_other() -> None:
    large = counts([60, 55], [100, 100], [45, 40], [100, 100])
    z = (115 - 100 - 0.5) / math.sqrt(sum(100 * 100 * k * (200 - k) / 200**2 / 199 for k in (105, 95)))
    exact = _exact_tail(large.inside, large.hits + large.rest_hits, large.inside + large.outside, 115)
    assert exact == pytest.approx(float(ndtr(-z)), rel=0.05)


def test_groups_count_once() -> None:
    rng = np.random.default_rng(0)
    small = []
    for _ in range(200):
        inside, hits = rng.random(300) < 0.3, rng.random(300) < 0.3
        every = np.repeat(np.arange(300), 5)
        known, strata = np.ones(1500, dtype=bool), np.zeros(1500, dtype=np.int64)
        small.append(clustered_p(inside[every], hits[every], known, strata, every) < 0.05)
    assert sum(small) <= 20  # of 200 at 5%: more than 20 would be a chance of 0.1%


def test_adjusted_p_values_equal_the_1995_example() -> None:
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p_values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert [bool(p <= RATE) for p in adjusted(p_values)] == [True] * 4 + [False] * 11
    assert adjusted([]).size == 0
    for odd in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError):
            adjusted([0.5, odd])


def test_intervals_of_what_was_selected_are_wider_the_rarer_the_selection() -> None:
    assert selected_z(10, 10) == pytest.approx(1.96, abs=0.01)
    assert selected_z(1, 100) == pytest.approx(3.48, abs=0.01)


def test_a_spoken_rate_has_two_figures() -> None:
    spoken = {0.1834: "18%", 0.00524: "0.52%", 1.0: "100%", 0.0: "0%", 0.9996: "nearly 100%", 0.096: "9.6%"}
    assert {rate: format_spoken(rate) for rate in spoken} == spoken


@pytest.mark.parametrize(
    ("number", "text"), [(99.96, "100"), (12345.0, "12,300"), (0.0712, "0.0712"), (0.0, "0"), (3.14159, "3.14")]
)
def test_numbers_have_three_significant_figures(number: float, text: str) -> None:
    assert format_number(number) == text


def test_a_rate_reads_as_the_screens_say() -> None:
    assert format_rate(wilson(1627, 2000)) == "81.3% [79.6, 83.0] · n 2,000"
    assert format_mean(Interval(3.14, 2.9, 3.38, 120)) == "3.14 [2.90, 3.38] · n 120"
    assert format_percent(math.nan) == "–"


def test_auroc_counts_pairs_won_and_half_of_those_that_tie() -> None:
    value = auroc([3.0, 2.0], [[1.0, 2.0], [3.0, float("nan")]])
    # 3 beats 1 and 2, ties with 3; 2 beats 1, ties with 2, loses to 3
    assert value.value == pytest.approx((2 + 0.5 + 1 + 0.5) / 6)
    assert value.n == 2 and value.low <= value.value <= value.high


def test_auroc_of_a_constant_judge_is_one_half_and_of_nothing_is_unknown() -> None:
    assert auroc([2.0] * 20, [[2.0]] * 20) == Interval(0.5, 0.5, 0.5, 20)
    assert not auroc([float("nan")], [[1.0]]).known


def test_the_interval_of_auroc_covers_the_truth_about_as_often_as_it_says() -> None:
    """True scores are normal with mean 1, controls with mean 0: AUROC is Phi(1 / sqrt 2) = 0.760."""
    rng, held = np.random.default_rng(3), 0
    for seed in range(200):
        found = auroc(rng.normal(1, 1, 40), rng.normal(0, 1, (40, 4)), draws=300, seed=seed)
        held += found.low <= 0.7602 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_a_weighted_rate_without_a_hit_is_not_certain() -> None:
    found = weighted_rate([False] * 6, [1, 1, 1, 5, 5, 5])
    assert found.value == 0 and found.high > 0.3 and found.n == 6
    assert weighted_rate([True] * 6, [1, 1, 1, 5, 5, 5]).low < 0.7


def test_a_time_is_said_in_words() -> None:
    times = (None, float("nan"), -1, 6.6, 40, 200, 3900, 7500)
    said = ["unknown", "unknown", "unknown", "7 s", "40 s", "3 min 20 s", "1 h 5 min", "2 h 5 min"]
    assert [format_duration(seconds) for seconds in times] == said
