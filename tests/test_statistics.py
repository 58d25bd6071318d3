import math

import numpy as np
import pytest

from core.findings.significance import benjamini_hochberg, two_proportion, welch
from core.statistics import (
    Interval,
    auroc,
    format_duration,
    format_mean,
    format_number,
    format_percent,
    format_rate,
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


def test_weights_move_the_mean_and_missing_values_are_left_out() -> None:
    assert mean_interval([0.0, 1.0], [1.0, 3.0]).value == pytest.approx(0.75)
    assert mean_interval([1.0, math.nan, 3.0]).n == 2
    assert mean_interval([]).n == 0


def test_equal_weights_give_wilson_and_unequal_ones_the_bootstrap() -> None:
    assert weighted_rate([True, False], [2.0, 2.0]) == wilson(1, 2)
    assert weighted_rate([True, False, False], [4.0, 1.0, 1.0]).value == pytest.approx(4 / 6)


def test_two_proportions_give_the_textbook_p_value() -> None:
    # z = (0.5 - 0.4) / sqrt(0.45 * 0.55 * 2 / 200) = 2.0101, two-sided p = 0.0444.
    assert two_proportion(100, 200, 80, 200) == pytest.approx(0.0444, abs=2e-4)
    assert two_proportion(0, 0, 1, 2) == 1.0
    assert two_proportion(5, 5, 7, 7) == 1.0


def test_welch_tells_different_means_apart() -> None:
    generator = np.random.default_rng(0)
    assert welch(generator.normal(0, 1, 200), generator.normal(1, 1, 200)) < 1e-6
    assert welch([1.0], [2.0, 3.0]) == 1.0


def test_benjamini_hochberg_equals_the_1995_example() -> None:
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p_values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert benjamini_hochberg(p_values) == [True] * 4 + [False] * 11
    assert benjamini_hochberg([]) == []


def test_hypotheses_that_are_not_listed_still_count_in_the_family() -> None:
    assert benjamini_hochberg([0.01, 0.02]) == [True, True]
    assert benjamini_hochberg([0.01, 0.02], tests=4) == [True, True]
    assert benjamini_hochberg([0.01, 0.02], tests=5) == [True, True]
    assert benjamini_hochberg([0.01, 0.021], tests=5) == [True, False]
    assert benjamini_hochberg([0.01, 0.02], tests=6) == [False, False]


def test_a_p_value_that_is_none_is_an_error() -> None:
    for odd in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError):
            benjamini_hochberg([0.5, odd])


def test_pure_chance_is_seldom_called_a_discovery() -> None:
    generator = np.random.default_rng(4)
    found = sum(any(benjamini_hochberg(list(generator.random(50)))) for _ in range(200))
    assert found / 200 < 0.1


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
