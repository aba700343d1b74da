"""`cache_many` and `cache_warm` ask the tiers once, and fill them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millpond import Engine
from millpond.cache import gathered
from tests.integration.leases import patient
from tests.integration.mills import Async, counted, settle
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until


@pytest.fixture
def mills(tier: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Two that give a list all the time it takes on a machine that is busy with others."""
    named = {"redis": "redis_url", "postgresql": "postgres_url"}
    where = request.getfixturevalue(named[tier]) if tier in named else str(tmp_path / "data")
    with patient(where) as one, patient(where) as two:
        yield one, two


def together(face: Any, function: Any, method: str, calls: list[Any]) -> Any:
    made = getattr(function, method)(calls)
    if not isinstance(face, Async):
        return made

    async def main() -> Any:
        return await made

    return asyncio.run(main())


def operations(mill: Engine, tier: str) -> dict[str, int]:
    found = mill.stats()[tier]["operations"]
    return {name: found[name]["calls"] for name in found if found[name]["calls"]}


def listens(mill: Engine, tier: str) -> None:
    """Wait until it hears of others: answers from before count no more then."""
    wait_until(lambda: mill.stats()[tier]["coherence"]["heard"], "it hears of others")


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {
        name: count - before.get(name, 0)
        for name, count in after.items()
        if count != before.get(name, 0)
    }


@pytest.mark.parametrize("method", ["cache_many", "cache_warm"])
def test_a_list_costs_one_look_and_one_store(
    face: Any,
    mills: tuple[Engine, Engine],
    tier: str,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow the machine is: an answer counts, and entries are put aside, to the list's end.
    monkeypatch.setattr(gathered, "_GOOD", 60.0)
    monkeypatch.setattr(gathered, "_ASIDE", 60.0)
    calls, body = counted()
    given = {"lock": False, "tags": ("user:{x}",)}
    first, second = (face.function(mill, body, **given) for mill in mills)
    face.call(first, -1)
    listens(mills[0], tier)
    before = operations(mills[0], tier)
    numbers = list(range(100))
    together(face, first, method, numbers)
    assert since(before, operations(mills[0], tier)) == {"fetch": 1, "stamp": 1, "store": 1}
    assert calls == [-1, *numbers]
    settle(mills)
    before = operations(mills[1], tier)
    found = together(face, second, method, numbers)
    assert found == (100 if method == "cache_warm" else [face.call(first, x) for x in numbers])
    assert since(before, operations(mills[1], tier))["fetch"] <= 2
    assert len(calls) == 101
    # Each has the stamps of its own tags.
    assert face.invalidate(mills[0], tags="user:7").done
    first._drop_entries()
    together(face, first, method, numbers)
    assert calls[101:] == [7]


def test_loads_under_a_lease_are_stored_one_by_one(face: Any, own_redis: RedisServer) -> None:
    """Others wait for them."""
    _, body = counted()
    with Engine(redis=own_redis.url, database=False) as mill:
        function = face.function(mill, body)
        face.call(function, -1)
        listens(mill, "redis")
        before = operations(mill, "redis")
        together(face, function, "cache_many", list(range(10)))
        done = since(before, operations(mill, "redis"))
        assert (done["fetch"], done["store"]) == (1, 10)
        assert mill.stats()["redis"]["leases"]["taken"] == 10 + 1


def test_what_is_invalidated_while_the_list_is_under_way_is_not_given(
    face: Any, mills: tuple[Engine, Engine]
) -> None:
    calls: list[int] = []
    current = {"version": 1}

    def body(x: int) -> Any:
        calls.append(x)
        if x == 0:
            current["version"] = 2
            assert mills[0].invalidate(tags="all").done
        return current["version"]

    given = {"lock": False, "tags": ("all",)}
    first = face.function(mills[0], body, **given)
    for x in (1, 2, 3):
        face.call(first, x)
    first._drop_entries()
    found = together(face, first, "cache_many", [0, 1, 2, 3])
    if not isinstance(face, Async):  # Whose calls all begin before it.
        assert found == [2, 2, 2, 2]
    first._drop_entries()
    assert together(face, first, "cache_many", [1, 2, 3]) == [2, 2, 2]


def test_a_call_that_fails_leaves_what_was_done(face: Any, mills: tuple[Engine, Engine]) -> None:
    calls: list[int] = []

    def body(x: int) -> int:
        calls.append(x)
        if x == 2:
            raise LookupError(x)
        return x

    first, second = (face.function(mill, body, lock=False) for mill in mills)
    with pytest.raises(LookupError):
        together(face, first, "cache_many", [0, 1, 2])
    settle(mills)
    assert face.call(second, 1) == 1
    assert calls.count(1) == 1


def test_the_same_call_twice_is_made_once(face: Any, mills: tuple[Engine, Engine]) -> None:
    calls, body = counted()
    function = face.function(mills[0], body, lock=False)
    bare = face.function(mills[0], body, lock=False, max_entries=0, version=2)
    assert together(face, bare, "cache_many", [8, 8])[1]["call"] == 1
    del calls[:]
    one, two, other = together(face, function, "cache_many", [1, 1, 2])
    assert one == two
    assert other["value"] == 2
    assert sorted(calls) == [1, 2]
