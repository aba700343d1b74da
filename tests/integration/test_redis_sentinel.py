"""The Redis tier where Sentinels say who is the primary."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from millpond.errors import TierError
from millpond.io import redis_feed
from millpond.io.deadline import Deadline
from millpond.io.redis import Server
from millpond.io.redis_feed import Feed
from millpond.io.redis_sentinel import SentinelFinder
from millpond.io.redis_url import RedisSettings
from millpond.tiers.base import Entry
from millpond.tiers.redis import RedisTier
from tests.integration.faces import Face, RedisFaces
from tests.integration.servers import RedisSentinel, RedisServer, wait_until


@pytest.fixture(scope="module")
def group() -> Iterator[RedisSentinel]:
    with RedisSentinel(replicas=2) as group:
        yield group


def url(group: RedisSentinel) -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in group.addresses)
    return f"redis+sentinel://{hosts}/{group.service}"


def is_replica(server: RedisServer) -> bool:
    try:
        with server.client() as client:
            role: Any = client.role()
    except redis.RedisError:  # a Sentinel ends its connections when it makes it a replica
        return False
    return bool(role[0] == b"slave")


def works(face: Face, key: str = "k") -> bool:
    try:
        face.write([Entry(key, b"data", 60.0)])
    except TierError:
        return False
    return bool(face.fetch([key], []).data == [b"data"])


def test_it_speaks_to_the_primary(redis_faces: RedisFaces, group: RedisSentinel) -> None:
    face = redis_faces(url(group))
    face.write([Entry("who", b"primary", 60.0)])
    with group.primary.client() as client:
        assert client.get("who") == b"primary"


def test_it_follows_a_failover_and_leaves_who_was_the_primary(redis_faces: RedisFaces) -> None:
    with RedisSentinel() as group:
        face = redis_faces(url(group))
        assert works(face)
        before = group.primary
        before.freeze()
        wait_until(lambda: group.primary is not before, "there is another primary")
        face.seconds = 0.05
        wait_until(lambda: works(face), "it follows", seconds=2)
        with group.primary.client() as client:
            assert client.get("k") == b"data"
        # It comes back, believes itself the primary for a moment, and is made a replica.
        before.thaw()
        wait_until(lambda: is_replica(before), "it is a replica now")
        wait_until(lambda: works(face, "l"), "all is well", seconds=2)
        with group.primary.client() as client:
            assert client.get("l") == b"data"


def test_who_hung_and_was_replaced_is_asked_no_more(redis_faces: RedisFaces) -> None:
    with RedisSentinel() as group:
        face = redis_faces(url(group))
        assert works(face)
        pool = face.tier._router.single.pool
        at = Deadline.after(5).at
        for started in [pool.start(b"PING\r\n", 1, at) for _ in range(3)]:
            started.finish()
        before = group.primary
        before.freeze()
        face.seconds = 0.05
        with pytest.raises(TierError):
            face.fetch(["k"], [])
        with group.await_another(before).client() as client:
            client.set("k", b"new")
        # It goes on, and believes itself the primary until a Sentinel tells it.
        before.thaw()
        face.seconds = 5.0
        assert face.fetch(["k"], []).data == [b"new"]


def test_who_hung_while_it_was_connected_to_and_was_replaced_is_not_the_primary(
    redis_faces: RedisFaces,
) -> None:
    with RedisSentinel() as group:
        before = group.primary
        with before.client() as client:
            client.set("k", b"old")
        face = redis_faces(url(group), timeout=30.0)
        face.seconds = 30.0
        found: list[Any] = []

        def fetch() -> None:
            try:
                found.append(face.fetch(["k"], []).data)
            except TierError as error:
                found.append(error.kind)

        before.freeze()
        thread = threading.Thread(target=fetch)
        thread.start()  # It is told where the primary is, and that does not answer.
        with group.await_another(before).client() as client:
            client.set("k", b"new")
        assert thread.is_alive()
        before.thaw()
        thread.join()
        assert found == ["not_ready"]
        assert face.fetch(["k"], []).data == [b"new"]


class Begun:
    """Told of a feed: to which port it was connected whenever it began."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.feed: Feed | None = None

    def begun(self, subscribed: bool, missed: object) -> None:
        assert self.feed is not None
        assert self.feed._sock is not None
        self.ports.append(self.feed._sock.getpeername()[1])

    def touched(self, keys: object) -> None:
        pass

    def carried(self, sent: float) -> None:
        pass

    def published(self, text: bytes) -> None:
        pass

    def ended(self) -> None:
        pass


def test_a_feed_listens_to_nobody_who_hung_and_was_replaced(
    group: RedisSentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_feed, "_CONNECT", 30.0)  # It waits for as long as it takes here.
    settings = RedisSettings.from_url(url(group))
    server = Server(settings, SentinelFinder(settings, "redis"))
    before = group.primary
    before.freeze()
    told = Begun()
    told.feed = Feed(server, b"~g:", told)  # It is connecting when another takes the place.
    after = group.await_another(before)
    before.thaw()
    wait_until(lambda: told.ports, "it has begun")
    told.feed.close()
    server.close()
    assert told.ports == [after.port]
    wait_until(lambda: is_replica(before), "it is a replica now")


def test_sentinels_that_are_down_or_hang_are_passed_by(
    redis_faces: RedisFaces, group: RedisSentinel
) -> None:
    first = group.sentinels[0]
    first.freeze()
    try:
        face = redis_faces(url(group))
        face.seconds = 0.3
        assert works(face)
    finally:
        first.thaw()
    settings = RedisSettings(
        sentinels=(("127.0.0.1", 1), group.addresses[2]), service=group.service
    )
    assert works(redis_faces(settings))


def test_no_sentinel_and_no_service_are_said_to_be_that(
    redis_faces: RedisFaces, group: RedisSentinel
) -> None:
    nobody = redis_faces(RedisSettings(sentinels=(("127.0.0.1", 1),), service="s"))
    with pytest.raises(TierError, match="Sentinels") as caught:
        nobody.fetch(["k"], [])
    assert caught.value.kind == "unavailable"
    other = redis_faces(RedisSettings(sentinels=tuple(group.addresses), service="other"))
    with pytest.raises(TierError, match="'other'"):
        other.fetch(["k"], [])


def test_traffic_goes_on_when_the_primary_is_killed() -> None:
    """No call takes longer than its deadline, and all is well when there is a new primary."""
    with RedisSentinel() as group:
        tier = RedisTier(url(group), namespace="app")
        stop = threading.Event()
        longest = [0.0]
        unexpected: list[BaseException] = []

        def traffic(name: str) -> None:
            while not stop.is_set():
                start = time.monotonic()
                try:
                    tier.write([Entry(name, b"x", 60.0)], Deadline.after(0.05))
                    tier.fetch([name], [], Deadline.after(0.05))
                except TierError:
                    time.sleep(0.005)
                except BaseException as error:
                    unexpected.append(error)
                longest[0] = max(longest[0], time.monotonic() - start)

        threads = [threading.Thread(target=traffic, args=(f"k{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            group.failover(kill=True)
            face = Face(tier, None, 0.05)
            wait_until(lambda: works(face), "it follows", seconds=2)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not unexpected
        assert longest[0] < 0.6
        tier.close()
