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


def test_standard_error_is_what_repeating_the_experiment_shows() -> None:
    random_ = random.Random(9)
    repeats = [[random_.gauss(100.0, 4.0) for _ in range(25)] for _ in range(2_000)]
    seen = statistics.stdev([statistics.median(rounds) for rounds in repeats]) / 100.0
    told = statistics.mean([stats.standard_error(rounds) for rounds in repeats])
    assert told == pytest.approx(seen, rel=0.1)


def test_change_is_the_share_by_which_the_median_moved() -> None:
    assert stats.change([10.0, 20.0, 30.0], [21.0, 22.0, 23.0]) == pytest.approx(0.1)
    assert stats.change([0.0], [0.0]) == 0.0
    assert stats.change([0.0], [1.0]) == math.inf


def test_noise_is_never_below_its_floor() -> None:
    assert stats.noise([1.0] * 9, [1.0] * 9, z=3.5, floor=0.05) == 0.05
    wild = [1.0, 9.0, 2.0, 8.0, 5.0]
    assert stats.noise(wild, wild, z=3.5, floor=0.05) > 0.5
