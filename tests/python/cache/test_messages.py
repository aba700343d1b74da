"""Each message says what was given, where, and what is allowed."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

import millpond as mp
from millpond.errors import (
    ConfigurationError,
    KeyingError,
    LimitError,
    OptionTypeError,
    WaitTimeoutError,
)


class Plain:
    """Not hashable, and no plain data."""

    __hash__ = None  # type: ignore[assignment]


def upper(key: str) -> str:
    return key.upper()


def fresh() -> mp.Cache:
    return mp.Cache(max_entries=10)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda cache: cache.set([Plain()], 1), r"key\[0\]"),
        (lambda cache: cache.get(Plain()), "key"),
        (lambda cache: cache.get_or_load({"a": Plain()}, upper), r"key\['a'\]"),
    ],
    ids=["set", "get", "get_or_load"],
)
def test_a_key_of_a_cache_is_called_a_key(call: Callable[[mp.Cache], object], path: str) -> None:
    with pytest.raises(KeyingError) as caught:
        call(fresh())
    assert caught.match(f"^cannot make a cache key of {path}: a .*Plain is neither hashable")
    assert caught.match("; a key is made of plain data and of hashable objects$")


def test_a_result_of_the_key_function_is_called_that() -> None:
    cached = mp.with_cache(lambda x: x, key=lambda x: (x, Plain()))
    with pytest.raises(KeyingError, match=r"cache key of key\(\)\[1\]: .*; key= has to return "):
        cached(1)


def test_an_argument_of_a_call_has_its_name_and_two_ways_out() -> None:
    @mp.with_cache
    def cached(first: Any, second: Any) -> Any:
        return first, second

    with pytest.raises(KeyingError, match=r"cache key of second\[0\]: .*; pass key= .*ignore="):
        cached(1, [Plain()])


@pytest.mark.parametrize("given", [[60], True, b"10m", object()])
@pytest.mark.parametrize(
    ("option", "use"),
    [
        ("ttl", lambda life: mp.Cache(ttl=life)),
        ("ttl", lambda life: fresh().set("a", 1, ttl=life)),
        ("ttl", lambda life: mp.with_cache(ttl=life)(upper)),
        ("ttl", lambda life: fresh().get_or_load("a", upper, ttl=life)),
        ("tti", lambda life: fresh().touch("a", tti=life)),
        ("max_age", lambda life: mp.cache_control(max_age=life)),
    ],
    ids=["Cache", "set", "with_cache", "get_or_load", "touch", "cache_control"],
)
def test_a_life_of_another_type_is_an_error_of_type(
    option: str, use: Callable[[Any], Any], given: object
) -> None:
    with pytest.raises(OptionTypeError, match=f"^{option}=.*a life is a positive number"):
        use(given)


@pytest.mark.parametrize("given", [0, -1, float("nan"), 10**400, "soon"])
def test_a_life_outside_of_what_is_allowed_is_an_error_of_value(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^ttl"):
        fresh().set("a", 1, ttl=given)


@pytest.mark.parametrize("given", [None, 3, "upper"])
def test_a_loader_has_to_be_a_function(given: Any) -> None:
    cache = fresh()
    cache["a"] = 1
    with pytest.raises(OptionTypeError, match=f"^loader={given!r}: give a function of the key$"):
        cache.get_or_load("a", given)
    with pytest.raises(OptionTypeError, match=f"^loader={given!r}: give a function of a list of"):
        cache.get_or_load_many(["a"], given)


@pytest.mark.parametrize(
    "call",
    [
        lambda cache, tags: cache.set("a", 1, tags=tags),
        lambda cache, tags: cache.get_or_load("a", upper, tags=tags),
        lambda cache, tags: cache.get_or_load_many("a", dict.fromkeys, tags=tags),
        lambda cache, tags: cache.set_many({"a": 1}, tags=tags),
        lambda cache, tags: cache.invalidate(tags=tags),
    ],
    ids=["set", "get_or_load", "get_or_load_many", "set_many", "invalidate"],
)
def test_tags_have_to_be_text(call: Callable[[mp.Cache, Any], object]) -> None:
    with pytest.raises(OptionTypeError, match=r"^tags(=3|): .*a str or an iterable of str"):
        call(fresh(), 3)
    with pytest.raises(OptionTypeError, match=r"^tags: each tag is a str, not int$"):
        call(fresh(), [3])


def test_too_many_tags_are_counted() -> None:
    tags = [str(number) for number in range(65)]
    with pytest.raises(LimitError, match=r"^an entry carries at most 64 tags, and 65 were given$"):
        fresh().set("a", 1, tags=tags)
    assert fresh().set("a", 1, tags=tags[:64])


def test_who_waited_in_vain_learns_for_what_and_how_long() -> None:
    begun, go_on = threading.Event(), threading.Event()

    @mp.with_cache(wait_timeout=0.05)
    def slow() -> int:
        begun.set()
        assert go_on.wait(60)
        return 1

    leader = threading.Thread(target=slow)
    leader.start()
    assert begun.wait(60)
    with pytest.raises(
        WaitTimeoutError, match=r"load in .*<locals>\.slow took longer than .*0\.05 s"
    ):
        slow()
    go_on.set()
    leader.join(60)
