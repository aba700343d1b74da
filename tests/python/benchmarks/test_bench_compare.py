"""What `--compare` calls a regression, on synthetic runs whose truth is known."""

from __future__ import annotations

import random
from typing import Any

import pytest
from benchmarks import compare


def _rounds(random_: random.Random, centre: float, noise: float, count: int = 25) -> list[float]:
    return [random_.gauss(centre, centre * noise) for _ in range(count)]


def _run(ours: list[float], base: list[float], **changes: Any) -> dict[str, Any]:
    """Return a saved run of one row in the form that the harness writes."""
    row: dict[str, Any] = {
        "name": "hit/one/str",
        "unit": changes.get("unit", "ns"),
        "baseline": "peer",
        "higher_is_better": changes.get("higher_is_better", False),
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
    for seed in range(200):
        random_ = random.Random(seed)
        word, _, _ = compare.judge(_rounds(random_, 20.0, 0.04), _rounds(random_, 22.0, 0.04))
        found += word == "slower"
    assert found >= 190


def test_equal_data_raise_no_alarm() -> None:
    alarms = 0
    for seed in range(2_000):
        random_ = random.Random(seed)
        word, _, _ = compare.judge(_rounds(random_, 20.0, 0.08), _rounds(random_, 20.0, 0.08))
        alarms += word != "within noise"
    # At 3.5 standard errors; MAD of 25 rounds is itself uncertain, hence not one in 2,000.
    assert alarms <= 20


def test_a_change_below_the_floor_is_noise_however_quiet_the_data() -> None:
    assert compare.judge([100.0] * 25, [104.9] * 25)[0] == "within noise"
    assert compare.judge([100.0] * 25, [105.1] * 25)[0] == "slower"
    assert compare.judge([100.0] * 25, [104.9] * 25, floor=0.02)[0] == "slower"


def test_the_direction_follows_the_unit() -> None:
    more = ([100.0] * 25, [120.0] * 25)
    assert compare.judge(*more)[0] == "slower"
    assert compare.judge(*more, higher_is_better=True)[0] == "faster"
    assert compare.judge(*reversed(more), higher_is_better=True)[0] == "slower"


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
    assert verdict.basis == "ratio to peer"
    assert verdict.change == pytest.approx(0.2, abs=0.05)


def test_figures_are_compared_where_the_peer_has_another_version() -> None:
    old = _run([20.0] * 9, [40.0] * 9)
    new = _run([20.0] * 9, [80.0] * 9, peer="2.0")
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
