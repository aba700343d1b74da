"""Ends of leases that could not be told at once: others wait for nobody who has ended long ago."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from millpond import Engine
from millpond.cache.stage import Budget
from tests.integration.faults import FaultProxy
from tests.integration.redis_server import RedisServer
from tests.integration.servers import wait_until

LEASE = 12.0


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server) as proxy:
        yield proxy


def test_an_end_is_told_once_its_tier_is_back(
    redis_url: str, redis_server: RedisServer, proxy: FaultProxy
) -> None:
    mill = Engine(redis=f"redis://127.0.0.1:{proxy.port}", database=False).open()
    keeper: Any = mill._stages[0].keeper
    keeper.seconds = LEASE
    opened = threading.Event()

    @mill.with_cache(namespace="test")
    def load(x: int) -> int:
        opened.wait(20)
        raise LookupError(x)

    with redis_server.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(load, 1)
        wait_until(lambda: client.keys("~l:*"), "it has a lease")
        taken = time.monotonic()
        proxy.set("kill")
        opened.set()
        assert isinstance(call.exception(10), LookupError)
        wait_until(lambda: mill.stats()["redis"]["errors"], "the end was tried to be told")
        assert client.keys("~l:*")
        proxy.heal()
        wait_until(lambda: not client.keys("~l:*"), "the lease is given back", LEASE)
        assert time.monotonic() - taken < LEASE - 1, "it ran out by itself"
    mill.close()


def test_an_end_that_nobody_waits_for_any_more_is_not_told(proxy: FaultProxy) -> None:
    mill = Engine(redis=f"redis://127.0.0.1:{proxy.port}", database=False).open()
    keeper: Any = mill._stages[0].keeper
    keeper.seconds = 0.5
    proxy.set("kill")
    keeper.give_back("k", 1, "failed")
    wait_until(lambda: sum(mill.stats()["redis"]["errors"].values()) > 1, "it was tried again")
    wait_until(lambda: not keeper._ends, "it is given up", 5)
    mill.close()


def test_a_tier_that_is_found_out_in_closing_is_probed_by_nobody(proxy: FaultProxy) -> None:
    before = {*threading.enumerate()}
    mill = Engine(redis=f"redis://127.0.0.1:{proxy.port}", database=False).open()
    keeper: Any = mill._stages[0].keeper
    wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"], "it is up")
    for _ in range(20):  # So that a few errors are no large share.
        assert keeper.stage.ask(Budget(1.0), "renew", [("k", 1)], 1.0) == [False]
    proxy.set("kill")
    for _ in range(4):  # Of five errors in a row, at which it is out.
        assert keeper.stage.ask(Budget(1.0), "renew", [("k", 1)], 1.0) is None
    assert mill.stats()["redis"]["state"] == "closed"
    keeper.hold("k", 1)
    mill.close()
    assert mill.stats()["redis"]["state"] == "open"
    wait_until(lambda: not {*threading.enumerate()} - before, "the threads are over")
