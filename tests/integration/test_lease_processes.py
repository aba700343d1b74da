"""One load for all processes: what workers of their own get, also where one dies or hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.integration.leases import LEASE, MARGIN, Place, callers, calls, open_gate
from tests.integration.line_worker import LineWorker
from tests.waiting import wait_until

pytestmark = pytest.mark.parametrize("place", ["redis", "postgresql", "pgbouncer"], indirect=True)


class Worker(LineWorker):
    """A process of lease_process.py."""

    def __init__(self, where: str, url: str, kind: str) -> None:
        super().__init__("lease_process", where, url, kind, seconds=30)

    def stats(self) -> Any:
        self.tell({"stats": True})
        return self.answer()

    def waits(self) -> bool:
        counts = self.stats()["leases"]
        return bool(counts["waited"] > counts["landed"] + counts["failed"] + counts["expired"])


Start = Callable[[int], list[Worker]]


@pytest.fixture
def start(redis_url: str, place: Place) -> Iterator[Start]:
    workers: list[Worker] = []

    def started(number: int) -> list[Worker]:
        new = [Worker(place.where, redis_url, ("threads", "tasks")[i % 2]) for i in range(number)]
        workers.extend(new)
        for worker in new:
            assert worker.line() == "ready\n"
        for worker in new:
            # The stamps of the function are made now. To others that is told as an invalidation,
            # and callers that come after one do not share the load that began before it.
            worker.tell({"call": ["plain:first"]})
            assert worker.answer()[0]["key"] == "plain:first"
        return new

    yield started
    for worker in workers:
        worker.close()


def led(client: redis.Redis, workers: list[Worker], key: str) -> Worker:
    """All workers call; when one loads and the others wait: the one."""
    for worker in workers:
        worker.tell({"call": [key]})
    wait_until(lambda: callers(client, key), "the first loads")
    [pid] = callers(client, key)
    leader = next(worker for worker in workers if worker.pid == pid)
    others = [worker for worker in workers if worker is not leader]
    wait_until(lambda: all(worker.waits() for worker in others), "the others wait")
    return leader


def test_each_value_is_computed_once(start: Start, client: redis.Redis, place: Place) -> None:
    workers = start(4)
    keys = [f"plain:{i}" for i in range(8)]
    for round_ in range(4):
        named = [f"{key}.{round_}" for key in keys]
        for worker in workers:
            worker.tell({"call": named * 3})
        answers = [worker.answer() for worker in workers]
        assert [value["key"] for value in answers[0]] == named * 3
        assert all(answer == answers[0] for answer in answers)
    assert sorted(call.split()[0] for call in calls(client)) == sorted(
        f"{key}.{round_}" for key in keys for round_ in range(4)
    )
    counts = [worker.stats()["leases"] for worker in workers]
    assert sum(count["taken"] for count in counts) == 32 + 1
    assert all(count["failed"] == count["expired"] == count["lost"] == 0 for count in counts)
    assert sum(count["waited"] for count in counts) == sum(count["landed"] for count in counts)
    assert not place.standing()


def test_those_who_wait_get_the_value_at_once(start: Start, client: redis.Redis) -> None:
    workers = start(4)
    leader = led(client, workers, "gate:1")
    open_gate(client, "gate:1", 1)
    assert [worker.answer()[0]["by"] for worker in workers] == [leader.pid] * 4
    assert len(calls(client)) == 1


@pytest.mark.parametrize("key", ["raise:1", "refuse:1"])
def test_a_load_that_helps_nobody_makes_no_queue(
    start: Start, client: redis.Redis, place: Place, key: str
) -> None:
    workers = start(4)
    leader = led(client, workers, key)
    open_gate(client, key, 1)
    # The others are all in their functions before any of these is allowed to end.
    wait_until(lambda: len(callers(client, key)) == 4, "all others call their functions")
    assert sorted(callers(client, key)) == sorted(worker.pid for worker in workers)
    open_gate(client, key, 3)
    answers = [worker.answer()[0] for worker in workers]
    if key == "raise:1":
        assert answers == [{"error": key}] * 4
    else:
        assert [answer["by"] for answer in answers] == [worker.pid for worker in workers]
    for worker in workers:
        counts = worker.stats()["leases"]
        assert counts["waited"] == counts["failed"] + counts["expired"] == (worker is not leader)
        assert counts["landed"] == 0
    wait_until(lambda: not place.standing(), "no lease is left")


def test_a_holder_that_is_killed_is_replaced_once(start: Start, client: redis.Redis) -> None:
    workers = start(4)
    leader = led(client, workers, "gate:1")
    killed = time.monotonic()
    leader.process.kill()
    leader.process.wait()
    workers.remove(leader)
    wait_until(lambda: len(callers(client, "gate:1")) == 2, "another loads", LEASE + MARGIN)
    open_gate(client, "gate:1", 10)  # The server may not know yet that the first has gone.
    successor = callers(client, "gate:1")[1]
    assert [worker.answer()[0]["by"] for worker in workers] == [successor] * 3
    assert time.monotonic() - killed < LEASE + MARGIN
    assert len(calls(client)) == 2
    leader.process.communicate()


def test_a_holder_whose_lease_was_renewed_is_waited_for_no_longer(
    start: Start, client: redis.Redis, place: Place
) -> None:
    """A load of minutes that is killed: the others wait for what was left of its lease."""
    workers = start(4)
    leader = led(client, workers, "gate:1")
    taken = time.monotonic()
    assert len(place.standing()) == 1
    wait_until(lambda: time.monotonic() - taken > LEASE + 1, "no lease lasts as long as that")
    assert len(callers(client, "gate:1")) == 1, "it was renewed"
    leader.process.kill()
    leader.process.wait()
    [left] = place.standing()
    killed = time.monotonic()
    assert 0 < left <= LEASE
    workers.remove(leader)
    wait_until(lambda: len(callers(client, "gate:1")) == 2, "another loads", left + MARGIN)
    assert time.monotonic() - killed > left - 0.5, "nobody knew before that it had died"
    open_gate(client, "gate:1", 10)
    successor = callers(client, "gate:1")[1]
    assert [worker.answer()[0]["by"] for worker in workers] == [successor] * 3
    assert len(calls(client)) == 2
    leader.process.communicate()


def test_a_holder_that_was_frozen_overwrites_nothing(start: Start, client: redis.Redis) -> None:
    workers = start(3)
    leader = led(client, workers, "gate:1")
    os.kill(leader.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: len(callers(client, "gate:1")) == 2, "another loads", LEASE + MARGIN)
        successor = callers(client, "gate:1")[1]
        open_gate(client, "gate:1", 2)
        others = [worker for worker in workers if worker is not leader]
        assert [worker.answer()[0]["by"] for worker in others] == [successor] * 2
    finally:
        os.kill(leader.pid, signal.SIGCONT)
    open_gate(client, "gate:1", 2)
    assert leader.answer()[0]["by"] == leader.pid
    assert leader.stats()["fills_refused"] == 1
    # Whoever asks now gets what the successor stored.
    [newcomer] = start(1)
    newcomer.tell({"call": ["gate:1"]})
    assert newcomer.answer()[0]["by"] == successor
