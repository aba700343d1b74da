"""A feed of a Redis that is cut and comes back: what nobody changed meanwhile stays in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from millpond import Engine
from millpond.cache.tiered import TieredCache
from millpond.tiers.redis import RedisTier
from tests.integration.faults import FaultProxy
from tests.integration.redis_server import RedisServer
from tests.integration.servers import wait_until


class Pair:
    """Two Engines, the first behind a proxy, and a function that both have."""

    def __init__(self, server: RedisServer, proxy: FaultProxy) -> None:
        self.server, self.proxy = server, proxy
        self.one = Engine(redis=f"redis://127.0.0.1:{proxy.port}", database=False).open()
        self.two = Engine(redis=server.url, database=False).open()
        self.calls: list[int] = []

        def body(x: int) -> int:
            self.calls.append(x)
            return len(self.calls)

        self.f = self.one.with_cache(namespace="test", tags=("tag:{x}",), ttl="10m")(body)
        self.other = self.two.with_cache(namespace="test", tags=("tag:{x}",), ttl="10m")(body)
        wait_until(self.heard, "both hear")
        for x in range(10):
            self.f(x)
        wait_until(self.settled, "what was made here has come back")
        for x in range(10):
            self.f(x)
        assert self.kept() == list(range(10))

    def settled(self) -> bool:
        """Whether a change by the other, after all that was done so far, has been told."""
        self.other(99)
        self.f(99)
        self.two.invalidate(tags="tag:99")
        end = time.monotonic() + 1
        while self.f.cache_contains(99) and time.monotonic() < end:
            time.sleep(0.002)
        return not self.f.cache_contains(99)

    def heard(self) -> bool:
        return all(mill.stats()["redis"]["coherence"]["heard"] for mill in (self.one, self.two))

    def losses(self) -> int:
        return int(self.one.stats()["redis"]["coherence"]["losses"])

    def kept(self) -> list[int]:
        return [x for x in range(10) if self.f.cache_contains(x)]

    def feeds(self, client: Any) -> list[str]:
        return [one["id"] for one in client.client_list() if "t" in one["flags"]]

    def kill_feeds(self, client: Any) -> None:
        """End both, and wait until both are there again."""
        killed = self.feeds(client)
        assert len(killed) == 2
        for number in killed:
            client.client_kill_filter(_id=number)
        wait_until(lambda: len(set(self.feeds(client)) - set(killed)) == 2, "new feeds")

    def close(self) -> None:
        self.one.close()
        self.two.close()


@pytest.fixture
def pair(own_redis: RedisServer) -> Iterator[Pair]:
    with FaultProxy(own_redis) as proxy:
        made = Pair(own_redis, proxy)
        yield made
        made.close()


def test_a_feed_that_is_killed_costs_nothing_that_nobody_changed(pair: Pair) -> None:
    with pair.server.client() as client:
        for _ in range(3):
            pair.kill_feeds(client)
            wait_until(pair.heard, "the feeds are back")
    assert pair.losses() == 0
    assert pair.kept() == list(range(10))
    # And it hears on.
    pair.two.invalidate(tags="tag:3")
    wait_until(lambda: not pair.f.cache_contains(3), "a change is told")


def test_what_was_changed_in_the_gap_is_dropped_and_nothing_else(pair: Pair) -> None:
    pair.proxy.set("kill")
    wait_until(lambda: not pair.one.stats()["redis"]["coherence"]["heard"], "the feed is cut")
    pair.two.invalidate(tags="tag:1")
    pair.other.cache_invalidate(2)
    pair.other.cache_set("set", 3)
    pair.proxy.heal()
    wait_until(pair.heard, "it is back")
    assert pair.losses() == 0
    assert pair.kept() == [0, 4, 5, 6, 7, 8, 9]
    assert pair.f(3) == "set"


def test_a_whole_function_that_was_cleared_in_the_gap_is_dropped(pair: Pair) -> None:
    pair.proxy.set("kill")
    wait_until(lambda: not pair.one.stats()["redis"]["coherence"]["heard"], "the feed is cut")
    pair.other.cache_clear()
    pair.proxy.heal()
    wait_until(pair.heard, "it is back")
    assert pair.kept() == []


def test_too_many_changes_in_the_gap_are_everything(pair: Pair) -> None:
    pair.proxy.set("kill")
    wait_until(lambda: not pair.one.stats()["redis"]["coherence"]["heard"], "the feed is cut")
    cache = pair.two.cache("others")
    for start in range(0, 10_000, 500):
        cache.delete_many(range(start, start + 500))
    pair.proxy.heal()
    wait_until(pair.heard, "it is back")
    assert pair.losses() == 1
    assert pair.kept() == []


@pytest.mark.parametrize("how", ["flush", "evict"])
def test_a_log_that_is_gone_is_everything(pair: Pair, how: str) -> None:
    pair.proxy.set("kill")
    wait_until(lambda: not pair.one.stats()["redis"]["coherence"]["heard"], "the feed is cut")
    pair.two.invalidate(tags="tag:1")
    with pair.server.client() as client:
        if how == "flush":
            client.flushall()
        else:
            client.delete("~h:millpond")
    pair.two.invalidate(tags="tag:2")
    pair.proxy.heal()
    wait_until(pair.heard, "it is back")
    assert pair.losses() == 1
    assert pair.kept() == []


def test_a_restart_is_everything(pair: Pair) -> None:
    with pair.server.client() as client:
        client.save()
        log: Any = client.xlen("~h:millpond")
        assert log > 0
    pair.server.restart()
    with pair.server.client() as client:
        assert client.xlen("~h:millpond") == log
    wait_until(pair.heard, "they are back")
    assert pair.losses() == 1
    assert pair.kept() == []


def test_the_log_is_bounded(pair: Pair) -> None:
    cache = pair.two.cache("others")
    for start in range(0, 6000, 500):
        cache.delete_many(range(start, start + 500))
    with pair.server.client() as client:
        length: Any = client.xlen("~h:millpond")
    assert 4096 <= length < 4400


def test_without_the_right_to_ask_a_cut_costs_the_memory(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.acl_setuser(
            "app",
            enabled=True,
            passwords=["+s"],
            keys=["*"],
            channels=["*"],
            commands=["+@all", "-info"],
        )
        url = own_redis.url.replace("redis://", "redis://app:s@")
        with Engine(redis=url, database=False) as mill:
            f = mill.with_cache(namespace="test", ttl="10m")(str)
            wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"], "it hears")
            wait_until(lambda: f(1) and f.cache_contains(1), "it is kept")
            feeds = [one["id"] for one in client.client_list() if "t" in one["flags"]]
            for number in feeds:
                client.client_kill_filter(_id=number)
            wait_until(lambda: mill.stats()["redis"]["coherence"]["losses"] == 1, "it is dropped")


def hold_back_pushes(pair: Pair) -> None:
    """From now on what the first is told arrives 300 ms later, its answers at once."""
    pair.proxy.set("latency", way="down", to=pair.proxy.find(b"TRACKING"), seconds=0.3)


def test_an_answer_that_overtakes_a_push_keeps_nothing_alive(pair: Pair) -> None:
    with pair.server.client() as client:
        pair.kill_feeds(client)  # After it no stamp is known, and memory is as it was.
    wait_until(pair.heard, "the feeds are back")
    assert pair.kept() == list(range(10))
    hold_back_pushes(pair)
    pair.other.cache_clear()
    pair.f(11)  # Asks for the function's stamp, and is told the new one.
    wait_until(lambda: pair.kept() == [], "the push has come")


def test_stamps_that_are_made_before_a_push_keep_nothing_alive(pair: Pair) -> None:
    one, two = (mill.cache("shared", ttl="10m") for mill in (pair.one, pair.two))
    one.set("old", 1, tags="one")
    one.get("old")
    calls = one.stats().hits
    wait_until(lambda: one.get("old") == 1 and one.stats().hits > calls, "it is in memory")
    hold_back_pushes(pair)
    two.clear()
    one.set("new", 2, tags="two")  # Has the stamps of the cache and the tag made, in one step.
    wait_until(lambda: one.get("old") is None, "the push has come")


def test_a_value_that_was_replaced_before_its_set_was_answered_is_not_kept(
    own_redis: RedisServer,
) -> None:
    with FaultProxy(own_redis) as proxy:
        slow = RedisTier(f"redis://127.0.0.1:{proxy.port}", timeout=5.0)
        with (
            Engine(redis=slow, database=False, budget=20.0) as one,
            Engine(redis=own_redis.url, database=False) as two,
        ):
            replaced_in_between(own_redis, proxy, one.cache("shared"), two.cache("shared"))


def replaced_in_between(
    server: RedisServer, proxy: FaultProxy, one: TieredCache, two: TieredCache
) -> None:
    one.set("k", 0)
    wait_until(lambda: proxy.find(b"TRACKING"), "it listens")
    feeds = proxy.find(b"TRACKING")
    calls = [link.number for link in proxy.connections if link.open and link.number not in feeds]
    key = one._key("k")[0]
    with server.client() as client:
        first = client.get(key)
        proxy.set("latency", way="down", to=calls, seconds=0.5)
        setting = threading.Thread(target=one.set, args=("k", "mine"))
        setting.start()
        wait_until(lambda: client.get(key) != first, "it is stored", every=0.001)
        two.set("k", "theirs")
        assert setting.is_alive()
        setting.join()
    proxy.heal()
    assert one.get("k") == "theirs"
    # And a value that nobody replaces is kept, though the push may come before the answer.
    proxy.set("latency", way="down", to=calls, seconds=0.2)
    one.set("k", "last")
    proxy.heal()
    hits = one.stats().hits
    assert one.get("k") == "last"
    assert one.stats().hits == hits + 1


@pytest.mark.parametrize("kind", ["function", "cache"])
def test_what_is_set_before_anything_is_loaded_is_no_older_than_others(
    own_redis: RedisServer, kind: str
) -> None:
    with (
        Engine(redis=own_redis.url, database=False) as two,
        # Not opened: setting a value is the first that is done with it.
        closing(Engine(redis=own_redis.url, database=False)) as one,
    ):
        setters: list[Callable[[str], object]] = []
        getters: list[Callable[[], object]] = []
        for mill in (one, two):
            if kind == "cache":
                cache = mill.cache("shared", ttl="10m")
                setters.append(partial(cache.set, "k"))
                getters.append(partial(cache.get, "k"))
            else:

                @mill.with_cache(namespace="test", key=lambda: "k", ttl="10m")
                def f() -> str:
                    return "loaded"

                setters.append(f.cache_set)
                getters.append(f)
        setters[0]("one")
        setters[1]("two")
        wait_until(lambda: getters[0]() == "two", "it is told")


def test_what_has_no_stored_form_takes_the_old_value_away(pair: Pair) -> None:
    one, two = (mill.cache("shared") for mill in (pair.one, pair.two))
    one.set("k", 1)
    assert two.get("k") == 1
    value = threading.Lock()
    one.set_many({"k": value, "l": 2})
    assert one.get("k") is value
    wait_until(lambda: two.get("k") is None, "the other is told")
    assert two.get("l") == 2


def test_a_silent_feed_is_trusted_no_longer_than_the_grace_by_look_ups_either(
    own_redis: RedisServer,
) -> None:
    """Memory holds nothing here: stamps that are known are what would be old."""
    grace = 0.4
    with (
        FaultProxy(own_redis) as proxy,
        Engine(
            redis=f"redis://127.0.0.1:{proxy.port}", database=False, coherence_grace=grace
        ) as one,
        Engine(redis=own_redis.url, database=False) as two,
    ):
        calls: list[int] = []

        def body(x: int) -> int:
            calls.append(x)
            return len(calls)

        given: dict[str, Any] = {"namespace": "test", "tags": ("tag",), "ttl": "10m"}
        f = one.with_cache(**given, max_entries=0)(body)
        wait_until(lambda: one.stats()["redis"]["coherence"]["heard"], "it hears")
        f(1)
        wait_until(lambda: f(1) == f(1), "it is kept")
        old = f(1)
        proxy.set("freeze", way="down", to=proxy.find(b"TRACKING"))
        began = time.monotonic()
        assert two.invalidate(tags="tag").done
        wait_until(lambda: f(1) != old, "it is known")
        assert time.monotonic() - began < 1.0  # The bound, and what a busy machine takes.
