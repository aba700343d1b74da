"""Where the traffic goes: a tier of a kind, its server if it has one, and the way there."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, Self

from millpond import Cache, Engine
from tests.integration.faults import FaultProxy
from tests.integration.matrix.copies import Copies
from tests.integration.servers import PostgresServer, RedisCluster, RedisSentinel, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

TIERS = ("redis", "redis+sqlite", "cluster", "sentinel", "sqlite", "postgresql")


class Site:
    """Servers, the proxy before the one that faults are for, and a folder; a context manager.

    Args:
        tiers: one of TIERS; faults are for the first that it names. Of "cluster" and "sentinel"
            servers fail, and there is no proxy.
        grace: the Engine's coherence_grace.
        max_entries: what the memory of an Engine holds.
        disk: the size of a disk for the files alone, as mount has it. Without the right to mount
            one, entering raises PermissionError.

    Attributes:
        tier: the name of the tier that faults are for, as the Engine has it.
        servers: those of a Cluster or of a Sentinel group.
        down: servers that a fault has taken out of their group, until it ends.
        moving: the slot that is on its way, and where to.
    """

    server: RedisServer | PostgresServer
    cluster: RedisCluster
    sentinel: RedisSentinel
    proxy: FaultProxy
    copies: Copies

    def __init__(
        self, tiers: str, *, grace: float = 2.0, max_entries: int = 100, disk: str = ""
    ) -> None:
        self.tiers = tiers
        self.kind = tiers.partition("+")[0]
        self.tier = "redis" if self.kind in ("cluster", "sentinel") else self.kind
        self.grace = grace
        self.max_entries = max_entries
        self.disk = disk
        self.folder = ""
        self.locker: subprocess.Popen[bytes] | None = None
        self.servers: list[RedisServer] = []
        self.down: list[RedisServer] = []
        self.moving: tuple[int, RedisServer] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mp-soak-"))
            if self.disk:
                self._mount(stack)
            if self.kind == "redis":
                self.server = stack.enter_context(RedisServer(maxmemory="64mb"))
            elif self.kind == "postgresql":
                self.server = stack.enter_context(PostgresServer())
            elif self.kind == "cluster":
                self.cluster = stack.enter_context(RedisCluster())
                self.servers = self.cluster.nodes
            elif self.kind == "sentinel":
                self.sentinel = stack.enter_context(RedisSentinel())
                self.servers = self.sentinel.servers
            self.copies = stack.enter_context(Copies(self.servers, "soak"))
            if self.kind in ("redis", "postgresql"):
                self.proxy = stack.enter_context(FaultProxy(self.server))
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.__exit__(None, None, None)

    def _mount(self, stack: contextlib.ExitStack) -> None:
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={self.disk},mode=700", "tmpfs"]
        if subprocess.run([*mounting, self.folder], capture_output=True, check=False).returncode:
            raise PermissionError("no file system can be mounted here")
        unmounting = ["umount", "-l", self.folder]
        stack.callback(lambda: subprocess.run(unmounting, check=True))

    def later(self, undo: Callable[[], object]) -> None:
        """Have something undone when the site is closed."""
        self._cleanup.callback(undo)

    def engine(self, *, through_proxy: bool = True) -> Engine:
        """An Engine on the site, as a process of its own would have one."""
        given: dict[str, Any] = {"database": False}
        if self.kind == "cluster":
            given["redis"] = f"redis+cluster://{_listed(self.cluster.addresses)}"
        elif self.kind == "sentinel":
            hosts = _listed(self.sentinel.addresses)
            given["redis"] = f"redis+sentinel://{hosts}/{self.sentinel.service}"
        elif self.kind == "redis":
            assert isinstance(self.server, RedisServer)
            port = self.proxy.port if through_proxy else self.server.port
            given["redis"] = f"redis://127.0.0.1:{port}"
        elif self.kind == "postgresql":
            assert isinstance(self.server, PostgresServer)
            url = self.server.url
            if through_proxy:
                url = url.replace(f":{self.server.port}/", f":{self.proxy.port}/")
            given["database"] = url
        if self.tiers.endswith("sqlite"):
            given |= {"database": None, "data_dir": self.folder}
        cache = Cache(max_entries=self.max_entries)
        return Engine(cache=cache, namespace="soak", coherence_grace=self.grace, **given)

    def redis(self) -> Any:
        """A plain client of the Redis itself, beside the proxy."""
        assert isinstance(self.server, RedisServer)
        return self.server.client()


def _listed(addresses: list[tuple[str, int]]) -> str:
    return ",".join(f"{host}:{port}" for host, port in addresses)
