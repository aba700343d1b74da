"""`invalidate(confirm=n)`: what replicas have outlives a failover; what they lack is not done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millpond import Engine
from millpond.errors import ConfigurationError, OptionTypeError, TierError
from millpond.io.deadline import Deadline
from millpond.tiers.redis import RedisTier
from tests.integration.faces import RedisFaces
from tests.integration.mills import counted
from tests.integration.redis_cluster import RedisCluster
from tests.integration.redis_sentinel import RedisSentinel
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until

NAME = "0123456789abcdef" * 2


class Pair:
    """A primary, its replica, and an Engine."""

    def __init__(self, primary: RedisServer, replica: RedisServer, mill: Engine) -> None:
        self.primary = primary
        self.replica = replica
        self.mill = mill

    @property
    def pending(self) -> int:
        return int(self.mill.stats()["redis"]["pending"])


def acknowledged(primary: RedisServer) -> bool:
    with primary.client() as client:
        client.incr("marker")  # Of what a connection has not written, any replica has all.
        return bool(client.wait(1, 100) == 1)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with RedisServer() as primary, RedisServer(replica_of=primary) as replica:
        # A new replica may say that it follows up to a second before its primary counts on it.
        wait_until(lambda: acknowledged(primary), "the replica follows")
        with Engine(redis=primary.url, database=False) as mill:
            yield Pair(primary, replica, mill)


def test_the_outcome_says_how_many_replicas_have_it(face: Any, pair: Pair) -> None:
    outcome = face.invalidate(pair.mill, tags="a", confirm=1)
    assert (outcome.done, outcome.replicas) == (True, {"redis": 1})
    assert repr(outcome) == "<Outcome 0 in memory, redis: done (1)>"
    function = face.function(pair.mill, lambda x: x)
    face.call(function, 1)
    for given in ({"function": function}, {"namespace": "test"}, {"prefix": "test:"}):
        assert face.invalidate(pair.mill, **given, confirm=1).replicas == {"redis": 1}
    without = face.invalidate(pair.mill, tags="a")
    assert (without.done, without.replicas) == (True, {})
    assert pair.pending == 0


def test_what_a_replica_lacks_is_pending_until_it_has_it(face: Any, pair: Pair) -> None:
    calls, body = counted()
    function = face.function(pair.mill, body, tags=("user:{x}",))
    face.call(function, 7)
    pair.replica.cut_link(pair.primary)
    given = {"tags": ["user:7", "user:8"], "confirm": 1, "confirm_timeout": 0.3}
    outcome = face.invalidate(pair.mill, **given)
    assert (outcome.done, outcome.tiers) == (False, {"redis": "pending"})
    assert outcome.replicas == {"redis": 0}
    assert pair.pending == 2
    # The server itself has been told, so it is read, and what it has stays.
    assert face.call(function, 7)["call"] == 2
    function._drop_entries()
    for _ in range(3):
        await_another_try(pair.mill)
    assert face.call(function, 7)["call"] == 2
    assert pair.pending == 2
    pair.replica.mend_link()
    wait_until(lambda: pair.pending == 0, "the replica has it")
    assert face.invalidate(pair.mill, tags="user:7", confirm=1).done
    assert len(calls) == 2
    assert pair.mill.stats()["redis"]["outages"]["count"] == 0


def await_another_try(mill: Engine) -> None:
    before = asked(mill)
    wait_until(lambda: asked(mill) > before, "it is asked again")


def asked(mill: Engine) -> int:
    return int(mill.stats()["redis"]["operations"].get("confirm", {"calls": 0})["calls"])


def test_two_are_more_than_one(face: Any, pair: Pair) -> None:
    outcome = face.invalidate(pair.mill, tags="a", confirm=2, confirm_timeout=3)
    assert (outcome.done, outcome.replicas) == (False, {"redis": 1})
    with RedisServer(replica_of=pair.primary):
        wait_until(lambda: pair.pending == 0, "the second replica has it")


def test_what_the_tier_could_not_be_told_is_confirmed_when_it_was(face: Any, pair: Pair) -> None:
    pair.primary.freeze()
    outcome = face.invalidate(pair.mill, tags="a", confirm=1)
    assert (outcome.tiers, outcome.replicas) == ({"redis": "pending"}, {"redis": 0})
    assert pair.pending == 1
    pair.primary.thaw()
    assert asked(pair.mill) == 0
    calls = iter(range(1000))
    function = face.function(pair.mill, lambda x: x)
    # It is told before it is read, and asked in the background whether its replica knows.
    wait_until(lambda: face.call(function, next(calls)) >= 0 and asked(pair.mill) > 0, "told")
    wait_until(lambda: pair.pending == 0, "confirmed")


@pytest.mark.parametrize("confirm", [0, 1])
def test_what_a_failover_loses_was_not_confirmed(face: Any, confirm: int) -> None:
    """Where it was asked for, who invalidated sees to it that the new primary knows it too."""
    _, body = counted()
    with RedisSentinel() as group:
        url = "redis+sentinel://" + ",".join(f"{h}:{p}" for h, p in group.addresses)
        url += f"/{group.service}"
        with Engine(redis=url, database=False) as one, Engine(redis=url, database=False) as two:
            first, second = (face.function(mill, body, tags=("t",)) for mill in (one, two))
            face.call(first, 1)
            before, [replica] = group.primary, group.replicas
            wait_until(lambda: replica.offset() >= before.offset(), "the replica has the value")
            replica.cut_link(before)
            outcome = face.invalidate(one, tags="t", confirm=confirm, confirm_timeout=0.3)
            assert outcome.done == (confirm == 0)
            before.kill()
            group.await_another(before)
            wait_until(lambda: both_back(one, two), "both have found the new primary")
            if confirm:
                wait_until(lambda: face.call(second, 1)["call"] > 1, "the new primary knows it")
                return
            second._drop_entries()
            assert face.call(second, 1)["call"] == 1, "nothing was lost that could be"


def both_back(*mills: Engine) -> bool:
    return all(mill.stats()["redis"]["state"] == "closed" for mill in mills) and all(
        mill.stats()["redis"]["coherence"]["heard"] for mill in mills
    )


def test_a_confirmed_invalidation_outlives_a_failover(face: Any) -> None:
    _, body = counted()
    with RedisSentinel() as group:
        url = "redis+sentinel://" + ",".join(f"{h}:{p}" for h, p in group.addresses)
        url += f"/{group.service}"
        one = Engine(redis=url, database=False)
        first = face.function(one, body, tags=("t",))
        face.call(first, 1)
        assert face.invalidate(one, tags="t", confirm=1).replicas == {"redis": 1}
        one.close()  # So nobody could tell the new primary later.
        group.failover(kill=True)
        with Engine(redis=url, database=False) as two:
            second = face.function(two, body, tags=("t",))
            assert face.call(second, 1)["call"] == 2
            assert two.stats()["redis"]["operations"]["fetch"]["calls"] > 0


def test_every_node_of_a_cluster_confirms_its_part(face: Any) -> None:
    _, body = counted()
    with RedisCluster() as cluster:
        nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        with (
            Engine(redis=f"redis+cluster://{nodes}", database=False) as one,
            Engine(redis=f"redis+cluster://{nodes}", database=False) as two,
        ):
            first, second = (face.function(mill, body, tags=("tag:{x}",)) for mill in (one, two))
            for x in range(20):
                face.call(first, x)
            tags = [f"tag:{x}" for x in range(20)]
            outcome = face.invalidate(one, tags=tags, confirm=1)
            assert (outcome.done, outcome.replicas) == (True, {"redis": 1})
            master = cluster.master_of("any")
            cut = cluster.cut_replica_link(master)
            outcome = face.invalidate(one, tags=tags, confirm=1, confirm_timeout=0.3)
            assert (outcome.done, outcome.replicas) == (False, {"redis": 0})
            cluster.mend_replica_link(cut)
            wait_until(lambda: one.stats()["redis"]["pending"] == 0, "the replica has it")
            assert face.invalidate(one, tags=tags, confirm=1).done
            one.close()
            cluster.kill_master("any")
            wait_until(lambda: both_back(two), "the new primary is found")
            assert all(face.call(second, x)["call"] > 20 for x in range(20))


def test_a_stamp_that_was_lost_comes_back_and_a_later_one_stays(redis_faces: RedisFaces) -> None:
    with RedisServer() as server, RedisServer(replica_of=server):
        wait_until(lambda: acknowledged(server), "the replica follows")
        face = redis_faces(server.url)
        [stamp] = face.bump([NAME])
        with server.client() as client:
            client.delete(f"~g:app:{NAME}")
            client.script_flush()
        assert face.confirm([(NAME, stamp)], 1) == 1
        assert face.stamp([NAME]) == [stamp]
        assert face.bump([NAME]) > [stamp]
        later = face.stamp([NAME])
        assert face.confirm([(NAME, stamp)], 1) == 1
        assert face.stamp([NAME]) == later
        face.seconds = 0.5
        assert face.confirm([(NAME, stamp)], 2) == 1


def test_who_waits_for_replicas_holds_up_nobody() -> None:
    """In an event loop all tasks speak over one connection, on which a WAIT would stand still."""
    import asyncio
    import time

    with RedisServer() as server:
        tier = RedisTier(server.url, namespace="app")

        async def main() -> float:
            [stamp] = await tier.abump([NAME], Deadline.after(5))
            waits = asyncio.ensure_future(tier.aconfirm([(NAME, stamp)], 1, Deadline.after(1.0)))
            await asyncio.sleep(0)
            longest = 0.0
            while not waits.done():
                began = time.monotonic()
                await tier.afetch(["app:f:1:a"], [], Deadline.after(5))
                longest = max(longest, time.monotonic() - began)
            assert await waits == 0
            await tier.aclose()
            return longest

        assert asyncio.run(main()) < 0.5


def test_a_user_who_may_not_wait_is_told_and_uses_the_tier_all_the_same(
    face: Any, caplog: pytest.LogCaptureFixture
) -> None:
    acl = ("user default on nopass ~* &* +@all -wait",)
    with RedisServer(acl=acl) as server, Engine(redis=server.url, database=False) as mill:
        for _ in range(10):
            outcome = face.invalidate(mill, tags="a", confirm=1)
            assert outcome.tiers == {"redis": "pending"}
        assert mill.stats()["redis"]["state"] == "closed"
        said = [one for one in caplog.records if one.levelname == "ERROR"]
        assert len(said) == 1
        assert "NOPERM" in said[0].message


def test_a_replica_cannot_confirm(redis_faces: RedisFaces) -> None:
    with RedisServer() as server, RedisServer(replica_of=server) as replica:
        wait_until(replica.linked, "the replica follows")
        with pytest.raises(TierError) as caught:
            redis_faces(replica.url).confirm([(NAME, 1)], 1)
        assert caught.value.kind == "not_ready"


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"confirm": -1}, ConfigurationError, "confirm=-1"),
        ({"confirm": 2**31}, ConfigurationError, "confirm="),
        ({"confirm": True}, OptionTypeError, "confirm=True"),
        ({"confirm": "1"}, OptionTypeError, "confirm='1'"),
        ({"confirm": None}, OptionTypeError, "confirm=None"),
        ({"confirm": 1, "confirm_timeout": None}, ConfigurationError, "confirm_timeout"),
        ({"confirm": 1, "confirm_timeout": 0}, ConfigurationError, "confirm_timeout"),
        ({"confirm": 1}, ConfigurationError, "no tier has replicas.*sqlite"),
    ],
)
def test_what_cannot_be_confirmed_is_refused(
    face: Any, tmp_path: Path, given: dict[str, Any], error: type[Exception], says: str
) -> None:
    with Engine(data_dir=str(tmp_path)) as mill, pytest.raises(error, match=says):
        face.invalidate(mill, tags="a", **given)
