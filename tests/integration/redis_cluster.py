"""A Redis Cluster of the tests' own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from tests.integration.process import free_port
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

SLOTS = 16_384


def slot_of(key: str) -> int:
    """The slot of a key."""
    from redis.crc import key_slot

    return key_slot(key.encode())


def _cluster(node: RedisServer, *words: str | int) -> Any:
    """What a node replies to a CLUSTER command, as it came."""
    with node.client() as client:
        return client.execute_command("CLUSTER", *words)


class RedisCluster:
    """`with RedisCluster() as cluster: redis.RedisCluster(*cluster.addresses[0])`.

    Args:
        masters: at least three, or no failover can be voted.
        replicas: of each master.
        node_timeout: seconds after which a node that does not answer is thought down.
        options: of redis.conf, for every node.

    Attributes:
        nodes: the masters, in the order of their slots, then their first replicas, and so on.
    """

    def __init__(
        self,
        *,
        masters: int = 3,
        replicas: int = 1,
        node_timeout: float = 1.0,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._masters = masters
        self.nodes = [
            RedisServer(
                options={
                    "cluster-enabled": "yes",
                    "cluster-announce-ip": "127.0.0.1",
                    "cluster-port": free_port(),
                    "cluster-node-timeout": int(node_timeout * 1e3),
                    "cluster-replica-validity-factor": 0,
                    "cluster-allow-replica-migration": "no",
                    **(options or {}),
                }
            )
            for _ in range(masters * (1 + replicas))
        ]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(node.host, node.port) for node in self.nodes]

    def client(self, **options: Any) -> redis.RedisCluster:
        """A plain redis-py cluster client, for the test itself."""
        import redis

        alive = next(node for node in self.nodes if node.alive)
        return redis.RedisCluster(alive.host, alive.port, **options)

    # ---- who is who

    def master_of(self, key: str) -> RedisServer:
        """The node that serves the key now, by what a majority of the living says."""
        slot = slot_of(key)
        votes = [self._owner(node, slot) for node in self.nodes if node.alive]
        port = max(set(votes), key=votes.count)
        return self._by_port(port)

    def replicas_of(self, master: RedisServer) -> list[RedisServer]:
        """The living replicas of a master."""
        found = []
        for node in self.nodes:
            if node.alive and node is not master:
                with node.client() as client:
                    role: Any = client.role()
                    if role[0] == b"slave" and int(role[2]) == master.port:
                        found.append(node)
        return found

    # ---- what the tests do to it

    def begin_migration(self, slot: int, target: RedisServer | None = None) -> RedisServer:
        """Let a slot migrate to another master, without moving a key: what is there stays, what
        is not is asked for (ASK) at the target. Returns the target."""
        source = self._by_port(self._owner(self.nodes[0], slot))
        others = [node for node in self._living_masters() if node is not source]
        target = target or others[0]
        _cluster(target, "SETSLOT", slot, "IMPORTING", self._id(source))
        _cluster(source, "SETSLOT", slot, "MIGRATING", self._id(target))
        return target

    def finish_migration(self, slot: int, target: RedisServer) -> None:
        """Move the keys of a slot and tell every master whose it is now."""
        source = self._by_port(self._owner(self.nodes[0], slot))
        with source.client() as here:
            while keys := _cluster(source, "GETKEYSINSLOT", slot, 100):
                address = (target.host, target.port, "", 0, 5000)
                here.execute_command("MIGRATE", *address, "REPLACE", "KEYS", *keys)
        for node in (target, source, *self._living_masters()):
            _cluster(node, "SETSLOT", slot, "NODE", self._id(target))
        wait_until(
            lambda: all(self._owner(n, slot) == target.port for n in self.nodes if n.alive),
            f"every node knows where slot {slot} is",
        )

    def migrate_slot(self, slot: int, target: RedisServer | None = None) -> RedisServer:
        """Move a slot with its keys to another master, and return that."""
        target = self.begin_migration(slot, target)
        self.finish_migration(slot, target)
        return target

    def kill_master(self, key: str, *, wait: bool = True) -> RedisServer:
        """Kill the master of a key; with `wait`, return once a replica has taken its place."""
        master = self.master_of(key)
        master.kill()
        if wait:
            wait_until(
                lambda: self.ok and self.master_of(key) is not master,
                "a replica has taken the master's place",
                seconds=30,
                every=0.05,
            )
        return master

    def cut_replica_link(self, master: RedisServer) -> list[RedisServer]:
        """Let the replicas of a master receive nothing more from it, and return them.

        They stay in the cluster and may be promoted: with what they had before the cut.
        """
        replicas = self.replicas_of(master)
        for replica in replicas:
            replica.cut_link(master)
        return replicas

    def mend_replica_link(self, replicas: list[RedisServer]) -> None:
        for replica in replicas:
            replica.mend_link()

    @property
    def ok(self) -> bool:
        """Whether every living node thinks that the cluster serves every slot."""
        for node in self.nodes:
            if node.alive and b"cluster_state:ok" not in _cluster(node, "INFO"):
                return False
        return True

    # ---- starting

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                self._stack.enter_context(node)
            self._form()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _form(self) -> None:
        """What `redis-cli --cluster create` does in several seconds."""
        count = self._masters
        for place, node in enumerate(self.nodes):
            if place < count:
                first, end = place * SLOTS // count, (place + 1) * SLOTS // count
                _cluster(node, "ADDSLOTSRANGE", first, end - 1)
            _cluster(node, "SET-CONFIG-EPOCH", place + 1)
            for other in self.nodes[:place]:
                _cluster(node, "MEET", other.host, other.port, other.options["cluster-port"])
        wait_until(self._acquainted, "every node knows every other")
        for place, node in enumerate(self.nodes[count:]):
            _cluster(node, "REPLICATE", self._id(self.nodes[place % count]))
        wait_until(
            lambda: self.ok and all(node.linked() for node in self.nodes[count:]),
            "the cluster serves every slot and the replicas follow",
        )

    def _acquainted(self) -> bool:
        for node in self.nodes:
            lines = _cluster(node, "NODES").decode().splitlines()
            if sum("handshake" not in line for line in lines) < len(self.nodes):
                return False
        return True

    def _living_masters(self) -> list[RedisServer]:
        found = []
        for node in self.nodes:
            if node.alive:
                with node.client() as client:
                    role: Any = client.role()
                    if role[0] == b"master":
                        found.append(node)
        return found

    def _id(self, node: RedisServer) -> str:
        return str(_cluster(node, "MYID").decode())

    def _owner(self, node: RedisServer, slot: int) -> int:
        """The port of the master of a slot, as `node` sees it; 0 for none."""
        for first, last, (_, port, *_), *_ in _cluster(node, "SLOTS"):
            if first <= slot <= last:
                return int(port)
        return 0

    def _by_port(self, port: int) -> RedisServer:
        return next(node for node in self.nodes if node.port == port)
