"""Calls of plain arguments find their entries by a shorter way; these must be the same entries."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millpond as mp


class Text(str):
    __slots__ = ()


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(),
    st.text(alphabet="ab€😀", min_size=1, max_size=40),
)
values = st.one_of(
    plain, st.lists(plain, max_size=2), st.binary(max_size=4), plain.map(str).map(Text)
)
OPTIONS: list[dict[str, Any]] = [{}, {"typed": True}, {"typed": False}, {"ordered": True}]


def never(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError(f"{args} {kwargs} was not found")


@pytest.mark.parametrize("options", OPTIONS)
@given(a=values, b=values, c=values)
def test_what_is_stored_the_long_way_is_found_by_a_call(
    options: dict[str, Any], a: Any, b: Any, c: Any
) -> None:
    @mp.with_cache(**options)
    def three(x: Any, y: Any, z: Any = None, *rest: Any, **named: Any) -> Any:
        return never(x, y, z, *rest, **named)

    value = object()
    three.cache_set(value, a, b, c)
    assert three(a, b, c) is value
    assert three(a, z=c, y=b) is value
    assert three(y=b, x=a, z=c) is value
    three.cache_set(value, a, b)
    assert three(a, b) is value
    assert three(a, b, None) is value
    three.cache_set(value, a, b, c, a, extra=b)
    assert three(a, b, c, a, extra=b) is value


@given(a=values, b=values)
def test_the_same_of_methods_and_of_parameters_left_out(a: Any, b: Any) -> None:
    class Service:
        @mp.with_cache(ignore=("trace",))
        def load(self, x: Any, trace: Any = None) -> Any:
            return never(x, trace)

        @mp.with_cache
        def whole(self) -> Any:
            return never()

    one, other = Service(), Service()
    value = object()
    Service.load.cache_set(value, one, a)
    assert one.load(a, b) is value
    assert one.load(x=a) is value
    assert not Service.load.cache_contains(other, a)
    Service.whole.cache_set(value, one)
    assert one.whole() is value
    assert not Service.whole.cache_contains(other)


@given(rows=st.lists(st.tuples(plain, plain), min_size=2, max_size=6))
def test_calls_are_told_apart_by_all_their_values(rows: list[tuple[Any, Any]]) -> None:
    @mp.with_cache(typed=True)
    def pair(x: Any, y: Any) -> Any:
        return [x, y]

    def identity(value: Any) -> Any:
        if isinstance(value, float):
            return ("float", "nan" if math.isnan(value) else value.hex())
        return (type(value), value)

    firsts: dict[Any, Any] = {}
    for row in rows * 2:
        key = (identity(row[0]), identity(row[1]))
        assert pair(*row) is firsts.setdefault(key, pair(*row))
    assert pair.cache_info().currsize == len(firsts)


def test_an_async_call_of_several_values_is_found_without_a_load() -> None:
    @mp.with_cache
    async def pair(x: Any, y: Any) -> Any:
        return never(x, y)

    async def calls() -> None:
        pair.cache_set("kept", 1, "a")
        assert await pair(1, "a") == "kept"
        assert await pair(1, y="a") == "kept"

    asyncio.run(calls())
