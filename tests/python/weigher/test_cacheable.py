"""Values that serve only once are refused with advice; what can be read again is let in."""

import asyncio
import collections
import csv
import gc
import io
import itertools
import pathlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from millpond import errors
from millpond._engine import check_cacheable, is_cacheable


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class OwnIterator:
    def __iter__(self) -> "OwnIterator":
        return self

    def __next__(self) -> int:
        return 1


class OwnAsyncIterator:
    def __aiter__(self) -> "OwnAsyncIterator":
        return self

    async def __anext__(self) -> int:
        return 1


class OwnAwaitable:
    def __await__(self) -> Iterator[None]:
        return iter(())


class OwnContainer:
    def __iter__(self) -> Iterator[int]:
        return iter([1])

    def __getitem__(self, index: int) -> int:
        return 1


class OnlyNext:
    def __next__(self) -> int:
        return 1


ONCE = [
    generator,
    async_generator,
    lambda: iter([1]),
    lambda: iter({}),
    lambda: reversed([1]),
    lambda: map(str, [1]),
    lambda: zip([1], strict=True),
    lambda: enumerate([1]),
    lambda: itertools.count(),
    lambda: csv.reader([]),
    OwnIterator,
    OwnAsyncIterator,
    OwnAwaitable,
    io.BytesIO,
    io.StringIO,
]
AGAIN: list[Any] = [
    None,
    True,
    1,
    1.5,
    2j,
    "text",
    b"bytes",
    bytearray(),
    memoryview(b"x"),
    range(3),
    [1],
    (1,),
    {1: 2},
    {1},
    frozenset(),
    {}.keys(),
    {}.items(),
    collections.deque(),
    collections.OrderedDict(),
    collections.Counter(),
    pathlib.Path(),
    object(),
    int,
    len,
    coroutine,
    ValueError("cached failure"),
    OwnContainer(),
    OnlyNext(),
]


@pytest.mark.parametrize("make", ONCE)
def test_what_serves_once_is_refused_with_its_type_and_advice(make: Any) -> None:
    value = make()
    assert not is_cacheable(value)
    with pytest.raises(errors.ValueRefusedError) as caught:
        check_cacheable(value)
    assert type(value).__name__ in str(caught.value)
    assert "cache" in str(caught.value).split(":", 1)[1]


@pytest.mark.parametrize("value", AGAIN, ids=lambda value: type(value).__name__)
def test_what_can_be_read_again_is_let_in(value: object) -> None:
    assert is_cacheable(value)
    check_cacheable(value)


def test_a_coroutine_is_refused() -> None:
    value = coroutine()
    assert not is_cacheable(value)
    value.close()


def test_futures_and_tasks_are_refused() -> None:
    async def main() -> None:
        task = asyncio.create_task(coroutine())
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        assert not is_cacheable(task)
        assert not is_cacheable(future)
        await task

    asyncio.run(main())


def test_an_open_file_is_refused() -> None:
    with tempfile.TemporaryFile() as raw, pathlib.Path(__file__).open() as text:
        assert not is_cacheable(raw)
        assert not is_cacheable(text)


def test_a_class_that_becomes_awaitable_is_refused_from_then_on() -> None:
    class Late:
        pass

    assert is_cacheable(Late())
    Late.__await__ = OwnAwaitable.__await__  # type: ignore[attr-defined]
    assert not is_cacheable(Late())


def test_classes_that_come_and_go_are_not_confused() -> None:
    for i in range(2000):
        kind = type(f"Kind{i}", (OwnIterator,) if i % 2 else (OwnContainer,), {})
        assert is_cacheable(kind()) == (i % 2 == 0)
        del kind
        gc.collect(0)
