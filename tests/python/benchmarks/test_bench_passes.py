"""Passes: every row once in each, a process for each, and the passes joined."""

from __future__ import annotations

from pathlib import Path

from benchmarks import passes
from benchmarks.model import Contender, Context, Result, Row, Sampler
from benchmarks.rows import all_rows


def _never(context: Context) -> Sampler:
    raise AssertionError("a row is prepared in its own process only")


def _row(name: str, *, wanted: int = 0) -> Row:
    return Row(name, name, (Contender("a", _never), Contender("b", _never)), passes=wanted)


def _result(row: Row, *rounds: float) -> Result:
    return Result(row, rounds={"a": list(rounds), "b": [2 * value for value in rounds]})


def test_each_pass_takes_all_rows_and_some_rows_have_fewer_passes() -> None:
    seen: list[str] = []

    def take(row: Row, settings: passes.Settings) -> Result:
        seen.append(row.name)
        return _result(row, float(len(seen)))

    rows = [_row("x"), _row("y", wanted=1)]
    results = passes.run(rows, passes.Settings(quick=True), lambda line: None, take)
    assert seen == ["x", "y", "x", "x"]
    assert results[0].rounds["a"] == [1.0, 3.0, 4.0]
    assert [result.passes for result in results] == [3, 1]


def test_who_is_missing_in_one_pass_is_left_out_with_its_reason() -> None:
    row = _row("x")
    second = Result(row, rounds={"a": [5.0, 6.0]}, failed={"b": "ValueError: no"})
    second.notes["a"] = {"counted by": "hand"}
    whole = passes.joined(row, [_result(row, 1.0, 2.0), second])
    assert whole.rounds == {"a": [1.0, 2.0, 5.0, 6.0]}
    assert whole.failed == {"b": "ValueError: no"}
    assert whole.notes["a"] == {"counted by": "hand"}


def test_a_row_is_measured_in_a_process_of_its_own() -> None:
    row = next(row for row in all_rows() if row.name == "hit/one/str")
    result = passes.in_process(row, passes.Settings(quick=True))
    assert result.failed == {}
    assert len(result.rounds["lru_cache"]) == 3
    assert set(result.rounds) | set(result.skipped) == {each.name for each in row.contenders}


def test_a_process_that_fails_is_told_and_takes_only_its_row_with_it() -> None:
    result = passes.in_process(_row("no such row"), passes.Settings(quick=True))
    assert set(result.failed) == {"a", "b"}
    assert "its process ended with 1: StopIteration" in result.failed["a"]


def test_the_data_folder_reaches_the_process(tmp_path: Path) -> None:
    row = next(row for row in all_rows() if row.name == "ratio/loop@500")
    result = passes.in_process(row, passes.Settings(quick=True, data=tmp_path))
    assert "no traces/loop.u32.gz" in result.skipped["cachetools LRU"]
