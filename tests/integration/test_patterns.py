"""Invalidation by patterns over shared names, which other processes may have given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from millpond import Engine
from tests.integration.mills import Sync, counted, keep, settle
from tests.integration.redis_cluster import RedisCluster
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until


def named(name: str, body: Callable[..., Any]) -> Callable[..., Any]:
    """A body whose shared name is "test:shop.{name}:1:"."""

    def run(x: Any) -> Any:
        return body(x)

    run.__module__, run.__qualname__ = "shop", name
    return run


class Odd:
    """What no tier takes."""


@pytest.mark.parametrize(
    "given",
    [
        {"prefix": "test:shop.prices"},
        {"glob": "test:shop.price?.*"},
        {"glob": "*:shop.prices.*:*"},
        {"regex": r"test:shop\.prices\."},
        {"regex": r".*prices"},
    ],
    ids=["prefix", "glob", "open-glob", "regex", "open-regex"],
)
def test_functions_that_only_others_know_are_found(
    face: Any, mills: tuple[Engine, Engine], tier: str, given: dict[str, str]
) -> None:
    one, two = mills
    prices, stock = counted(), counted()
    here = face.function(one, named("prices.here", counted()[1]))
    theirs = face.function(two, named("prices.theirs", prices[1]))
    other = face.function(two, named("stock.theirs", stock[1]))
    settle((one, two))
    for function in (here, theirs, other):
        keep(face, function, 1)
    outcome = face.invalidate(one, **given)
    assert (outcome.tiers, outcome.memory) == ({tier: "done"}, 1)
    wait_until(lambda: not theirs.cache_contains(1))
    assert other.cache_contains(1)
    assert face.call(theirs, 1)["call"] == 2
    assert not here.cache_contains(1)
    assert (prices[0], stock[0]) == ([1, 1], [1])


def test_a_load_that_nobody_else_has_seen_yet_stores_nothing(mills: tuple[Engine, Engine]) -> None:
    one, two = mills
    begun, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        begun.set()
        assert go_on.wait(10)
        return x

    function = Sync().function(two, named("prices.slow", slow))
    loading = threading.Thread(target=function, args=(1,))
    loading.start()
    assert begun.wait(10)
    assert one.invalidate(prefix="test:shop.prices").done
    go_on.set()
    loading.join(10)
    wait_until(lambda: not function.cache_contains(1))
    function(1)
    assert function.cache_info().hits == 0
    assert function.cache_info().loads == 2


def test_values_that_no_tier_takes_are_dropped_elsewhere(
    face: Any, mills: tuple[Engine, Engine]
) -> None:
    one, two = mills
    function = face.function(two, named("odd", lambda x: Odd()))
    settle((one, two))
    keep(face, function, 1)
    assert face.invalidate(one, glob="test:shop.odd*").done
    wait_until(lambda: not function.cache_contains(1))


def test_caches_by_name_are_found_too(face: Any, mills: tuple[Engine, Engine]) -> None:
    one, two = mills
    face.do(two.cache("users"), "set", "ada", 1)
    face.do(two.cache("pages"), "set", "home", 2)
    assert face.invalidate(one, prefix="millpond:cache.users:").done
    wait_until(lambda: face.do(two.cache("users"), "get", "ada") is None)
    assert face.do(two.cache("pages"), "get", "home") == 2


def test_a_redis_that_was_emptied_is_told_the_names_again(
    redis_url: str, redis_server: RedisServer
) -> None:
    def engine() -> Engine:
        return Engine(redis=redis_url, database=False)

    with engine() as one, engine() as two:
        function = Sync().function(two, named("odd", lambda x: Odd()))
        function(1)
        with redis_server.client() as client:
            client.flushall()
        wait_until(lambda: not function.cache_contains(1))
        settle((one, two))
        keep(Sync(), function, 2)
        one.invalidate(prefix="test:shop.odd")
        wait_until(lambda: not function.cache_contains(2))


def test_a_tier_that_is_out_cannot_say_what_others_have(face: Any, own_redis: RedisServer) -> None:
    _, body = counted()
    with Engine(redis=own_redis.url, database=False) as mill:
        function = face.function(mill, named("prices.here", body))
        face.call(function, 1)
        own_redis.freeze()
        try:
            outcome = face.invalidate(mill, prefix="test:shop.prices")
        finally:
            own_redis.thaw()
        assert (outcome.done, outcome.tiers) == (False, {"redis": "failed"})
        assert not function.cache_contains(1)
        wait_until(lambda: mill.stats()["redis"]["state"] == "closed")
        assert face.call(function, 1)["call"] == 2
        assert mill.stats()["redis"]["pending"] == 0
        assert face.invalidate(mill, prefix="test:shop.prices").done


def test_every_primary_of_a_cluster_is_asked() -> None:
    with RedisCluster(masters=3, replicas=0) as cluster:
        nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        url = f"redis+cluster://{nodes}"
        with Engine(redis=url, database=False) as one, Engine(redis=url, database=False) as two:
            theirs = [
                two.with_cache(namespace="test")(named(f"prices.f{i}", counted()[1]))
                for i in range(12)
            ]
            for function in theirs:
                function(1)
            settle((one, two))
            assert one.invalidate(prefix="test:shop.prices").done
            for function in theirs:
                wait_until(lambda function=function: not function.cache_contains(1))
                assert function(1)["call"] == 2
