"""Sentinel and Cluster, as the tests start them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from redis.sentinel import Sentinel

from tests.integration.servers import RedisCluster, RedisSentinel, RedisServer, slot_of, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def sentinel() -> Iterator[RedisSentinel]:
    with RedisSentinel() as group:
        yield group


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as group:
        yield group


def read(server: RedisServer, key: str) -> object:
    """The value of a key; None also while the server closes connections to change its role."""
    try:
        with server.client() as client:
            return client.get(key)
    except redis.ConnectionError:
        return None


@pytest.mark.parametrize("kill", [False, True], ids=["asked", "killed"])
def test_sentinels_make_a_replica_the_primary(sentinel: RedisSentinel, kill: bool) -> None:
    finder = Sentinel(sentinel.addresses, socket_timeout=1)
    before = sentinel.primary
    assert finder.discover_master(sentinel.service) == (before.host, before.port)
    after = sentinel.failover(kill=kill)
    assert after is not before
    assert finder.discover_master(sentinel.service) == (after.host, after.port)
    with after.client() as client:
        client.set("key", "value")
    if kill:
        before.start()
    wait_until(lambda: read(before, "key") == b"value", "the old primary follows as a replica")


def test_cluster_serves_every_slot(cluster: RedisCluster) -> None:
    with cluster.client() as client:
        for number in range(100):
            client.set(f"key:{number}", number)
        assert [int(client.get(f"key:{number}")) for number in range(100)] == list(range(100))
    masters = {cluster.master_of(f"key:{number}").port for number in range(100)}
    assert len(masters) == 3
    assert all(len(cluster.replicas_of(node)) == 1 for node in cluster.nodes[:3])


def test_cluster_migrates_a_slot(cluster: RedisCluster) -> None:
    source = cluster.master_of("moving")
    with cluster.client() as client:
        client.set("moving", "1")
        target = cluster.begin_migration(slot_of("moving"))
        with source.client() as node:
            assert node.get("moving") == b"1"
            with pytest.raises(redis.exceptions.AskError):
                node.get("{moving}:absent")
        cluster.finish_migration(slot_of("moving"), target)
        assert client.get("moving") == b"1"
    assert cluster.master_of("moving") is target
    with source.client() as node, pytest.raises(redis.exceptions.MovedError):
        node.get("moving")


def test_cluster_loses_what_a_cut_replica_never_saw(cluster: RedisCluster) -> None:
    key = "lost"
    with cluster.client() as client:
        client.set(key, "old")
        master = cluster.master_of(key)
        (replica,) = cluster.replicas_of(master)
        with master.client() as node:
            assert node.execute_command("WAIT", 1, 2000) == 1
        cluster.cut_replica_link(master)
        client.set(key, "new")
        assert cluster.kill_master(key) is master
        assert cluster.master_of(key) is replica
        assert client.get(key) == b"old"
    cluster.mend_replica_link([replica])
    master.start()
    wait_until(lambda: cluster.replicas_of(replica) == [master], "the old master follows")
