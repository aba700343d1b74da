"""The Redis tier on a Cluster of three primaries."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from millpond.errors import TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.io.redis_cluster import slot_of
from millpond.io.redis_url import RedisSettings
from millpond.tiers.base import Entry
from millpond.tiers.redis import RedisTier
from tests.integration import servers
from tests.integration.faces import Face, RedisFaces
from tests.integration.servers import RedisCluster, wait_until

NAMES = [f"{n:032x}" for n in range(8)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


def settings(cluster: RedisCluster) -> RedisSettings:
    return RedisSettings(nodes=tuple(cluster.addresses))


def entry(key: str, data: bytes = b"data", guard: int = 0) -> Entry:
    return Entry(key, data, 60.0, guard)


@pytest.mark.parametrize("key", ["k", "a{b}c", "{}x", "{", "}{", "a{b}{c}", "~g:app:{a:b}", ""])
def test_slots_are_those_of_redis(key: str) -> None:
    assert slot_of(key.encode()) == servers.slot_of(key)


def test_every_method_over_all_nodes(redis_faces: RedisFaces, cluster: RedisCluster) -> None:
    face = redis_faces(settings(cluster))
    keys = [f"app:{id(face)}:1:{n}" for n in range(100)]
    assert len({cluster.master_of(key).port for key in keys[:20]}) == 3
    guards = face.fetch(keys, []).guards
    entries = [entry(key, key.encode(), guard) for key, guard in zip(keys, guards, strict=True)]
    assert face.store(entries) == [True] * 100
    stamps = face.stamp(NAMES)
    found = face.fetch(keys[::-1], NAMES)
    assert found.data == [key.encode() for key in keys[::-1]]
    assert found.stamps == stamps
    bumped = face.bump(NAMES)
    assert all(new > old for new, old in zip(bumped, stamps, strict=True))
    assert face.fetch(keys[:1], []).data == [keys[0].encode()]
    assert face.inspect(keys[5]).data == keys[5].encode()
    assert sorted(key for page in face.scan(f"app:{id(face)}:") for key in page) == sorted(keys)
    assert face.delete(keys[:3]) == [True] * 3
    assert face.store(entries[:4]) == [False, False, False, True]
    face.write(entries[:2])
    assert face.fetch(keys[:3], []).data == [keys[0].encode(), keys[1].encode(), None]
    assert face.incr(f"n{id(face)}", 3, 60.0) == 3
    assert face.erase(keys) == 99
    face.open()


def test_scripts_are_loaded_where_they_are_missing(
    redis_faces: RedisFaces, cluster: RedisCluster
) -> None:
    face = redis_faces(settings(cluster))
    for key in "abc":
        with cluster.master_of(key).client() as client:
            client.script_flush()
    face.write([entry(f"w{n}") for n in range(30)])
    assert face.fetch([f"w{n}" for n in range(30)], []).data == [b"data"] * 30


def test_one_node_that_is_named_suffices_and_none_is_unavailable(
    redis_faces: RedisFaces, cluster: RedisCluster
) -> None:
    one = RedisSettings(nodes=(("127.0.0.1", 1), cluster.addresses[0]))
    tier = RedisTier(one, namespace="app")
    tier.write([entry(f"one{n}") for n in range(10)], Deadline.after(5))
    tier.close()
    tier = RedisTier(RedisSettings(nodes=(("127.0.0.1", 1),)))
    with pytest.raises(TierError) as caught:
        tier.fetch(["k"], [], Deadline.after(0.2))
    assert caught.value.kind == "unavailable"
    tier.close()


def companions(key: str, count: int) -> list[str]:
    """Other keys of the same slot."""
    slot = slot_of(key.encode())
    named = (f"{key}:{n}" for n in itertools.count())
    return list(itertools.islice((one for one in named if slot_of(one.encode()) == slot), count))


def test_a_slot_that_moved_is_followed(redis_faces: RedisFaces, cluster: RedisCluster) -> None:
    face = redis_faces(settings(cluster))
    number, *keys = companions("moved", 4)
    others = [f"still{n}" for n in range(20)]
    face.write([entry(key, key.encode()) for key in [*keys, *others]])
    before = face.incr(number, 1, None)
    cluster.migrate_slot(servers.slot_of(number))
    assert face.incr(number, 1, None) == before + 1
    found = face.fetch([*keys, *others], [])
    assert found.data == [key.encode() for key in [*keys, *others]]
    assert min(found.guards) > 0
    assert face.delete(keys) == [True] * 3


def test_a_slot_that_is_moving_is_read_and_counted_in(
    redis_faces: RedisFaces, cluster: RedisCluster
) -> None:
    face = redis_faces(settings(cluster))
    here, none, number = companions("moving", 3)
    [guard] = face.fetch([here], []).guards
    face.store([entry(here, guard=guard)])
    slot = servers.slot_of(here)
    target = cluster.begin_migration(slot)
    try:
        # What is here is answered here, what is not is asked for at the target.
        assert face.fetch([here, none], []).data == [b"data", None]
        before = face.incr(number, 4, None)
        assert face.incr(number, 4, None) == before + 4
        # Two keys cannot be written in one step while they may be apart.
        with pytest.raises(TierError) as caught:
            face.delete([none])
        assert caught.value.kind == "not_ready"
    finally:
        cluster.finish_migration(slot, target)
    assert face.delete([here]) == [True]
    assert face.incr(number, 0, None) == before + 4


def test_a_node_that_hangs_costs_the_deadline(
    redis_faces: RedisFaces, cluster: RedisCluster
) -> None:
    face = redis_faces(settings(cluster))
    keys = [f"hang{n}" for n in range(30)]
    face.write([entry(key) for key in keys])
    node = cluster.master_of("hang0")
    node.freeze()
    try:
        face.seconds = 0.05
        start = time.monotonic()
        with pytest.raises(TierTimeoutError):
            face.fetch(keys, [])
        assert time.monotonic() - start < 0.3
    finally:
        node.thaw()
    face.seconds = 5
    wait_until(lambda: _works(face, keys), "all nodes answer again")


def _works(face: Face, keys: list[str]) -> bool:
    try:
        return bool(face.fetch(keys, []).data == [b"data"] * len(keys))
    except TierError:
        return False


def test_traffic_goes_on_when_a_primary_is_killed_and_a_slot_moves() -> None:
    with RedisCluster(replicas=1) as cluster:
        tier = RedisTier(settings(cluster), namespace="app")
        keys = [f"k{n}" for n in range(30)]
        face = Face(tier, None)
        face.write([entry(key, key.encode()) for key in keys])
        stop = threading.Event()
        longest = [0.0]
        wrong: list[object] = []

        def traffic() -> None:
            while not stop.is_set():
                start = time.monotonic()
                try:
                    data = tier.fetch(keys, NAMES, Deadline.after(0.05)).data
                    pairs = zip(keys, data, strict=True)
                    wrong.extend(d for k, d in pairs if d not in (None, k.encode()))
                except TierError:
                    time.sleep(0.005)
                except BaseException as error:
                    wrong.append(error)
                longest[0] = max(longest[0], time.monotonic() - start)

        threads = [threading.Thread(target=traffic) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            cluster.migrate_slot(servers.slot_of("k1"))
            cluster.kill_master("k0")

            def whole() -> bool:
                try:
                    tier.write([entry(key, key.encode()) for key in keys], Deadline.after(0.05))
                except TierError:
                    return False
                return True

            wait_until(whole, "all slots are served again", seconds=10)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert longest[0] < 0.6
        tier.close()
