"""The way of a call through real tiers: two Engines on one Redis stand for two processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from millpond import Engine, cache_control, observe
from millpond.cache import CallRecord
from millpond.errors import OptionTypeError
from millpond.io.deadline import Deadline
from tests.integration.mills import Async, Sync, counted, keep, settle
from tests.integration.redis_cluster import RedisCluster
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until


def test_a_value_is_computed_once_for_all(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body) for mill in mills)
    assert face.call(first, 1) == {"value": 1, "call": 1}
    settle(mills)  # That the generations were made is told too, once.
    assert face.call(second, 1) == {"value": 1, "call": 1}
    assert face.call(second, 1) == {"value": 1, "call": 1}
    assert calls == [1]
    info = second.cache_info()
    assert info.hits_by_tier == {"memory": 1, tier: 1}
    assert (info.hits, info.misses, info.loads) == (2, 0, 0)
    assert first.cache_info()[:2] == (0, 1)


def test_observers_see_which_tier_a_hit_came_from(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    _, body = counted()
    first, second = (face.function(mill, body) for mill in mills)
    stored = time.time()
    face.call(first, 1)
    with observe() as calls:
        face.call(second, 1)
        face.call(second, 1)
        face.call(second, 2)
    # Ages are told by the server's clock, which may be a few milliseconds off.
    assert [(call.hit, call.tier) for call in calls] == [
        (True, tier),
        (True, "memory"),
        (False, None),
    ]
    assert calls[0].reason == "cold_or_evicted"
    assert calls[0].age is not None
    assert 0 <= calls[0].age < time.time() - stored + 0.5
    assert calls[2].age is None
    assert f"hit in {tier}" in repr(calls[0])


def test_observers_who_wait_for_a_hit_see_it_too(mills: tuple[Engine, Engine], tier: str) -> None:
    _, body = counted()
    first, second = (Async().function(mill, body) for mill in mills)

    async def main() -> list[CallRecord]:
        await first(1)
        with observe() as calls:
            await asyncio.gather(*(second(1) for _ in range(3)))
        return calls

    calls = asyncio.run(main())
    assert {(call.hit, call.tier) for call in calls} <= {(True, tier), (True, "memory")}
    assert calls[0].tier == tier
    assert not any(call.coalesced and call.tier != tier for call in calls)


def test_an_invalidated_tag_is_a_miss_in_the_tier(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body, tags=("user:{x}",)) for mill in mills)
    keep(face, first, 7)
    keep(face, first, 8)
    outcome = face.invalidate(mills[0], tags="user:7")
    assert outcome.done
    assert (outcome.memory, outcome.tiers) == (1, {tier: "done"})
    face.call(second, 7)
    face.call(second, 8)
    assert calls == [7, 8, 7]


def test_clearing_a_function_and_its_namespace(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body) for mill in mills)
    face.call(first, 1)
    face.do(first, "cache_clear")
    face.call(second, 1)
    assert calls == [1, 1]
    assert face.invalidate(mills[1], namespace="test").tiers == {tier: "done"}
    face.call(second, 1)
    assert calls == [1, 1, 1]
    face.invalidate(mills[1], function=second)
    face.call(second, 1)
    assert calls == [1] * 4


def test_set_and_invalidate_of_one_call(face: Any, mills: tuple[Engine, Engine], tier: str) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body) for mill in mills)
    face.do(first, "cache_set", "given", 1)
    assert [mill.stats()[tier]["pending"] for mill in mills] == [0, 0]
    assert face.call(second, 1) == "given"
    assert face.do(second, "cache_invalidate", 1)
    assert face.call(second, 1) == {"value": 1, "call": 1}
    assert calls == [1]


def test_a_refresh_whose_result_is_not_kept_takes_the_old_value_away(
    face: Any, mills: tuple[Engine, Engine]
) -> None:
    calls, body = counted()
    rules = {"condition": lambda value: value["call"] != 2}
    first, second = (face.function(mill, body, **rules) for mill in mills)
    face.call(first, 1)
    assert face.call(second, 1)["call"] == 1
    assert face.call(first.cache_refresh, 1)["call"] == 2
    assert face.call(first, 1)["call"] == 3
    wait_until(lambda: face.call(second, 1)["call"] == 3, "the other process has it")
    assert calls == [1] * 3


def test_no_store_and_no_cache(face: Any, mills: tuple[Engine, Engine]) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body) for mill in mills)
    with cache_control(no_store=True):
        face.call(first, 1)
    assert face.call(second, 1)["call"] == 2
    with cache_control(no_cache=True):
        assert face.call(first, 1)["call"] == 3
    assert calls == [1, 1, 1]


def test_what_the_function_raises_arrives_as_it_is(face: Any, mills: tuple[Engine, Engine]) -> None:
    def fails(x: Any) -> Any:
        raise StopAsyncIteration(x) if isinstance(face, Sync) else LookupError(x)

    function = face.function(mills[0], fails)
    with pytest.raises((StopAsyncIteration, LookupError), match="1"):
        face.call(function, 1)


def test_a_sync_function_may_raise_stop_iteration(mills: tuple[Engine, Engine]) -> None:
    @mills[0].with_cache(namespace="test")
    def fails(x: int) -> int:
        raise StopIteration(x)

    with pytest.raises(StopIteration, match="1"):
        fails(1)


def test_rules_hold_for_tiers_too(face: Any, mills: tuple[Engine, Engine]) -> None:
    calls: list[Any] = []

    def maybe(x: Any) -> Any:
        calls.append(x)
        return x or None

    given = {"cache_none": False, "condition": lambda value: value != 3}
    first, second = (face.function(mill, maybe, **given) for mill in mills)
    for x in (0, 3, 5):
        face.call(first, x)
        face.call(second, x)
    assert calls == [0, 0, 3, 3, 5]


def test_what_cannot_be_encoded_stays_in_memory(
    face: Any, mills: tuple[Engine, Engine], caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        pass

    function = face.function(mills[0], lambda x: Odd(), key=lambda x: x)
    assert face.call(function, 1) is face.call(function, 1)
    assert "stays in memory only" in caplog.text


def test_a_call_costs_no_more_than_its_budget_while_redis_is_frozen(
    face: Any, own_redis: RedisServer
) -> None:
    calls, body = counted()
    with Engine(redis=own_redis.url, database=False) as mill:
        function = face.function(mill, body)
        face.call(function, 1)
        own_redis.freeze()
        try:
            for x in range(2, 20):
                assert face.call(function, x)["value"] == x
        finally:
            own_redis.thaw()
        assert mill.stats()["redis"]["state"] != "closed"
    assert len(calls) == 19


def test_what_others_invalidate_leaves_memory(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    calls, body = counted()
    first, second = (face.function(mill, body, tags=("user:{x}",)) for mill in mills)
    for x in (7, 8, 9):
        face.call(first, x)
    settle(mills)
    for x in (7, 8, 9):
        face.call(second, x)
        face.call(second, x)
    assert second.cache_info().hits_by_tier == {"memory": 3, tier: 3}
    face.invalidate(mills[0], tags="user:7")
    wait_until(lambda: not second.cache_contains(7))
    assert second.cache_contains(8)
    face.do(first, "cache_invalidate", 8)
    wait_until(lambda: not second.cache_contains(8))
    assert second.cache_contains(9)
    face.invalidate(mills[0], function=first)
    wait_until(lambda: not second.cache_contains(9))
    assert calls == [7, 8, 9]


def test_what_a_tier_missed_it_is_told_before_it_is_read(face: Any, own_redis: RedisServer) -> None:
    _, body = counted()
    with (
        Engine(redis=own_redis.url, database=False) as one,
        Engine(redis=own_redis.url, database=False) as two,
    ):
        first, second = (face.function(mill, body, tags=("all",)) for mill in (one, two))
        for x in (1, 2, 3):
            face.call(first, x)
        own_redis.freeze()
        try:
            outcome = face.invalidate(one, tags="all")
            assert (outcome.done, outcome.tiers) == (False, {"redis": "pending"})
            assert not face.do(first, "cache_invalidate", 9)
            assert one.stats()["redis"]["pending"] == 2
            assert face.call(first, 1)["call"] == 4
        finally:
            own_redis.thaw()
        wait_until(lambda: one.stats()["redis"]["state"] == "closed")
        assert face.call(first, 2)["call"] == 5
        assert one.stats()["redis"]["pending"] == 0
        wait_until(lambda: two.stats()["redis"]["state"] == "closed")
        assert face.call(second, 3)["call"] == 6
        assert face.call(second, 2)["call"] == 5


def test_an_engine_may_start_before_its_servers(face: Any, own_redis: RedisServer) -> None:
    calls, body = counted()
    own_redis.stop()
    with Engine(redis=own_redis.url, database=False) as mill:
        function = face.function(mill, body)
        for x in range(20):
            face.call(function, x)
        own_redis.start()
        wait_until(lambda: mill.stats()["redis"]["state"] == "closed")
        wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"])
        face.call(function, 100)
        function._drop_entries()
        face.call(function, 100)
    assert len(calls) == 21
    assert function.cache_info().hits_by_tier == {"memory": 0, "redis": 1}


def test_a_cluster_is_followed_when_a_primary_dies() -> None:
    with RedisCluster(masters=3, replicas=1) as cluster:
        nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        with (
            Engine(redis=f"redis+cluster://{nodes}", database=False) as one,
            Engine(redis=f"redis+cluster://{nodes}", database=False) as two,
        ):
            follow_the_cluster(cluster, (one, two))


def test_a_cluster_that_hangs_holds_up_no_first_call(face: Any) -> None:
    with RedisCluster() as cluster:
        for node in cluster.nodes:
            node.freeze()
        nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        mill = Engine(redis=f"redis+cluster://{nodes}", database=False)
        function = face.function(mill, lambda x: x)
        started = time.monotonic()
        assert face.call(function, 1) == 1
        assert time.monotonic() - started < 0.5
        for node in cluster.nodes:
            node.thaw()
        wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"])
        mill.close()


def follow_the_cluster(cluster: RedisCluster, mills: tuple[Engine, Engine]) -> None:
    def heard() -> bool:
        return all(mill.stats()["redis"]["coherence"]["heard"] for mill in mills)

    calls, body = counted()
    first, second = (mill.with_cache(namespace="test", tags=("all",))(body) for mill in mills)
    wait_until(heard)
    first(1)
    settle(mills)
    keep(Sync(), second, 1)
    mills[0].invalidate(tags="all")
    wait_until(lambda: not second.cache_contains(1))
    assert calls == [1]
    cluster.kill_master("x")
    for x in range(50):
        assert first(x)["value"] == x
    wait_until(heard)
    wait_until(lambda: second(2)["value"] == 2 and second.cache_contains(2))
    wait_until(lambda: mills[0].invalidate(tags="all").done)
    wait_until(lambda: not second.cache_contains(2))


def test_an_engine_that_was_closed_hears_again_when_it_is_used(
    face: Any, mills: tuple[Engine, Engine], tier: str
) -> None:
    _, body = counted()
    function = face.function(mills[1], body, tags=("user:{x}",))
    face.call(function, 7)
    mills[1].close()
    face.call(function, 7)
    wait_until(lambda: mills[1].stats()[tier]["coherence"]["heard"])
    face.invalidate(mills[0], tags="user:7")
    wait_until(lambda: face.call(function, 7)["call"] == 2)


def test_programs_that_share_a_tier_share_no_tags(
    face: Any, engine: Callable[..., Engine], tier: str
) -> None:
    # The same hashes of the same tags, and names of which one begins like the other.
    names = ("shop", "shop:b")
    with engine(namespace=names[0]) as one, engine(namespace=names[1]) as two:
        mills = (one, two)
        bodies = [counted() for _ in mills]
        functions = [
            mill.with_cache(tags=("user:{x}",), key=lambda x: x)(body)
            for mill, (_, body) in zip(mills, bodies, strict=True)
        ]
        for function in functions:
            function(7)
            wait_until(lambda function=function: function(7) and function.cache_contains(7))
        face.invalidate(mills[0], tags="user:7")
        assert functions[0](7)["call"] == 2
        assert functions[1](7)["call"] == 1
        # What comes after it, in the same order, has been told; and the tier has kept its own.
        mark = mills[1].with_cache(tags=("mark",), key=lambda: "m")(lambda: 1)
        wait_until(lambda: mark() == 1 and mark.cache_contains())
        face.invalidate(mills[1], tags="mark")
        wait_until(lambda: not mark.cache_contains())
        assert functions[1].cache_contains(7)
        functions[1]._drop_entries()
        assert functions[1](7)["call"] == 1
        assert functions[1].cache_info().hits_by_tier[tier] >= 1


def test_a_release_that_adds_a_tag_gets_nothing_that_it_cannot_invalidate(
    face: Any, mills: tuple[Engine, Engine]
) -> None:
    """What the release before it has stored does not carry the tag."""
    calls, body = counted()
    before = face.function(mills[0], body)
    after = face.function(mills[1], body, tags=("user:{x}",))
    keep(face, before, 7)
    face.call(after, 7)
    assert len(calls) == 2
    assert face.invalidate(mills[1], tags="user:7").done
    face.call(after, 7)
    assert len(calls) == 3
    # Both serve what the later one has stored.
    before._drop_entries()
    face.call(before, 7)
    assert len(calls) == 3


@pytest.mark.parametrize("amount", [1.5, "1", None])
def test_a_counter_counts_by_whole_numbers_alone(
    face: Any, mills: tuple[Engine, Engine], tier: str, amount: Any
) -> None:
    """Another would end up in the store, whose file would then be taken for a damaged one."""
    cache = mills[0].cache("counts")
    assert face.do(cache, "incr", "n") == 1
    for method in ("incr", "decr"):
        with pytest.raises(OptionTypeError, match="a whole number"):
            face.do(cache, method, "n", amount)
    store: Any = mills[0].tier(tier)
    with pytest.raises(OptionTypeError, match="a whole number"):
        store.incr("test:n:1:0", amount, None, Deadline.after(5))
    assert face.do(mills[1].cache("counts"), "incr", "n") == 2
