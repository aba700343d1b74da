"""Every option of `with_cache`, on synchronous and asynchronous functions alike."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest

import millpond as mp
from millpond._engine import ManualClock
from millpond.errors import ConfigurationError, KeyingError, OptionTypeError
from tests.python.cache.faces import ASYNC, SYNC, Counted, settled

both = pytest.mark.parametrize("kind", [SYNC, ASYNC])


def timed(**options: Any) -> tuple[ManualClock, mp.Cache]:
    clock = ManualClock()
    return clock, mp.Cache(clock=clock, **options)


@both
def test_hits_and_misses_are_counted(kind: str) -> None:
    f = Counted(kind)
    assert [f(1), f(1), f(2), f(x=1), f(1, 0), f(1, y=1)] == [
        (1, 0),
        (1, 0),
        (2, 0),
        (1, 0),
        (1, 0),
        (1, 1),
    ]
    info = f.cached.cache_info()
    assert (info.hits, info.misses, f.calls) == (3, 3, 3)
    assert (info.loads, info.load_errors, info.currsize, info.hit_rate) == (3, 0, 3, 0.5)
    assert sum(info.miss_reasons.values()) == info.misses


@both
@pytest.mark.parametrize("ttl", [10, 10.0, "10s", datetime.timedelta(seconds=10)])
def test_a_value_lives_for_its_ttl(kind: str, ttl: Any) -> None:
    clock, cache = timed()
    f = Counted(kind, cache=cache, ttl=ttl)
    f(1)
    clock.advance(9.99)
    f(1)
    assert f.calls == 1
    clock.advance(0.02)
    f(1)
    assert f.calls == 2
    assert f.cached.cache_info().miss_reasons["expired"] == 1
    assert f.cached.cache_info().expirations == 1


@both
def test_without_a_ttl_a_value_lives_five_minutes_and_with_none_for_ever(kind: str) -> None:
    clock, cache = timed()
    five, ever = Counted(kind, cache=cache), Counted(kind, cache=cache, ttl=None)
    for f in (five, ever):
        f(1)
    clock.advance(299)
    for f in (five, ever):
        f(1)
    assert (five.calls, ever.calls) == (1, 1)
    clock.advance(2e9)
    for f in (five, ever):
        f(1)
    assert (five.calls, ever.calls) == (2, 1)


@both
def test_a_use_lengthens_a_life_that_has_a_tti_up_to_the_ttl(kind: str) -> None:
    clock, cache = timed()
    f = Counted(kind, cache=cache, tti=10, ttl=25)
    f(1)
    for _ in range(3):
        clock.advance(8)
        f(1)
    assert f.calls == 1
    clock.advance(2)
    f(1)
    assert f.calls == 2
    clock.advance(11)
    f(1)
    assert f.calls == 3


@both
def test_jitter_shortens_lives_by_up_to_its_share_and_lengthens_none(kind: str) -> None:
    clock, cache = timed()
    f = Counted(kind, cache=cache, ttl=100, jitter=0.5)
    for n in range(60):
        f(n)
    clock.advance(49.9)
    assert f.cached.cache_info().currsize == 60
    clock.advance(25)
    assert 5 < f.cached.cache_info().currsize < 55
    clock.advance(26)
    assert f.cached.cache_info().currsize == 0


@both
def test_key_takes_the_place_of_the_arguments(kind: str) -> None:
    f = Counted(kind, key=lambda x, y=0: str(x).lower())
    assert f("A") == f("a") == f("A", y=7) == ("A", 0)
    assert f.calls == 1


@both
def test_tags_do_not_ask_key_again(kind: str) -> None:
    asked: list[Any] = []
    f = Counted(kind, key=lambda x, y=0: (asked.append(x), x)[1], tags=("t:{x}",))
    f(1)
    assert asked == [1]


@both
def test_what_key_raises_reaches_the_caller(kind: str) -> None:
    f = Counted(kind, key=lambda x, y=0: 1 // x)
    with pytest.raises(ZeroDivisionError):
        f(0)
    assert f(1) == (1, 0)


@both
def test_ignored_parameters_do_not_count_and_need_not_be_keyable(kind: str) -> None:
    f = Counted(kind, ignore=("y",))
    for call in (lambda: f(1, iter(())), lambda: f(1, y=3), lambda: f(1)):
        assert call()[0] == 1
    assert f.calls == 1


@both
def test_typed_parts_equal_numbers_and_untyped_merges_them(kind: str) -> None:
    typed, untyped = Counted(kind), Counted(kind, typed=False)
    for f in (typed, untyped):
        for x in (1, 1.0, True, [1], [1.0], [True], "1"):
            f(x)
    assert (typed.calls, untyped.calls) == (7, 3)


@both
def test_the_order_of_a_dict_counts_only_if_asked(kind: str) -> None:
    loose, ordered = Counted(kind), Counted(kind, ordered=True)
    for f in (loose, ordered):
        f({"a": 1, "b": 2})
        f({"b": 2, "a": 1})
    assert (loose.calls, ordered.calls) == (1, 2)


@both
def test_a_tag_is_made_of_arguments_and_reaches_all_functions_of_the_cache(kind: str) -> None:
    cache = mp.Cache()
    one = Counted(kind, cache=cache, tags=("user:{x}", "all"))
    two = Counted(kind, cache=cache, tags=("user:{y}",))
    for x in (1, 2):
        one(x)
        two(0, x)
    assert cache.invalidate(tags="user:1") == 2
    one(1), one(2), two(0, 1), two(0, 2)
    assert (one.calls, two.calls) == (3, 3)
    assert one.cached.cache_info().miss_reasons["invalidated"] == 1
    assert cache.invalidate(tags=("all", "nobody")) == 2


@both
def test_a_condition_decides_what_is_stored(kind: str) -> None:
    f = Counted(kind, body=lambda x, y: x, condition=lambda value: value > 1)
    for x in (1, 1, 2, 2):
        assert f(x) == x
    assert f.calls == 3
    assert f.cached.cache_info().not_stored == 2
    assert f.cached.cache_info().miss_reasons["not_stored"] == 1


@both
def test_none_is_stored_unless_it_is_not_to_be(kind: str) -> None:
    kept, not_kept = (
        Counted(kind, body=lambda *_: None, cache_none=flag) for flag in (True, False)
    )
    for f in (kept, not_kept):
        assert f(1) is None
        assert f(1) is None
    assert (kept.calls, not_kept.calls) == (1, 2)


@both
def test_negative_ttl_keeps_the_chosen_failures_and_none_for_so_long(kind: str) -> None:
    def body(x: Any, y: Any) -> None:
        if x:
            raise x("no")

    clock, cache = timed()
    f = Counted(
        kind, body=body, cache=cache, ttl=100, negative_ttl=10, exceptions=(KeyError, OSError)
    )
    for _ in range(2):
        for kept in (KeyError, FileNotFoundError):
            with pytest.raises(kept):
                f(kept)
        with pytest.raises(ValueError, match="no"):
            f(ValueError)
        assert f(None) is None
    assert f.calls == 5
    clock.advance(11)
    with pytest.raises(KeyError):
        f(KeyError)
    f(None)
    assert f.calls == 7


@both
def test_a_failure_is_not_kept_unless_asked_and_its_traceback_does_not_grow(kind: str) -> None:
    def body(x: Any, y: Any) -> None:
        raise KeyError(x)

    plain, kept = Counted(kind, body=body), Counted(kind, body=body, negative_ttl=10)
    for _ in range(3):
        with pytest.raises(KeyError):
            plain(1)
    assert plain.calls == 3
    lengths = set()
    for _ in range(4):
        with pytest.raises(KeyError) as caught:
            kept(1)
        lengths.add(len(caught.traceback))
    assert kept.calls == 1
    assert len(lengths) <= 2


@both
@pytest.mark.parametrize("policy", ["lru", "lfu", "fifo", "sieve", "s3fifo"])
def test_each_policy_keeps_the_bound(kind: str, policy: Any) -> None:
    f = Counted(kind, policy=policy, max_entries=3)
    for n in range(10):
        f(n)
    info = f.cached.cache_info()
    assert (info.currsize, info.maxsize, info.evictions) == (3, 3, 7)


@both
def test_max_entries_of_zero_stores_nothing_and_of_none_has_no_bound(kind: str) -> None:
    nothing, unbounded = Counted(kind, max_entries=0), Counted(kind, max_entries=None)
    for f in (nothing, unbounded):
        for n in (1, 1, 2):
            f(n)
    assert nothing.cached.cache_info()[:4] == (0, 3, 0, 0)
    assert unbounded.cached.cache_info()[:4] == (1, 2, None, 2)


@both
def test_max_bytes_is_never_exceeded_and_what_is_heavier_is_returned(kind: str) -> None:
    f = Counted(kind, body=lambda x, y: b"x" * x, max_bytes="64KiB")
    assert f(100_000) == b"x" * 100_000
    assert f.cached.cache_info().currsize == 0
    assert f.cached.cache_info().not_stored == 1
    for n in range(1000, 1100):
        f(n)
        assert 0 < f.cached.cache_info().bytes <= 65536
    assert f.cached.cache_info().evictions > 0


@both
def test_a_weigher_replaces_the_weights(kind: str) -> None:
    f = Counted(kind, body=lambda x, y: x, max_bytes=100, weigher=lambda value: value)
    assert (f(60), f(40)) == (60, 40)
    assert f.cached.cache_info().bytes == 100
    assert f(101) == 101
    assert f.cached.cache_info().currsize == 2


@both
@pytest.mark.parametrize("cost", [0.5, lambda value: 0.5])
def test_cost_is_spent_by_loads_and_saved_by_hits(kind: str, cost: Any) -> None:
    f = Counted(kind, cost=cost)
    for _ in range(4):
        f(1)
    info = f.cached.cache_info()
    assert (info.cost_spent, info.cost_saved) == (0.5, 1.5)


@both
@pytest.mark.parametrize("copier", [True, copy.deepcopy, list])
def test_with_copy_no_caller_sees_what_another_did(kind: str, copier: Any) -> None:
    f = Counted(kind, body=lambda x, y: [x], copy=copier)
    f(1).append("mine")
    f(1).append("yours")
    assert f(1) == [1]
    mine = [7]
    f.cached.cache_set(mine, 2)
    mine.append(8)
    assert f(2) == [7]
    assert f.calls == 1


@both
def test_without_copy_the_value_itself_is_shared(kind: str) -> None:
    f = Counted(kind, body=lambda x, y: [x])
    assert f(1) is f(1)


@both
def test_what_cannot_be_keyed_says_so_and_names_key(kind: str) -> None:
    f = Counted(kind)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(KeyingError, match=r"(?s)x.*key="):
        f(endless)
    assert f.calls == 0


@both
@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"ttl": 0}, ConfigurationError, "ttl"),
        ({"ttl": -1}, ConfigurationError, "positive"),
        ({"ttl": float("nan")}, ConfigurationError, "ttl"),
        ({"ttl": True}, OptionTypeError, "ttl"),
        ({"tti": "soon"}, ConfigurationError, "tti"),
        ({"jitter": 2}, ConfigurationError, "0 to 1"),
        ({"jitter": "a"}, OptionTypeError, "0 to 1"),
        ({"key": 3}, OptionTypeError, "key"),
        ({"ignore": "x"}, OptionTypeError, "tuple"),
        ({"ignore": ("z",)}, ConfigurationError, "x, y"),
        ({"tags": "a"}, OptionTypeError, "tuple"),
        ({"tags": ("{z}",)}, ConfigurationError, "z"),
        ({"tags": ("{x.real}",)}, ConfigurationError, "x"),
        ({"condition": 1}, OptionTypeError, "condition"),
        ({"negative_ttl": 0}, ConfigurationError, "negative_ttl"),
        ({"exceptions": KeyError("a")}, OptionTypeError, "exception"),
        ({"policy": "arc"}, ConfigurationError, "sieve"),
        ({"cache": {}}, OptionTypeError, "Cache"),
        ({"max_entries": -1}, ConfigurationError, "0"),
        ({"max_entries": 1.5}, OptionTypeError, "max_entries"),
        ({"max_entries": True}, OptionTypeError, "max_entries"),
        ({"max_bytes": 0}, ConfigurationError, "positive"),
        ({"max_bytes": "many"}, ConfigurationError, "max_bytes"),
        ({"weigher": 3}, OptionTypeError, "weigher"),
        ({"cost": -1}, ConfigurationError, "dollars"),
        ({"cost": "1"}, OptionTypeError, "dollars"),
        ({"copy": 3}, OptionTypeError, "copy"),
        ({"wait_timeout": 0}, ConfigurationError, "wait_timeout"),
        ({"cache": mp.Cache(), "max_entries": 3}, ConfigurationError, "max_entries"),
    ],
)
def test_an_option_outside_what_is_allowed_is_refused_when_decorating(
    kind: str, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Counted(kind, **options)


def test_a_generator_function_is_refused() -> None:
    def numbers() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (numbers, later):
        with pytest.raises(ConfigurationError, match="generator"):
            mp.with_cache(function)


@both
def test_an_iterator_is_not_remembered_and_says_why(kind: str) -> None:
    f = Counted(kind, body=lambda *_: iter(()))
    with pytest.raises(mp.MillpondError, match="iterator"):
        f(1)


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_a_refresh_that_is_too_heavy_leaves_no_old_value_behind(kind: str) -> None:
    sizes = [10, 10_000, 20]
    left: list[tuple[int, str]] = []
    cache = mp.Cache(
        max_bytes=1000, weigher=len, on_removal=lambda _k, v, cause: left.append((len(v), cause))
    )
    counted = Counted(kind, lambda x, _y: "x" * sizes.pop(0), cache=cache)
    assert len(counted(1)) == 10
    assert len(settled(counted.cached.cache_refresh(1))) == 10_000
    assert not counted.cached.cache_contains(1)
    assert counted.cached.cache_info().not_stored == 1
    assert len(counted(1)) == 20
    assert left == [(10, "replaced")]


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_a_refresh_replaces_the_value_and_keeps_the_entry(kind: str) -> None:
    left: list[tuple[Any, str]] = []
    cache = mp.Cache(max_entries=2, policy="lfu", on_removal=lambda _k, v, c: left.append((v, c)))
    counted = Counted(kind, lambda x, _y: [x], cache=cache)
    counted(1), counted(1), counted(1)
    counted(2), counted(2)
    settled(counted.cached.cache_refresh(1))
    counted(3)
    assert [counted.cached.cache_contains(x) for x in (1, 2, 3)] == [True, False, True]
    assert left == [([1], "replaced"), ([2], "size")]


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_the_key_function_is_asked_once_a_call(kind: str) -> None:
    asked: list[Any] = []

    def key(x: Any, y: Any = 0) -> Any:
        asked.append(x)
        return x

    counted = Counted(kind, key=key)
    assert counted(1, y=2) == (1, 2)
    assert counted(1, 3) == (1, 2)
    assert counted(2) == (2, 0)
    assert asked == [1, 1, 2]
    with mp.observe() as calls:
        counted(1)
        counted(3)
    assert [call.hit for call in calls] == [True, False]
    assert asked[3:] == [1, 3]


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_arguments_that_do_not_fit_are_the_functions_own_error_with_a_key_too(kind: str) -> None:
    counted = Counted(kind, key=lambda *_args, **_kwargs: 1)
    with pytest.raises(TypeError, match="plain"):
        counted(1, 2, 3)
