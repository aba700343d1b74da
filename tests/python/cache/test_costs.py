"""Dollars are added up as they were given."""

import threading
from typing import Any

import pytest

import millpond as mp
from millpond.errors import ConfigurationError
from tests.python.cache.faces import ASYNC, SYNC, Counted
from tests.python.flights.flight_store import until

COSTS = [0.002, 0.1, 0.7, 0.00001234, 19.99, 3.0]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_what_a_call_costs_is_spent_and_saved_to_the_digit(kind: str, cost: float) -> None:
    for given in (cost, lambda _result: cost):
        counted = Counted(kind, cost=given)
        counted(1)
        counted(1)
        info = counted.cached.cache_info()
        assert (info.cost_spent, info.cost_saved) == (cost, cost)


@pytest.mark.parametrize("cost", COSTS)
def test_a_cache_knows_the_cost_of_each_value(cost: float) -> None:
    cache = mp.Cache(max_entries=10)
    cache.set("a", 1, cost=cost)
    cache.get("a")
    assert cache.stats().cost_saved == cost
    cache.incr("a")
    cache.get("a")
    assert cache.stats().cost_saved == cost + cost
    cache.get_or_load("b", str.upper, cost=cost)
    assert cache.stats().cost_spent == cost


@pytest.mark.parametrize("cost", COSTS)
def test_a_snapshot_brings_it_back(cost: float) -> None:
    cache, other = mp.Cache(), mp.Cache()
    cache.set(b"a", b"1", cost=cost)
    other.restore(cache.dump())
    other.get(b"a")
    assert other.stats().cost_saved == cost


def test_who_waits_for_a_load_saves_what_it_costs() -> None:
    begun, go_on = threading.Event(), threading.Event()

    @mp.with_cache(cost=0.123456789012)
    def slow() -> int:
        begun.set()
        assert go_on.wait(60)
        return 1

    threads = [threading.Thread(target=slow) for _ in range(2)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    until(lambda: slow.cache_info().coalesced == 1)
    go_on.set()
    for thread in threads:
        thread.join(60)
    info = slow.cache_info()
    assert (info.cost_spent, info.cost_saved) == (0.123456789012, 0.123456789012)
    slow()
    assert slow.cache_info().cost_saved == 0.123456789012 + 0.12345679


@pytest.mark.parametrize("cost", [-0.01, float("inf"), float("nan"), 1.1e15])
def test_a_cost_outside_of_what_is_allowed_is_refused(cost: Any) -> None:
    for use in (
        lambda: mp.Cache().set("a", 1, cost=cost),
        lambda: mp.with_cache(cost=cost)(len),
        lambda: mp.Cache().get_or_load("a", str.upper, cost=cost),
    ):
        with pytest.raises(ConfigurationError, match=r"^cost=.* .* dollars from 0 to 1e15"):
            use()
