"""Addresses of host names, looked up off the path: a caller waits no longer than its deadline."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, final

from millpond.io import forks
from millpond.io.threads import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.io.deadline import Deadline

# (family, sockaddr), in the order in which to try them.
Found: TypeAlias = "list[tuple[int, tuple[Any, ...]]]"


class _Known(NamedTuple):
    found: Found
    fresh_until: float


@final
class Resolver:
    """Remembers addresses for `life` seconds, and uses older ones while it looks for new ones.

    A resolver that hangs or fails therefore disturbs nobody who has connected before. Each look-up
    has a daemon thread of its own, at most one a name: `getaddrinfo` cannot be interrupted.
    """

    def __init__(
        self,
        life: float = 30.0,
        lookup: Callable[[str, int], Found] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._life = life
        self._lookup = lookup or _getaddrinfo
        self._clock = clock
        self._known: dict[tuple[str, int], _Known] = {}
        self._running: dict[tuple[str, int], Future[Found]] = {}
        self._lock = threading.Lock()
        forks.tell(self)

    def find(self, host: str, port: int, deadline: Deadline) -> Found:
        """The addresses of a host.

        Raises:
            TimeoutError: none is known, and none was found within the deadline.
            OSError: there is none.
        """
        known = self._look(host, port)
        if isinstance(known, Future):
            return known.result(deadline.left())
        return known

    async def afind(self, host: str, port: int, deadline: Deadline) -> Found:
        """The same, in an event loop."""
        known = self._look(host, port)
        if isinstance(known, Future):
            async with asyncio.timeout(deadline.left()):
                return await asyncio.shield(asyncio.wrap_future(known))
        return known

    def doubt(self, host: str, port: int) -> None:
        """Look again before long: nothing answers there any more."""
        known = self._known.get((host, port))
        if known is not None:
            self._known[host, port] = _Known(known.found, 0.0)

    def _look(self, host: str, port: int) -> Found | Future[Found]:
        known = self._known.get((host, port))
        if known is not None and self._clock() < known.fresh_until:
            return known.found
        if numeric := _numeric(host, port):
            return numeric
        running = self._start(host, port)
        return running if known is None else known.found

    def _start(self, host: str, port: int) -> Future[Found]:
        with self._lock:
            running = self._running.get((host, port))
            if running is not None:
                return running
            running = Future[Found]()
            known = self._known.get((host, port))
            if known is not None and self._clock() < known.fresh_until:
                running.set_result(known.found)  # one has just ended
                return running
            self._running[host, port] = running
        if begin("millpond-resolver", self._run, host, port, running) is None:
            with self._lock:
                self._running.pop((host, port), None)
            running.set_exception(OSError("no thread can be started that looks the name up"))
        return running

    def _run(self, host: str, port: int, running: Future[Found]) -> None:
        try:
            found = self._lookup(host, port)
        except Exception as error:  # noqa: BLE001 (whatever it is, those who wait must hear of it)
            running.set_exception(error)
        else:
            self._known[host, port] = _Known(found, self._clock() + self._life)
            running.set_result(found)
        finally:
            with self._lock:
                self._running.pop((host, port), None)

    def forked(self) -> None:
        """In the child the threads that look up are gone."""
        self._lock = threading.Lock()
        self._running = {}


def _getaddrinfo(host: str, port: int) -> Found:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), address) for family, _, _, _, address in infos]


def _numeric(host: str, port: int) -> Found:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return [(int(family), (host, port))]
    return []


# The process's own; its cache is as good for one Engine as for another.
resolver: Final = Resolver()
