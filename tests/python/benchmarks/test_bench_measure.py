"""Measuring: order of the samples, the best of a round, targets, loops, what is left out."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from benchmarks import loops, measure
from benchmarks.model import Contender, Context, Result, Row, Sampler, Target, Unavailable


def _constant(value: float) -> Callable[[Context], Sampler]:
    return lambda context: lambda: value


def _raise(error: Exception) -> Callable[[Context], Sampler]:
    def prepare(context: Context) -> Sampler:
        raise error

    return prepare


def test_contenders_take_turns_and_the_first_one_changes() -> None:
    seen: list[str] = []

    def sampler(name: str) -> Sampler:
        def take() -> float:
            seen.append(name)
            return 1.0

        return take

    samplers = {name: sampler(name) for name in "ABC"}
    measure.interleave(samplers, rounds=3, per_round=2, higher_is_better=False)
    assert "".join(seen) == "ABCABC" + "BCABCA" + "CABCAB"


@pytest.mark.parametrize(("higher", "expected"), [(False, [1.0, 4.0]), (True, [3.0, 6.0])])
def test_a_round_counts_its_best_sample(higher: bool, expected: list[float]) -> None:
    samples = iter([3.0, 1.0, 2.0, 6.0, 4.0, 5.0])
    figures = measure.interleave(
        {"A": lambda: next(samples)}, rounds=2, per_round=3, higher_is_better=higher
    )
    assert figures == {"A": expected}


def test_the_collector_is_off_during_the_rounds_only() -> None:
    states: list[bool] = []

    def prepare(context: Context) -> Sampler:
        def take() -> float:
            states.append(gc.isenabled())
            return 1.0

        return take

    measure.run_row(Row("a", "a", (Contender("x", prepare),)), Context(quick=True))
    assert set(states) == {False}
    assert gc.isenabled()


def test_who_cannot_run_is_left_out_with_the_reason_and_who_breaks_is_told() -> None:
    row = Row(
        "a/b",
        "t",
        (
            Contender("fine", _constant(2.0)),
            Contender("absent", _raise(Unavailable("absent is not installed"))),
            Contender("millpond", _raise(TypeError("policy?"))),
        ),
        baseline="fine",
    )
    result = measure.run_row(row, Context(quick=True))
    assert set(result.rounds) == {"fine"}
    assert result.skipped == {"absent": "absent is not installed"}
    assert result.failed["millpond"].startswith("TypeError: policy? (test_bench_measure.py:")
    saved = result.as_json()["contenders"]
    assert saved["millpond"]["skipped"].startswith("failed: TypeError")
    assert saved["fine"]["median"] == 2.0


def test_a_row_on_traces_is_left_out_without_the_data_folder() -> None:
    row = Row("a", "t", (Contender("x", _constant(1.0)),), data=True)
    result = measure.run_row(row, Context(quick=True))
    assert result.rounds == {}
    assert "--data" in result.skipped["x"]


def test_a_row_cleans_up_even_if_a_contender_breaks() -> None:
    closed: list[str] = []

    def prepare(context: Context) -> Sampler:
        context.cleanup.callback(closed.append, "closed")
        raise RuntimeError

    measure.run_row(Row("a", "t", (Contender("x", prepare),)), Context(quick=True))
    assert closed == ["closed"]


ROUNDS = {"millpond": [30.0, 60.0, 32.0], "peer": [50.0, 100.0, 50.0], "call": [20.0, 40.0, 20.0]}


@pytest.mark.parametrize(
    ("target", "figure", "met"),
    [
        (Target(0.6, of="peer"), 0.6, True),
        (Target(0.59, of="peer"), 0.6, False),
        (Target(0.3, of="peer", minus="call"), 1 / 3, False),
        (Target(32.0), 32.0, True),
        (Target(31.0), 32.0, False),
        (Target(-20.0, of="peer", excess=True), -20.0, True),
        (Target(32.0, at_least=True), 32.0, True),
        (Target(33.0, at_least=True), 32.0, False),
    ],
)
def test_targets_hold_the_right_figure_against_the_limit(
    target: Target, figure: float, met: bool
) -> None:
    found = target.figure(ROUNDS)
    assert found == pytest.approx(figure)
    assert found is not None
    assert target.met(found) is met


def test_a_target_is_open_if_a_side_of_it_was_not_measured() -> None:
    target = Target(0.6, of="peer")
    assert target.figure({"millpond": [1.0]}) is None
    assert target.figure({"peer": [1.0]}) is None
    result = Result(Row("a", "t", (), targets=(target,)))
    assert result.as_json()["targets"][0]["met"] is None


def test_targets_say_what_they_ask() -> None:
    assert Target(0.6, of="lru_cache").text("ns") == "<= 0.6 x lru_cache"
    assert Target(200, of="future", excess=True).text("B") == "<= 200 B over future"
    assert Target(85, at_least=True).text("%") == ">= 85 %"
    assert "call subtracted" in Target(3, of="lru_cache", minus="call").text("ns")


def test_a_timed_loop_runs_its_statement_once_for_each_input() -> None:
    seen: list[int] = []
    loop = loops.compile_loop("f(x)", {"f": seen.append})
    assert loop(range(5)) > 0
    assert seen == [0, 1, 2, 3, 4]


def test_a_loop_can_take_several_names_and_lines() -> None:
    seen: list[tuple[int, int]] = []
    loop = loops.compile_loop("z = x + y\nf((x, z))", {"f": seen.append}, item="x, y")
    loop([(1, 2), (3, 4)])
    assert seen == [(1, 3), (3, 7)]


def test_each_round_has_its_own_code_so_that_nothing_adapted_is_shared() -> None:
    timed = loops.TimedLoop(Context(sample_ns=1_000), "f(x)", {"f": abs}, [1] * 100)
    before = timed._loop.__code__
    timed.renew()
    assert timed._loop.__code__ is not before
    assert timed() > 0


def test_a_pass_that_does_not_count_comes_before_each_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = loops.TimedLoop(Context(sample_ns=1_000), "f(x)", {"f": abs}, [1, 2] * 100)
    times = iter([10_000, 300])
    passes: list[int] = []

    def elapsed(inputs: list[int]) -> int:
        passes.append(len(inputs))
        return next(times)

    monkeypatch.setattr(timed, "_elapsed", elapsed)
    assert timed() == 300 / timed._count
    assert passes == [timed._count] * 2


def test_inputs_that_must_be_new_are_asked_for_before_each_sample() -> None:
    handed: list[int] = []
    seen: list[int] = []

    def fresh(count: int) -> list[int]:
        start = sum(handed)
        handed.append(count)
        return list(range(start, start + count))

    timed = loops.TimedLoop(Context(sample_ns=1_000), "f(x)", {"f": seen.append}, fresh)
    timed()
    timed()
    assert seen == list(range(sum(handed)))[-len(seen) :]
    assert len(set(seen)) == len(seen)


def test_an_awaiting_loop_runs_on_the_given_event_loop() -> None:
    seen: list[int] = []

    async def f(x: int) -> None:
        seen.append(x)

    context = Context(sample_ns=1_000)
    with context.cleanup:
        event_loop = loops.new_event_loop(context)
        timed = loops.AsyncTimedLoop(context, event_loop, "await f(x)", {"f": f}, [1] * 100)
        timed.renew()
        seen.clear()
        assert timed() > 0
        assert len(seen) == 2 * timed._count, "once to warm up and once to be measured"
    assert event_loop.is_closed()
