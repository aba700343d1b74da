"""One load for all processes where there is no Redis: they share a database."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.leases import LEASE, MARGIN, Place
from tests.integration.line_worker import LineWorker
from tests.waiting import wait_until

Start = Callable[[int], list[LineWorker]]


pytestmark = pytest.mark.parametrize("place", ["sqlite", "postgresql", "pgbouncer"], indirect=True)


@pytest.fixture
def start(tmp_path: Path, place: Place) -> Iterator[Start]:
    workers: list[LineWorker] = []
    (tmp_path / "calls").touch()

    def started(number: int) -> list[LineWorker]:
        new = [LineWorker("lease_crowd", place.where, str(tmp_path)) for _ in range(number)]
        workers.extend(new)
        for worker in new:
            assert worker.line() == "ready\n"
        return new

    yield started
    for worker in workers:
        worker.close()


def callers(folder: Path, key: str) -> list[int]:
    lines = [line.split() for line in (folder / "calls").read_text().splitlines()]
    return [int(pid) for called, pid in lines if called == key]


def test_eight_processes_compute_each_value_once(start: Start, tmp_path: Path) -> None:
    workers = start(8)
    for round_ in range(5):
        keys = [f"plain:{round_}.{i}" for i in range(8)]
        for worker in workers:
            worker.tell(keys)
        answers = [worker.answer() for worker in workers]
        assert all(answer == answers[0] for answer in answers)
        assert [value["key"] for value in answers[0]] == keys
    lines = (tmp_path / "calls").read_text().splitlines()
    assert set(Counter(line.split()[0] for line in lines).values()) == {1}
    assert len(lines) == 40


def test_a_holder_that_is_killed_costs_its_lease_and_is_replaced_once(
    start: Start, tmp_path: Path
) -> None:
    workers = start(8)
    for worker in workers:
        worker.tell(["gate:1"])
    wait_until(lambda: callers(tmp_path, "gate:1"), "one loads")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.5 * LEASE, "its lease is renewed")
    [pid] = callers(tmp_path, "gate:1")
    leader = next(worker for worker in workers if worker.pid == pid)
    leader.process.kill()
    leader.process.wait()
    workers.remove(leader)
    wait_until(lambda: len(callers(tmp_path, "gate:1")) == 2, "another loads", LEASE + MARGIN)
    (tmp_path / "gate:1").touch()
    successor = callers(tmp_path, "gate:1")[1]
    assert [worker.answer()[0]["by"] for worker in workers] == [successor] * 7
    assert len(callers(tmp_path, "gate:1")) == 2


def test_a_load_that_fails_makes_no_queue(start: Start, tmp_path: Path) -> None:
    workers = start(4)
    leader, *others = workers
    leader.tell(["gate:raise"])
    wait_until(lambda: callers(tmp_path, "gate:raise"), "the first loads")
    for worker in others:
        worker.tell(["gate:raise"])
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.5, "the others wait")
    assert len(callers(tmp_path, "gate:raise")) == 1
    (tmp_path / "gate:raise").touch()
    opened = time.monotonic()
    assert [worker.answer() for worker in workers] == [[{"error": "gate:raise"}]] * 4
    assert time.monotonic() - opened < LEASE, "nobody waited for a lease to run out"
    assert sorted(callers(tmp_path, "gate:raise")) == sorted(one.pid for one in workers)
