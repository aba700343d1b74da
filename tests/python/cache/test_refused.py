"""Calls whose only tier is out: what the function returns is memory's alone, by the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import millpond as mp
from millpond.engine import Engine
from tests.python.cache.faces import ASYNC, SYNC, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = pytest.mark.parametrize("kind", [SYNC, ASYNC])


@pytest.fixture
def mill() -> Iterator[Any]:
    # Nobody listens there, so the first call finds it out.
    with Engine(redis="redis://127.0.0.1:1/0", database=False) as mill:
        drop = mill.with_cache(namespace="first", max_entries=0)(len)
        for _ in range(100):
            drop("")
        assert mill.stats()["redis"]["state"] != "closed"
        yield mill


def made(mill: Any, kind: str, body: Callable[[int], Any], **options: Any) -> Any:
    """A cached function; `made.calls` says how often its body ran."""
    calls: list[int] = []

    def plain(x: int) -> Any:
        calls.append(x)
        return body(x)

    async def later(x: int) -> Any:
        return plain(x)

    cached = mill.with_cache(namespace="test", **options)(plain if kind == SYNC else later)
    return lambda x: settled(cached(x)), calls


@KINDS
def test_memory_keeps_it(mill: Any, kind: str) -> None:
    call, calls = made(mill, kind, lambda x: x * 2)
    assert [call(1), call(1), call(2)] == [2, 2, 4]
    assert calls == [1, 2]


@KINDS
def test_what_the_rules_leave_out_is_not_kept(mill: Any, kind: str) -> None:
    call, calls = made(mill, kind, lambda x: x or None, cache_none=False, condition=bool)
    assert [call(0), call(0), call(1), call(1)] == [None, None, 1, 1]
    assert calls == [0, 0, 1]


@KINDS
def test_nor_is_what_a_scope_leaves_out(mill: Any, kind: str) -> None:
    call, calls = made(mill, kind, lambda x: x)
    with mp.cache_control(no_store=True):
        assert call(1) == 1
    assert [call(1), call(1)] == [1, 1]
    assert calls == [1, 1]


@KINDS
def test_what_it_raises_is_raised(mill: Any, kind: str) -> None:
    call, calls = made(mill, kind, lambda x: 1 // x)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as raised:
            call(0)
        assert raised.value.__context__ is None
    assert calls == [0, 0]


@KINDS
def test_what_it_raises_is_kept_where_that_is_asked_for(mill: Any, kind: str) -> None:
    call, calls = made(mill, kind, lambda x: 1 // x, negative_ttl=60)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            call(0)
    assert calls == [0]


def test_a_mapping_loads_and_looks(mill: Any) -> None:
    things = mill.cache("things")
    assert things.get("a") is None
    assert things.get_or_load("a", str.upper, ttl=60) == "A"
    assert (things.get("a"), things.get_or_load_many(["a", "b"], None)) == ("A", {"a": "A"})
