"""What type checkers make of decorated functions: parameters and results are kept.

mypy and pyright run over this file; it is never executed. An `ignore` that silences nothing is an
error too, so each line that must be refused is proven to be refused.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_type

from millpond import CacheInfo, with_cache


class User:
    name: str


@with_cache
def load(user_id: int, *, fresh: bool = False) -> User:
    return User()


@with_cache(ttl="10m", tags=("user:{user_id}",), max_entries=1000)
def load_with_options(user_id: int, locale: str = "en") -> list[User]:
    return []


@with_cache(stale_while_revalidate="1m", stale_if_error=60, executor=ThreadPoolExecutor(1))
def load_past_its_life(user_id: int) -> User:
    return User()


@with_cache()
def load_with_parentheses(user_id: int) -> User | None:
    return None


@with_cache
async def fetch(user_id: int, /, *fields: str) -> User:
    return User()


@with_cache(ttl=60.0)
async def fetch_with_options(user_id: int) -> dict[str, User]:
    return {}


def check_calls() -> None:
    assert_type(load(1), User)
    assert_type(load(user_id=1, fresh=True), User)
    assert_type(load_with_options(1, "de"), list[User])
    assert_type(load_with_parentheses(1), User | None)
    load("1")  # type: ignore[arg-type]
    load()  # type: ignore[call-arg]
    load(1, more=2)  # type: ignore[call-arg]
    load_with_options(user_id=1, locale=2)  # type: ignore[arg-type]


async def check_awaits() -> None:
    assert_type(await fetch(1, "name"), User)
    assert_type(await fetch_with_options(1), dict[str, User])
    await assert_type(fetch(1), Coroutine[Any, Any, User])
    assert_type(asyncio.create_task(fetch(1)), asyncio.Task[User])
    both = await asyncio.gather(fetch(1), fetch_with_options(1))
    assert_type(both, tuple[User, dict[str, User]])
    assert_type(await asyncio.wait_for(fetch(1), 1.0), User)
    await fetch(user_id=1)  # type: ignore[call-arg]
    await fetch("1")  # type: ignore[arg-type]


def check_methods_of_the_wrapper() -> None:
    assert_type(load.cache_info(), CacheInfo)
    assert_type(load.cache_info().hits, int)
    assert_type(load.cache_info().maxsize, int | None)
    hits, misses, maxsize, currsize = load.cache_info()
    assert_type((hits, misses, maxsize, currsize), tuple[int, int, int | None, int])
    assert_type(load.cache_clear(), None)
    assert_type(load.cache_parameters(), dict[str, Any])
    assert_type(load.cache_key(1, fresh=True), bytes)
    assert_type(load.cache_contains(user_id=1), bool)
    assert_type(load.cache_invalidate(1), bool)
    assert_type(load.cache_refresh(1), User)
    assert_type(load.cache_bypass(1), User)
    assert_type(load.cache_set(User(), 1, fresh=False), None)
    assert_type(load.cache_many([1, 2]), list[User])
    assert_type(load.cache_warm([1, 2]), int)
    assert_type(load.__wrapped__(1), User)
    assert_type(load.__name__, str)
    load.cache_key("1")  # type: ignore[arg-type]
    load.cache_contains()  # type: ignore[call-arg]
    load.cache_invalidate(1, fresher=True)  # type: ignore[call-arg]
    load.cache_set("not a user", 1)  # type: ignore[arg-type]
    load.cache_set(User())  # type: ignore[call-arg]
    load.cache_nothing()  # type: ignore[attr-defined]


async def check_methods_of_the_async_wrapper() -> None:
    assert_type(fetch.cache_info(), CacheInfo)
    assert_type(fetch.cache_key(1, "name"), bytes)
    assert_type(fetch.cache_invalidate(1), bool)
    assert_type(await fetch.cache_refresh(1), User)
    assert_type(await fetch.cache_bypass(1), User)
    assert_type(fetch.cache_set(User(), 1), None)
    assert_type(await fetch.cache_many([1, 2]), list[User])
    assert_type(await fetch.cache_warm([1, 2]), int)
    assert_type(await fetch.__wrapped__(1), User)
    pending = fetch(1)
    fetch.cache_set(pending, 1)  # type: ignore[arg-type]


def takes_a_function(function: Callable[[int], User]) -> User:
    return function(1)


def takes_an_async_function(function: Callable[[int], Coroutine[Any, Any, User]]) -> None: ...


def check_wrappers_pass_for_functions() -> None:
    takes_a_function(load)
    takes_an_async_function(fetch)
    takes_a_function(fetch)  # type: ignore[arg-type]
    takes_an_async_function(load)  # type: ignore[arg-type]


class Callable2:
    def __call__(self, user_id: int) -> User:
        return User()


def check_other_callables() -> None:
    assert_type(with_cache(Callable2())(1), User)
    assert_type(with_cache(lambda: 1)(), int)
    assert_type(with_cache(with_cache(load))(1), User)
    assert_type(with_cache(len)([1]), int)
    with_cache(3)  # type: ignore[call-overload]


def tags_of(user_id: int) -> list[str]:
    return [f"user:{user_id}"]


def key_of(user_id: int) -> int:
    return user_id


def check_options() -> None:
    with_cache(ttl="10m", tti=5, jitter=0.1, policy="lru", typed=False, max_bytes=None)
    with_cache(tags=("user:{user_id}",), key=key_of)
    with_cache(tags=tags_of)  # type: ignore[call-overload]
    with_cache(exceptions=(KeyError, OSError), negative_ttl=1, weigher=len, cost=0.01, copy=True)
    with_cache(policy="lifo")  # type: ignore[call-overload]
    with_cache(ttl=[60])  # type: ignore[call-overload]
    with_cache("10m")  # type: ignore[call-overload]
    with_cache(lifetime=60)  # type: ignore[call-overload]
