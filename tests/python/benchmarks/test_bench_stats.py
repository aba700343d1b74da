"""The statistics of the harness against brute force and the standard library."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from benchmarks import stats


def _samples(seed: int, count: int) -> list[float]:
    random_ = random.Random(seed)
    return [random_.uniform(1.0, 100.0) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 25])
def test_median_is_the_middle_of_the_sorted_values(count: int) -> None:
    for seed in range(50):
        values = _samples(seed, count)
        assert stats.median(values) == pytest.approx(statistics.median(values))


def test_sigma_estimates_the_deviation_of_normal_noise() -> None:
    random_ = random.Random(7)
    values = [random_.gauss(100.0, 5.0) for _ in range(20_000)]
    assert stats.sigma(values) == pytest.approx(5.0, rel=0.05)
    assert stats.relative_spread(values) == pytest.approx(0.05, rel=0.05)


def test_a_few_disturbed_rounds_do_not_move_sigma() -> None:
    random_ = random.Random(8)
    quiet = [random_.gauss(100.0, 1.0) for _ in range(21)]
    disturbed = [*quiet[:18], 400.0, 900.0, 250.0]
    assert stats.sigma(disturbed) < 2.5 * stats.sigma(quiet)
    assert statistics.stdev(disturbed) > 50 * stats.sigma(disturbed)


def test_sigma_of_equal_values_is_zero() -> None:
    assert stats.sigma([3.0] * 9) == 0.0
    assert stats.relative_spread([0.0] * 9) == 0.0


def test_ratios_are_taken_round_by_round() -> None:
    # The machine halves its speed after two rounds: each ratio stays what it was.
    assert stats.ratios([10.0, 10.0, 20.0], [40.0, 40.0, 80.0]) == [0.25, 0.25, 0.25]
    with pytest.raises(ValueError, match="shorter"):
        stats.ratios([1.0, 2.0], [1.0])


def test_change_is_the_share_by_which_the_median_moved() -> None:
    assert stats.change([10.0, 20.0, 30.0], [21.0, 22.0, 23.0]) == pytest.approx(0.1)
    assert stats.change([0.0], [0.0]) == 0.0
    assert stats.change([0.0], [1.0]) == math.inf


def test_rounds_are_grouped_by_pass_in_the_order_they_were_taken() -> None:
    assert stats.by_pass([1.0, 2.0, 9.0, 4.0, 5.0, 5.0], 2) == [2.0, 5.0]
    assert stats.by_pass([3.0, 1.0, 2.0], 1) == [2.0]


def _shuffled_share(low: list[float], high: list[float], seed: int) -> float:
    """Estimate by shuffling what `chance` counts."""
    random_ = random.Random(seed)

    def above(first: list[float], second: list[float]) -> float:
        return sum((a < b) + (a == b) / 2 for a in first for b in second)

    pooled, observed, hits = [*low, *high], above(low, high), 0
    for _ in range(5_000):
        random_.shuffle(pooled)
        hits += above(pooled[: len(low)], pooled[len(low) :]) >= observed
    return hits / 5_000


@pytest.mark.parametrize("seed", range(6))
def test_chance_is_the_share_of_shuffles_that_lie_as_far_apart(seed: int) -> None:
    random_ = random.Random(seed)
    low = [round(random_.gauss(0.0, 1.0), seed % 3) for _ in range(5)]
    high = [round(random_.gauss(0.7, 1.0), seed % 3) for _ in range(4)]
    assert stats.chance(low, high) == pytest.approx(_shuffled_share(low, high, seed), abs=0.025)


def test_chance_of_full_separation_is_one_split_of_all() -> None:
    assert stats.chance([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == 1 / 20
    assert stats.chance([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]) == 1.0
    assert stats.chance([1.0] * 5, [1.0] * 5) == 1.0
    assert stats.chance([1.0], [2.0]) == 0.5
