"""The first look of a call into the fastest tier, which the engine makes."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def frames(call: Callable[[], Any]) -> list[str]:
    """The Python functions that a call enters, but for itself."""
    entered: list[str] = []

    def note(frame: Any, event: str, _arg: Any) -> None:
        if event == "call" and frame.f_code is not call.__code__:  # type: ignore[attr-defined]
            entered.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


@pytest.fixture
def mill(tmp_path: Path) -> Any:
    # With time enough for all that is stored, on any machine.
    with Engine(namespace="first", data_dir=tmp_path / "data", budget="10s") as made:
        yield made


def test_a_hit_of_the_file_enters_no_python_function(mill: Any) -> None:
    @mill.with_cache(max_entries=0, namespace="x")
    def cached(x: int) -> dict[str, int]:
        return {"x": x}

    cached(1)
    cached(1)
    assert frames(lambda: cached(1)) == []
    assert cached(1) == {"x": 1}
    assert mill.stats()["sqlite"]["hits"] == 3


def test_the_same_in_an_event_loop_makes_no_task(mill: Any) -> None:
    @mill.with_cache(max_entries=0, namespace="x")
    async def cached(x: int) -> dict[str, int]:
        return {"x": x}

    async def scenario() -> None:
        await cached(1)
        await cached(1)
        before = asyncio.all_tasks()
        call = cached(1)
        with pytest.raises(StopIteration) as stop:
            call.send(None)
        assert stop.value.value == {"x": 1}
        assert asyncio.all_tasks() == before

    asyncio.run(scenario())


def test_what_it_has_found_is_not_asked_for_again(mill: Any) -> None:
    @mill.with_cache(max_entries=0, namespace="x", ttl="1h")
    def cached(x: int) -> int:
        return x

    cached(1)
    before = mill.stats()["sqlite"]
    cached(2)
    after = mill.stats()["sqlite"]
    assert after["operations"]["fetch"]["calls"] == before["operations"]["fetch"]["calls"] + 1
    assert after["misses"]["absent"] == before["misses"]["absent"] + 1


def test_what_is_invalidated_is_not_found(mill: Any) -> None:
    calls: list[int] = []

    @mill.with_cache(max_entries=0, namespace="x", tags=("t:{x}",))
    def cached(x: int) -> int:
        calls.append(x)
        return len(calls)

    assert [cached(1), cached(1)] == [1, 1]
    mill.invalidate(tags="t:1")
    assert [cached(1), cached(1)] == [2, 2]
    cached.cache_invalidate(1)
    assert [cached(1), cached(1)] == [3, 3]
    assert mill.stats()["sqlite"]["misses"]["stale_generation"] == 1


def test_a_closed_and_opened_tier_is_found_again(mill: Any) -> None:
    @mill.with_cache(max_entries=0, namespace="x")
    def cached(x: int) -> int:
        return x

    cached(1)
    cached(1)
    mill._stages[0].tier.close()
    assert [cached(1), cached(1)] == [1, 1]  # It is opened, and its stamps are read.
    assert frames(lambda: cached(1)) == []


def test_stamps_that_a_function_keeps_are_asked_for_again_when_another_invalidates(
    mill: Any, tmp_path: Path
) -> None:
    calls: list[int] = []

    @mill.with_cache(max_entries=0, namespace="x")
    def cached(x: int) -> int:
        calls.append(x)
        return len(calls)

    assert [cached(1), cached(1), cached(1)] == [1, 1, 1]
    with Engine(namespace="first", data_dir=tmp_path / "data") as other:
        other.invalidate(namespace="x")
        assert [cached(1), cached(1), cached(1)] == [2, 2, 2]
        other.invalidate(namespace="x")
        assert [cached(1), cached(1)] == [3, 3]
    assert cached(1) == 3  # The other may have changed the file once more as it closed.
    assert frames(lambda: cached(1)) == []


def test_an_entry_that_is_of_no_use_comes_with_its_guard(mill: Any) -> None:
    calls: list[int] = []

    @mill.with_cache(max_entries=0, namespace="x")
    def cached(x: int) -> int:
        calls.append(x)
        return len(calls)

    cached.cache_set(7, 1)  # Which raises the guard of the entry.
    assert [cached(1), cached(1)] == [7, 7]
    mill.invalidate(namespace="x")
    assert [cached(2), cached(2)] == [1, 1]  # The stamps are known from here on.
    assert [cached(1), cached(1)] == [2, 2]  # What is loaded is stored under that guard.
    assert mill.stats()["sqlite"]["fills_refused"] == 0
