"""The methods that a decorated function has, on synchronous and asynchronous functions alike."""

from __future__ import annotations

from typing import Any

import pytest

import millpond as mp
from tests.python.cache.faces import ASYNC, SYNC, Counted, settled

both = pytest.mark.parametrize("kind", [SYNC, ASYNC])


@both
def test_cache_info_is_a_tuple_of_functools_kind_with_more_names(kind: str) -> None:
    f = Counted(kind, max_entries=7)
    f(1)
    info = f.cached.cache_info()
    hits, misses, maxsize, currsize = info
    assert (hits, misses, maxsize, currsize) == (0, 1, 7, 1)
    assert isinstance(info, mp.CacheInfo)
    assert info.load_seconds >= 0
    assert Counted(kind).cached.cache_info().maxsize is None


@both
def test_cache_clear_forgets_entries_and_counts_of_this_function_only(kind: str) -> None:
    cache = mp.Cache()
    one, two = Counted(kind, cache=cache), Counted(kind, cache=cache)
    one(1), two(1)
    cache.set("mine", 1)
    one.cached.cache_clear()
    assert one.cached.cache_info()[:4] == (0, 0, None, 0)
    assert two.cached.cache_info().currsize == 1
    assert cache.get("mine") == 1
    one(1), two(1)
    assert (one.calls, two.calls) == (2, 1)


@both
def test_cache_parameters_name_the_options_in_a_new_dict(kind: str) -> None:
    f = Counted(kind, max_entries=9, typed=False, ttl="1m")
    given = f.cached.cache_parameters()
    assert (given["maxsize"], given["typed"], given["ttl"]) == (9, False, "1m")
    given["maxsize"] = 0
    assert f.cached.cache_parameters()["maxsize"] == 9
    assert Counted(kind).cached.cache_parameters()["maxsize"] is None


@both
def test_cache_key_is_equal_where_calls_share_an_entry(kind: str) -> None:
    key = Counted(kind).cached.cache_key
    assert key(1) == key(x=1) == key(1, 0) == key(y=0, x=1)
    assert len({key(1), key(2), key(1.0), key("1"), key(True), key(1, 1)}) == 6
    assert isinstance(key(1), bytes)
    with pytest.raises(TypeError):
        key()
    opaque = object()
    assert key(opaque) == key(opaque) != key(object())


@both
def test_cache_contains_says_whether_a_call_would_hit_and_counts_nothing(kind: str) -> None:
    f = Counted(kind)
    assert f.cached.cache_contains(1) is False
    f(1)
    before = f.cached.cache_info()
    assert f.cached.cache_contains(x=1) is True
    assert f.cached.cache_contains(2) is False
    assert f.cached.cache_info() == before


@both
def test_cache_invalidate_forgets_one_call(kind: str) -> None:
    f = Counted(kind)
    f(1), f(2)
    assert f.cached.cache_invalidate(1) is True
    assert f.cached.cache_invalidate(1) is False
    f(1), f(2)
    assert f.calls == 3
    assert f.cached.cache_info().miss_reasons["invalidated"] == 1
    assert f.cached.cache_info().invalidations == 1


@both
def test_cache_refresh_loads_anew_and_stores(kind: str) -> None:
    f = Counted(kind)
    assert settled(f.cached.cache_refresh(1)) == (1, 0)
    assert settled(f.cached.cache_refresh(1)) == (1, 0)
    f(1)
    assert f.calls == 2
    assert f.cached.cache_info().miss_reasons["bypass"] == 2


@both
def test_a_refresh_that_fails_leaves_the_value(kind: str) -> None:
    failing: list[bool] = []

    def body(x: Any, y: Any) -> Any:
        if failing:
            raise OSError("down")
        return x

    f = Counted(kind, body=body)
    f(1)
    failing.append(True)
    with pytest.raises(OSError, match="down"):
        settled(f.cached.cache_refresh(1))
    assert f(1) == 1


