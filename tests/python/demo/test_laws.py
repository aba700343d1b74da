"""The laws of the demo: quantile tables, latencies, Zipf ranks, arrivals, the histogram."""

import math
import statistics
from collections import Counter
from random import Random

import pytest

from millpond.cli.demo.histogram import LARGEST, SMALLEST, Histogram
from millpond.cli.demo.laws import COMPLETION_TOKENS, PROMPT_TOKENS, LatencyLaw, QuantileTable
from millpond.cli.demo.questions import ONE_OFF, PASSAGES, QUESTIONS
from millpond.cli.demo.traffic import (
    BURST_SHARE,
    ONE_OFF_SHARE,
    Shape,
    Workload,
    Zipf,
    help_line_workload,
)

TABLES = [PROMPT_TOKENS, COMPLETION_TOKENS]


def workload(seconds: float = 600.0, rate: float = 40.0, seed: int = 3) -> Workload:
    return help_line_workload(seconds=seconds, rate=rate, seed=seed, speed=4.0)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_gives_back_its_own_points(table: QuantileTable) -> None:
    assert [table.at(probability) for probability, _ in table.points] == [
        value for _, value in table.points
    ]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_rises_from_its_least_to_its_greatest_value(table: QuantileTable) -> None:
    values = [table.at(step / 1000) for step in range(1001)]

    assert values == sorted(values)
    assert (values[0], values[-1]) == (table.points[0][1], table.points[-1][1])
    assert table.at(-1.0) == values[0]
    assert table.at(2.0) == values[-1]


@pytest.mark.parametrize("table", TABLES)
def test_draws_have_the_quantiles_of_their_table(table: QuantileTable) -> None:
    random = Random(1)
    drawn = sorted(table.draw(random) for _ in range(20_000))

    for probability in (0.1, 0.25, 0.5, 0.75, 0.9):
        low = drawn[int((probability - 0.01) * len(drawn))]
        high = drawn[int((probability + 0.01) * len(drawn))]
        assert low <= table.at(probability) <= high


@pytest.mark.parametrize(
    ("tokens", "least", "most"), [(512, 53, 60), (1024, 78, 106), (2048, 137, 201)]
)
def test_latency_lies_where_the_source_measured_it(tokens: int, least: int, most: int) -> None:
    first, further = LatencyLaw(spread=0).draw(tokens, Random(1))
    assert least <= first * 1000 <= most
    assert 29 <= further * 1000 <= 31


def test_latency_grows_with_the_prompt_and_its_median_is_the_law() -> None:
    law = LatencyLaw()
    firsts = sorted(law.draw(1000, Random(seed))[0] for seed in range(2001))

    assert law.draw(2000, Random(5))[0] > law.draw(1000, Random(5))[0]
    assert firsts[1000] == pytest.approx(law.fixed + 1000 * law.per_prompt_token, rel=0.03)


def test_zipf_draws_each_rank_as_often_as_its_law_says() -> None:
    zipf, random, draws = Zipf(50), Random(2), 100_000
    counts = Counter(zipf.draw(random) for _ in range(draws))
    whole = sum(1 / rank for rank in range(1, 51))

    assert set(counts) == set(range(50))
    for rank in (0, 1, 4, 20, 49):
        expected = draws / (rank + 1) / whole
        assert abs(counts[rank] - expected) < 5 * math.sqrt(expected)


def test_the_bundled_questions_are_many_distinct_and_plain() -> None:
    assert len(set(QUESTIONS)) == len(QUESTIONS) >= 150
    assert all(text.isascii() for text in (*QUESTIONS, *ONE_OFF, *PASSAGES))
    assert all(question.endswith("?") for question in QUESTIONS)


def test_a_workload_repeats_itself_and_a_seed_changes_it() -> None:
    assert list(workload(20.0).plan) == list(workload(20.0).plan)
    assert list(workload(20.0).plan) != list(workload(20.0, seed=4).plan)


def test_arrivals_are_in_order_within_the_time_and_as_many_as_the_rate_says() -> None:
    times = [call.at for call in workload().plan]

    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] <= 600.0
    # A burst of mean size m makes the variance of the count m times larger, at most 2 m - 1.
    assert abs(len(times) - 24_000) < 5 * math.sqrt(24_000 * (1 + BURST_SHARE * 15))


def test_arrivals_are_burstier_than_a_poisson_process() -> None:
    times = [call.at for call in workload().plan]
    counts = Counter(int(at) for at in times)
    per_second = [counts[second] for second in range(600)]

    assert statistics.variance(per_second) > 1.5 * statistics.mean(per_second)


def test_the_planned_share_of_calls_is_asked_only_once() -> None:
    calls = [call.question for call in workload().plan]
    personal = [question for question in calls if question not in set(QUESTIONS)]

    assert len(personal) / len(calls) == pytest.approx(ONE_OFF_SHARE, abs=0.02)
    assert len(set(personal)) > 0.95 * len(personal)


def test_a_question_always_has_the_same_shape_and_a_planned_one_wins() -> None:
    plain = workload()
    planned = Workload(
        kind="zipf",
        notes=(),
        seconds=1,
        rate=1,
        plan=(),
        speed=1,
        shapes={"How?": Shape(11, 22)},
        seed=3,
    )

    assert plain.shape("Why?") == plain.shape("Why?")
    assert plain.shape("Why?").completion_tokens is None
    assert planned.shape("How?") == Shape(11, 22)
    assert planned.shape("Why?") == plain.shape("Why?")


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("count", [1, 2, 100, 3001])
def test_a_histogram_is_within_one_percent_of_the_sorted_observations(
    count: int, probability: float
) -> None:
    random, histogram = Random(count), Histogram()
    observed = [random.lognormvariate(-3.0, 3.0) for _ in range(count)]
    for seconds in observed:
        histogram.add(seconds)
    exact = sorted(observed)[max(1, math.ceil(probability * count)) - 1]

    assert histogram.quantile(probability) == pytest.approx(exact, rel=0.0101)
    assert len(histogram) == count


def test_a_histogram_without_observations_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize(("given", "kept"), [(0.0, SMALLEST), (-1.0, SMALLEST), (1e9, LARGEST)])
def test_a_histogram_counts_what_is_out_of_range_at_its_edge(given: float, kept: float) -> None:
    histogram = Histogram()
    histogram.add(given)

    assert histogram.quantile(0.5) == pytest.approx(kept, rel=0.02)
