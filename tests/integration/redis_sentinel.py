"""A Redis primary with replicas, watched by three sentinels."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from tests.integration.process import free_port
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Sentinel(RedisServer):
    """One sentinel; it keeps what it learns in its configuration file."""

    name = "sentinel"

    def __init__(self, service: str, primary: RedisServer, down_after: float) -> None:
        super().__init__(port=free_port())
        self._lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"sentinel monitor {service} {primary.host} {primary.port} 2",
            f"sentinel down-after-milliseconds {service} {down_after * 1e3:.0f}",
            f"sentinel failover-timeout {service} 3000",
        ]

    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():
            config.write_text("\n".join(self._lines) + "\n")
        return [self._binary, str(config), "--sentinel"]

    def ready(self) -> bool:
        return "monitor master" in self.log_since_launch()


class RedisSentinel:
    """`with RedisSentinel() as group: redis.sentinel.Sentinel(group.addresses)`.

    Args:
        replicas: how many copies of the primary.
        down_after: seconds without an answer after which a sentinel thinks a server down.
        options: of redis.conf, for the primary and the replicas.

    Attributes:
        service: the name of the primary, for `Sentinel.master_for`.
        servers: the primary and the replicas, in the order of their making.
        sentinels: the three sentinels.
    """

    def __init__(
        self,
        *,
        replicas: int = 1,
        down_after: float = 1.0,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        self.service = "millpond"
        self._stack = contextlib.ExitStack()
        first = RedisServer(options=options)
        self.servers = [first]
        self.sentinels: list[RedisServer] = []
        self._replicas = replicas
        self._down_after = down_after
        self._options = options

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of the sentinels."""
        return [(sentinel.host, sentinel.port) for sentinel in self.sentinels]

    @property
    def primary(self) -> RedisServer:
        """The one that most sentinels think the primary."""
        ports = [port for port in map(self._port_by, self.sentinels) if port]
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    @property
    def replicas(self) -> list[RedisServer]:
        primary = self.primary
        return [server for server in self.servers if server is not primary]

    def failover(self, *, kill: bool = False) -> RedisServer:
        """Make a replica the primary, and return it when all sentinels agree.

        With `kill` the primary is killed first, and the sentinels find out by themselves.
        """
        before = self.primary
        if kill:
            before.kill()
        else:
            with self.sentinels[0].client() as client:
                client.execute_command("SENTINEL", "FAILOVER", self.service)
        return self.await_another(before)

    def await_another(self, before: RedisServer) -> RedisServer:
        """The new primary, when all sentinels agree which server it is."""

        def agreed() -> bool:
            ports = {self._port_by(one) for one in self.sentinels if one.alive}
            return len(ports) == 1 and ports != {before.port} and self._writable(ports.pop())

        wait_until(agreed, "the sentinels agree on another primary", seconds=30, every=0.02)
        return self.primary

    def __enter__(self) -> Self:
        try:
            first = self._stack.enter_context(self.servers[0])
            for _ in range(self._replicas):
                replica = RedisServer(replica_of=first, options=self._options)
                self.servers.append(self._stack.enter_context(replica))
            for _ in range(3):
                sentinel = _Sentinel(self.service, first, self._down_after)
                self.sentinels.append(self._stack.enter_context(sentinel))
            for sentinel in self.sentinels:
                # They introduce themselves every 2 s and look for replicas every 10 s.
                self._hurry(sentinel, publish=100)
            wait_until(self._complete, "the sentinels know each other and the replicas")
            for sentinel in self.sentinels:
                # A replica that says it is the primary is made a replica again by those who have
                # not heard of its promotion after four of these: on a busy machine, too soon.
                self._hurry(sentinel, publish=400)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @staticmethod
    def _hurry(sentinel: RedisServer, *, publish: int) -> None:
        with sentinel.client() as client:
            # A new primary is first asked for a sign of life after a ping period. Were that as long
            # as `down_after`, it could be thought down at once, and the old one take its place
            # again, without what was written since. But five periods must be longer than the
            # second in which a replica says how it is, or none is good enough to be promoted.
            periods: list[Any] = ["info-period", 100, "ping-period", 400, "publish-period", publish]
            client.execute_command("SENTINEL", "DEBUG", *periods)

    def _complete(self) -> bool:
        for sentinel in self.sentinels:
            with sentinel.client(decode_responses=True) as client:
                state: Any = client.sentinel_master(self.service)
                if state["num-other-sentinels"] < 2 or state["num-slaves"] < self._replicas:
                    return False
        return all(server.linked() for server in self.servers[1:])

    def _port_by(self, sentinel: RedisServer) -> int:
        import redis

        if not sentinel.alive:
            return 0
        try:
            with sentinel.client(socket_timeout=1) as client:
                address: Any = client.sentinel_get_master_addr_by_name(self.service)
                return int(address[1])
        except redis.RedisError:
            return 0

    def _writable(self, port: int) -> bool:
        server = next(server for server in self.servers if server.port == port)
        with server.client() as client:
            role: Any = client.role()
            return bool(role[0] == b"master")
