"""A feed of a Redis that is cut and comes back: what nobody changed meanwhile stays in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from millpond import Engine
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
