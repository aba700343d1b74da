"""`Copies`: whether a failover may lose an invalidation, asked of the servers of a group.

A primary answers before its replicas have what was written, so what it was told may be gone when a
replica takes its place. That is the one stated exception to the promise of coherence. An
invalidation counts as reported only when every living server that has its stamp has the new one:
then whichever of them is the primary later has it too, and the promise holds without exception.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from millpond import _engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.servers import RedisServer

# A replica has what its primary was told after a millisecond or not for long.
_SECONDS = 0.05


class Copies:
    """Asks the servers of a Cluster or of a Sentinel group; a context manager.

    Args:
        servers: of the group; without any, everything is kept.
        namespace: of the Engines.
    """

    def __init__(self, servers: Sequence[RedisServer], namespace: str) -> None:
        self._servers = servers
        self._namespace = namespace
        self._clients: list[Any] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in self._servers:
                client = stack.enter_context(server.client(socket_timeout=0.2))
                client.ping()  # Connects, so that it counts as there before the traffic.
                self._clients.append(client)
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    @property
    def may_lose(self) -> bool:
        """Whether there are several, of which one may take another's place."""
        return bool(self._servers)

    def keep(self, tag: str, since: float) -> bool:
        """Whether each living server that is responsible for a tag knows that it was invalidated
        after that time (of the wall clock, which stamps are made of)."""
        name = f"~g:{self._namespace}:{_engine.generation_name('t', tag)}"
        until = time.monotonic() + _SECONDS
        while not self._all_have(name, round(since * 1e6)):
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    def _all_have(self, name: str, least: int) -> bool:
        with self._lock:
            found = [
                _stamp(client, name)
                for server, client in zip(self._servers, self._clients, strict=True)
                if server.alive
            ]
        told = [stamp for stamp in found if stamp is not None]
        return not self._servers or (bool(told) and min(told) >= least)


def _stamp(client: Any, name: str) -> int | None:
    """What a server has; None: it is for others to know."""
    import redis

    try:
        # To read from a replica; elsewhere than in a Cluster it is refused, and not needed.
        with client.pipeline(transaction=False) as both:
            both.execute_command("READONLY")
            both.get(name)
            _, stamp = both.execute(raise_on_error=False)
    except redis.RedisError:
        return 0
    if isinstance(stamp, redis.exceptions.AskError):  # ASK or MOVED
        return None
    return 0 if isinstance(stamp, Exception) else int(stamp or 0)
