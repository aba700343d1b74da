"""Where the traffic goes: a tier of a kind, its server if it has one, and the way there."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any, Self

from millpond import Cache, Engine
from tests.integration.faults import FaultProxy
from tests.integration.servers import PostgresServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

TIERS = ("redis", "redis+sqlite", "sqlite", "postgresql")


class Site:
    """Servers, the proxy before the one that faults are for, and a folder; a context manager.

    Args:
        tiers: one of TIERS; faults are for the first that it names.
        grace: the Engine's coherence_grace.
        max_entries: what the memory of an Engine holds.
        disk: the size of a disk for the files alone, as mount has it. Without the right to mount
            one, entering raises PermissionError.

    Attributes:
        tier: the name of the tier that faults are for.
    """

    server: RedisServer | PostgresServer
    proxy: FaultProxy

    def __init__(
        self, tiers: str, *, grace: float = 2.0, max_entries: int = 100, disk: str = ""
    ) -> None:
        self.tiers = tiers
        self.tier = tiers.partition("+")[0]
        self.grace = grace
        self.max_entries = max_entries
        self.disk = disk
        self.folder = ""
        self.locker: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mp-soak-"))
            if self.disk:
                self._mount(stack)
            if self.tier == "redis":
                self.server = stack.enter_context(RedisServer(maxmemory="64mb"))
            elif self.tier == "postgresql":
                self.server = stack.enter_context(PostgresServer())
            if self.tier != "sqlite":
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
        if self.tier == "redis":
            assert isinstance(self.server, RedisServer)
            port = self.proxy.port if through_proxy else self.server.port
            given["redis"] = f"redis://127.0.0.1:{port}"
        elif self.tier == "postgresql":
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
