"""The leases of a tier: one worker has one at a time, and only its holder stores."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from millpond.io.redis_url import RedisSettings
from millpond.tiers.base import Entry, Lease
from millpond.tiers.postgres import PostgresTier
from millpond.tiers.redis import RedisTier
from millpond.tiers.sqlite import SQLiteTier
from tests.integration.faces import Face
from tests.integration.servers import RedisCluster, RedisServer
from tests.waiting import wait_until


@pytest.fixture(params=["redis", "cluster", "sqlite", "postgresql", "pgbouncer"], scope="module")
def where(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Any]]:
    """Makes tiers that share their leases."""
    if request.param == "cluster":
        with RedisCluster(replicas=0) as cluster:
            yield partial(RedisTier, RedisSettings(nodes=tuple(cluster.addresses)))
    elif request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        yield partial(PostgresTier, server.url, max_connections=4)
    elif request.param == "pgbouncer":
        server = request.getfixturevalue("pgbouncer")
        yield partial(PostgresTier, server.url, pgbouncer=True, max_connections=4)
    elif request.param == "sqlite":
        yield partial(SQLiteTier, tmp_path_factory.mktemp("leases"), timeout=5.0)
    else:
        with RedisServer() as server:
            yield partial(RedisTier, server.url)


@pytest.fixture(params=["sync", "async"])
def faces(request: pytest.FixtureRequest, where: Callable[[], Any]) -> Iterator[list[Face]]:
    runner = asyncio.Runner() if request.param == "async" else None
    made = [Face(where(), runner) for _ in range(2)]
    yield made
    for face in made:
        if runner:
            runner.run(face.tier.aclose())
        else:
            face.tier.close()
    if runner:
        runner.close()


def fresh() -> str:
    return f"lease:f:1:{secrets.token_hex(8)}"


def test_a_lease_is_one_workers_at_a_time(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    assert one.acquire(key, 1, 60.0, b"") == Lease("held", 1, 60.0)
    assert one.acquire(key, 1, 60.0, b"") == Lease("held", 1, 60.0)
    taken = two.acquire(key, 2, 60.0, b"")
    assert (taken.state, taken.fence) == ("taken", 1)
    assert 50 < taken.left <= 60
    assert two.renew([(key, 2)], 60.0) == [False]
    assert two.release([(key, 2)], "failed") == [False]
    assert one.renew([(key, 1)], 90.0) == [True]
    assert 80 < two.acquire(key, 2, 60.0, b"").left <= 90
    assert one.release([(key, 1)], "failed") == [True]
    assert one.renew([(key, 1)], 60.0) == [False]
    assert two.acquire(key, 2, 60.0, b"").state == "held"


def test_a_lease_ends_by_itself(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    one.acquire(key, 1, 0.05, b"")
    wait_until(lambda: two.acquire(key, 2, 60.0, b"").state == "held", "the lease ends")
    assert one.renew([(key, 1)], 60.0) == [False]


def test_only_its_holder_stores(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    one.acquire(key, 1, 60.0, b"")
    assert two.store([Entry(key, b"two", 60.0, 0, 2)]) == [False]
    assert one.store([Entry(key, b"one", 60.0, 0, 1)]) == [True]
    assert one.store([Entry(key, b"late", 60.0, 0, 1)]) == [False]
    assert two.fetch([key], []).data == [b"one"]
    assert two.acquire(key, 2, 60.0, b"").state == "landed"


def test_a_store_that_an_invalidation_refuses_ends_the_lease(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    [guard] = one.fetch([key], []).guards
    one.acquire(key, 1, 60.0, b"")
    two.delete([key])
    assert one.store([Entry(key, b"one", 60.0, guard, 1)]) == [False]
    assert two.acquire(key, 2, 60.0, b"").state == "held"


def test_an_entry_that_was_seen_has_not_landed(faces: list[Face]) -> None:
    one, two = faces
    key = fresh()
    one.store([Entry(key, b"old entry", 60.0)])
    assert one.acquire(key, 1, 60.0, b"").state == "landed"
    assert one.acquire(key, 1, 60.0, b"old").state == "held"
    assert two.acquire(key, 2, 60.0, b"old").state == "taken"
    assert one.store([Entry(key, b"new entry", 60.0, 0, 1)]) == [True]
    assert two.acquire(key, 2, 60.0, b"old").state == "landed"
    one.delete([key])
    assert two.acquire(key, 2, 60.0, b"new").state == "held"


def test_who_found_a_lease_taken_is_told_how_it_ended(faces: list[Face]) -> None:
    """By asking again, in a tier that keeps ends; the others tell it over their feeds."""
    one, two = faces
    if not one.tier.ends_kept:
        return
    told: list[tuple[str, int, str]] = []

    class Told:
        def over(self, key: str, fence: int, outcome: str) -> None:
            told.append((key, fence, outcome))

        def up(self, yes: bool) -> None:
            pytest.fail("nothing is told unasked")

    two.tier.tell(Told())
    for fence, outcome in ((1, "failed"), (3, "none")):
        key = fresh()
        one.acquire(key, fence, 60.0, b"")
        assert two.acquire(key, 2, 60.0, b"").state == "taken"
        assert one.release([(key, fence)], outcome) == [True]
        assert two.acquire(key, 2, 60.0, b"") == Lease("taken", fence, 0.0)
        assert told.pop() == (key, fence, outcome)
        # Who has not waited, or has been told, takes it.
        assert two.acquire(key, 2, 60.0, b"").state == "held"
    key = fresh()
    one.acquire(key, 1, 60.0, b"")
    one.release([(key, 1)], "failed")
    assert two.acquire(key, 2, 60.0, b"").state == "held"
    assert told == []