@both
@pytest.mark.parametrize("how", ["refresh", "no_cache"])
def test_a_refresh_whose_result_is_not_kept_leaves_no_old_value(kind: str, how: str) -> None:
    results = [1, None, 3]
    left: list[Any] = []
    cache = mp.Cache(on_removal=lambda _k, v, cause: left.append((v, cause)))
    f = Counted(kind, body=lambda *_: results.pop(0), cache=cache, cache_none=False)
    f(1)
    if how == "refresh":
        assert settled(f.cached.cache_refresh(1)) is None
    else:
        with mp.cache_control(no_cache=True):
            assert f(1) is None
    assert not f.cached.cache_contains(1)
    assert left == [(1, "replaced")]
    assert f(1) == 3
    assert f.cached.cache_info().not_stored == 1


@both
def test_a_refresh_that_was_overtaken_drops_nothing(kind: str) -> None:
    results = [1, None]

    def body(*_: Any) -> Any:
        if len(results) == 1:
            f.cached.cache_set("newer", 1)
        return results.pop(0)

    f = Counted(kind, body=body, cache_none=False)
    f(1)
    assert settled(f.cached.cache_refresh(1)) is None
    assert f(1) == "newer"


@both
def test_a_refresh_that_stores_nothing_leaves_the_value(kind: str) -> None:
    f = Counted(kind, body=lambda x, _: [x])
    first = f(1)
    with mp.cache_control(no_store=True, refresh=True):
        assert f(1) is not first
    assert f(1) is first


@both
def test_cache_set_stores_a_value_for_a_call(kind: str) -> None:
    f = Counted(kind)
    assert f.cached.cache_set("given", 1) is None
    assert f(1) == f(x=1) == "given"
    assert f.calls == 0
    f.cached.cache_set("again", x=1)
    assert f(1) == "again"
    with pytest.raises(TypeError):
        f.cached.cache_set()
    with pytest.raises(TypeError):
        f.cached.cache_set("given")


@both
def test_cache_bypass_calls_the_plain_function(kind: str) -> None:
    f = Counted(kind)
    f(1)
    assert settled(f.cached.cache_bypass(1)) == (1, 0)
    assert (f.calls, f.cached.cache_info().miss_reasons["bypass"]) == (2, 1)
    assert settled(f.cached.cache_bypass(2)) == (2, 0)
    assert f.cached.cache_contains(2) is False


@both
def test_cache_many_gives_the_results_in_order(kind: str) -> None:
    f = Counted(kind)
    assert settled(f.cached.cache_many([1, (2, 3), {"x": 4}, 1])) == [
        (1, 0),
        (2, 3),
        (4, 0),
        (1, 0),
    ]
    assert f.calls == 3


@both
def test_cache_warm_loads_what_is_not_there_and_counts_it(kind: str) -> None:
    f = Counted(kind)
    f(1)
    assert settled(f.cached.cache_warm([1, (2, 3), {"x": 4}])) == 2
    assert f(2, 3) == (2, 3)
    assert f.calls == 3


@both
def test_wrapped_is_the_plain_function(kind: str) -> None:
    f = Counted(kind)
    assert f.cached.__wrapped__ is f.plain
    assert f.cached.__name__ == "plain"


@both
def test_functions_of_one_name_share_no_entries(kind: str) -> None:
    cache = mp.Cache()
    functions = [Counted(kind, body=lambda x, y, n=n: n, cache=cache) for n in range(3)]
    assert [f(1) for f in functions] == [0, 1, 2]
    assert [f(1) for f in functions] == [0, 1, 2]


@both
def test_wrong_arguments_raise_what_the_plain_function_raises(kind: str) -> None:
    f = Counted(kind)
    for args, kwargs in [((), {}), ((1, 2, 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1})]:
        with pytest.raises(TypeError) as plain:
            settled(f.plain(*args, **kwargs))
        with pytest.raises(TypeError) as cached:
            f(*args, **kwargs)
        assert str(cached.value) == str(plain.value)
    assert f.calls == 0
