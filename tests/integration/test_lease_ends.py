"""Ends of leases that could not be told at once: others wait for nobody who has ended long ago."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from millpond import Engine
from millpond.cache.stage import Budget
from tests.integration.faults import FaultProxy
from tests.integration.leases import InPostgres, InRedis, Place
from tests.integration.servers import wait_until

LEASE = 12.0


@pytest.fixture
def threads() -> set[threading.Thread]:
    """Those that there were before."""
    return {*threading.enumerate()}


class Broken(NamedTuple):
    """An Engine whose tier is behind a proxy."""

    mill: Engine
    proxy: FaultProxy
    place: Place

    @property
    def keeper(self) -> Any:
        return self.mill._stages[0].keeper

    @property
    def stats(self) -> Any:
        return self.mill.stats()[self.mill._stages[0].tier.name]


@pytest.fixture(params=["redis", "postgresql"])
def broken(request: pytest.FixtureRequest) -> Iterator[Broken]:
    if request.param == "redis":
        place: Place = InRedis(request.getfixturevalue("redis_url"))
        with FaultProxy(request.getfixturevalue("redis_server")) as proxy:
            mill = Engine(redis=f"redis://127.0.0.1:{proxy.port}", database=False)
            yield Broken(mill.open(), proxy, place)
            mill.close()
        return
    server = request.getfixturevalue("postgres_server")
    database = request.getfixturevalue("postgres_database")
    with FaultProxy(server) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}"
        mill = Engine(database=url).open()
        yield Broken(mill, proxy, InPostgres(url, server, database))
        mill.close()


def test_an_end_is_told_once_its_tier_is_back(broken: Broken) -> None:
    mill, proxy, place = broken
    broken.keeper.seconds = LEASE
    opened = threading.Event()

    @mill.with_cache(namespace="test")
    def load(x: int) -> int:
        opened.wait(20)
        raise LookupError(x)

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(load, 1)
        wait_until(lambda: broken.stats["leases"]["taken"], "it has a lease")
        taken = time.monotonic()
        proxy.set("kill")
        opened.set()
        assert isinstance(call.exception(10), LookupError)
        wait_until(lambda: broken.stats["errors"], "the end was tried to be told")
        assert place.standing()
        proxy.heal()
        wait_until(lambda: not place.standing(), "the lease is given back", LEASE)
        assert time.monotonic() - taken < LEASE - 1, "it ran out by itself"


def test_an_end_that_nobody_waits_for_any_more_is_not_told(broken: Broken) -> None:
    broken.keeper.seconds = 0.5
    broken.proxy.set("kill")
    broken.keeper.give_back("k", 1, "failed")
    wait_until(lambda: sum(broken.stats["errors"].values()) > 1, "it was tried again")
    wait_until(lambda: not broken.keeper._ends, "it is given up", 5)


def test_a_tier_that_is_found_out_in_closing_is_probed_by_nobody(
    threads: set[threading.Thread], broken: Broken
) -> None:
    keeper = broken.keeper
    wait_until(lambda: broken.stats["coherence"]["heard"], "it is up")
    for _ in range(20):  # So that a few errors are no large share.
        assert keeper.stage.ask(Budget(1.0), "renew", [("k", 1)], 1.0) == [False]
    broken.proxy.set("kill")
    for _ in range(4):  # Of five errors in a row, at which it is out.
        assert keeper.stage.ask(Budget(1.0), "renew", [("k", 1)], 1.0) is None
    assert broken.stats["state"] == "closed"
    held = keeper.hold("k", 1)
    broken.mill.close()
    assert broken.stats["state"] == "open"
    held.end()  # Of a load that ends now; it was given back already.
    wait_until(lambda: not {*threading.enumerate()} - threads, "the threads are over")
