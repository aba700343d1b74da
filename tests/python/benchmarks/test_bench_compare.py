"""What `--compare` calls a regression, on synthetic runs whose truth is known."""

from __future__ import annotations

import random
from typing import Any

import pytest
from benchmarks import compare, stats


def _rounds(
    random_: random.Random, centre: float, noise: float, *, between: float = 0.0
) -> list[float]:
    """Return five passes of seven rounds; `between` is the noise that a whole pass shares."""
    passes = [centre * (1 + random_.gauss(0.0, between)) for _ in range(5)]
    return [random_.gauss(middle, middle * noise) for middle in passes for _ in range(7)]


def _judge(old: list[float], new: list[float], **options: Any) -> str:
    return compare.judge(stats.by_pass(old, 5), stats.by_pass(new, 5), **options)[0]


def _run(ours: list[float], base: list[float], **changes: Any) -> dict[str, Any]:
    """Return a saved run of one row in the form that the harness writes."""
    row: dict[str, Any] = {
        "name": "hit/one/str",
        "unit": changes.get("unit", "ns"),
        "baseline": "peer",
        "higher_is_better": changes.get("higher_is_better", False),
        "passes": changes.get("passes", 5 if len(ours) % 5 == 0 else 1),
        "contenders": {
            "millpond": {"ours": True, "peer": "millpond", "rounds": ours},
            "peer": {"ours": False, "peer": "peer", "rounds": base},
        },
    }
    return {
        "machine": {"cpu": "a", "cores": "2", "kernel": "k", "python": "CPython 3.11.7"},
        "versions": {"millpond": "1", "peer": changes.get("peer", "1.0")},
        "settings": {"quick": False},
        "rows": [row],
    }


def _word(old: dict[str, Any], new: dict[str, Any]) -> str:
    (verdict,) = compare.compare(old, new)
    return verdict.word


def test_ten_percent_more_is_found_in_noisy_data() -> None:
    found = 0
    for seed in range(300):
        random_ = random.Random(seed)
        old = _rounds(random_, 20.0, 0.03, between=0.02)
        found += _judge(old, _rounds(random_, 22.0, 0.03, between=0.02)) == "slower"
    assert found >= 270


@pytest.mark.parametrize("between", [0.0, 0.03, 0.1, 0.3])
def test_equal_data_raise_no_alarm_even_if_passes_differ_more_than_rounds(between: float) -> None:
    alarms = 0
    for seed in range(300):
        random_ = random.Random(seed)
        old = _rounds(random_, 20.0, 0.02, between=between)
        alarms += _judge(old, _rounds(random_, 20.0, 0.02, between=between)) != "within noise"
    # One percent in each direction is what the test admits.
    assert alarms <= 12


def test_one_disturbed_pass_of_five_is_not_a_regression() -> None:
    quiet = [100.0, 101.0, 99.0, 100.5, 99.5]
    assert compare.judge(quiet, [100.0, 160.0, 99.5, 100.0, 150.0])[0] == "within noise"


def test_a_change_below_the_floor_is_noise_however_quiet_the_data() -> None:
    assert _judge([100.0] * 5, [104.9] * 5) == "within noise"
    assert _judge([100.0] * 5, [105.1] * 5) == "slower"
    assert _judge([100.0] * 5, [104.9] * 5, floor=0.02) == "slower"


def test_the_direction_follows_the_unit() -> None:
    more = ([100.0] * 5, [120.0] * 5)
    assert _judge(*more) == "slower"
    assert _judge(*more, higher_is_better=True) == "faster"
    assert _judge(*reversed(more), higher_is_better=True) == "slower"


def test_a_timing_from_a_single_process_needs_a_larger_change() -> None:
    old = _run([100.0] * 3, [200.0] * 3)
    assert _word(old, _run([112.0] * 3, [200.0] * 3)) == "within noise"
    assert _word(old, _run([120.0] * 3, [200.0] * 3)) == "slower"


def test_a_machine_that_is_slower_for_all_is_no_regression() -> None:
    random_ = random.Random(1)
    old = _run(_rounds(random_, 20.0, 0.02), _rounds(random_, 40.0, 0.02))
    new = _run(_rounds(random_, 30.0, 0.02), _rounds(random_, 60.0, 0.02))
    assert _word(old, new) == "within noise"


def test_a_row_slower_than_its_peer_became_is_a_regression_even_on_a_faster_machine() -> None:
    random_ = random.Random(2)
    old = _run(_rounds(random_, 20.0, 0.02), _rounds(random_, 40.0, 0.02))
    new = _run(_rounds(random_, 18.0, 0.02), _rounds(random_, 30.0, 0.02))
    (verdict,) = compare.compare(old, new)
    assert verdict.slower
    assert verdict.basis == "as a ratio to peer"
    assert verdict.change == pytest.approx(0.2, abs=0.05)


def test_figures_are_compared_where_the_peer_has_another_version() -> None:
    old = _run([20.0] * 5, [40.0] * 5)
    new = _run([20.0] * 5, [80.0] * 5, peer="2.0")
    (verdict,) = compare.compare(old, new)
    assert (verdict.word, verdict.basis) == ("within noise", "in ns")


def test_bytes_get_worse_rather_than_slower() -> None:
    old = _run([80.0] * 3, [300.0] * 3, unit="B")
    new = _run([96.0] * 3, [300.0] * 3, unit="B")
    (verdict,) = compare.compare(old, new)
    assert verdict.word == "worse"
    assert verdict.slower


def test_rows_and_contenders_that_only_one_run_has_are_left_alone() -> None:
    old, new = _run([20.0] * 9, [40.0] * 9), _run([99.0] * 9, [40.0] * 9)
    new["rows"][0]["name"] = "hit/new"
    assert list(compare.compare(old, new)) == []
    old["rows"][0]["name"] = "hit/new"
    old["rows"][0]["contenders"]["millpond"] = {"ours": True, "peer": "", "skipped": "no build"}
    assert list(compare.compare(old, new)) == []


def test_a_row_that_ran_before_and_fails_now_is_told() -> None:
    old, new = _run([20.0] * 9, [40.0] * 9), _run([20.0] * 9, [40.0] * 9)
    assert compare.lost(old, new) == []
    new["rows"][0]["contenders"]["millpond"] = {"ours": True, "peer": "", "skipped": "failed: x"}
    assert compare.lost(old, new) == ["hit/one/str  millpond: failed: x"]


def test_another_machine_or_python_is_told() -> None:
    old, new = _run([20.0], [40.0]), _run([20.0], [40.0])
    assert compare.strangers(old, new) == []
    new["machine"]["python"] = "CPython 3.13.0"
    new["settings"]["quick"] = True
    told = compare.strangers(old, new)
    assert told == [
        "python: CPython 3.11.7 then, CPython 3.13.0 now",
        "one of the two is a quick run",
    ]
