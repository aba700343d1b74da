"""`FaultProxy`: stands between a client and its server, and fails as networks and servers do.

    with FaultProxy(server) as proxy:
        client = redis.Redis(port=proxy.port)
        proxy.set("freeze")
        ...
        proxy.heal()

The bytes are copied by a process of its own, so that neither the interpreter lock of the tests nor
their load changes what the fault is. `set` returns when the fault is in force.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import pytest

from tests.integration.process import clean_environment, free_port, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.postgres_server import PgBouncer, PostgresServer
    from tests.integration.redis_server import RedisServer

Mode = Literal[
    "pass",
    "kill",
    "refuse",
    "freeze",
    "latency",
    "half_open",
    "drip",
    "truncate",
    "corrupt",
    "reset",
    "slow_accept",
]
Way = Literal["up", "down", "both"]
Which = Literal["all", "open", "new"]

# In which direction a fault acts unless told: "up" is what the client sends.
_WAYS: dict[str, Way] = {"truncate": "down", "corrupt": "down", "reset": "down", "drip": "down"}
_SECONDS = {"latency": 0.2, "drip": 0.03, "slow_accept": 1.0}


class Connection(NamedTuple):
    """A connection that the proxy has taken: bytes passed on, from and to the client."""

    number: int
    open: bool
    up: int
    down: int


class FaultProxy:
    """A proxy before a server of `servers.py`, or before an address.

    Args:
        server: a server, (host, port), or the path of a unix socket. The proxy listens on a free
            port of 127.0.0.1, or on a unix socket of its own for one on a unix socket.

    Attributes:
        host, port, socket_path: where it listens.
    """

    def __init__(
        self, server: RedisServer | PostgresServer | PgBouncer | tuple[str, int] | str
    ) -> None:
        self._server = _address(server)
        self.host = "127.0.0.1"
        self.port = 0
        self.socket_path: Path | None = None
        if isinstance(self._server, str):
            self.socket_path = temporary_folder("proxy") / "s"
        else:
            self.port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def set(
        self,
        mode: Mode,
        *,
        way: Way | None = None,
        to: Which | int | Sequence[int] = "all",
        seconds: float | None = None,
        after: int = 0,
        every: int = 7,
        reset: bool = False,
    ) -> None:
        """Put a fault in force; it replaces the one before in that direction.

        Args:
            mode: what happens.
                "pass": nothing; also listens again, if it refused. ("half_open" stays.)
                "kill": closes the connections and refuses new ones; with `reset`, by RST.
                "refuse": refuses new connections.
                "freeze": takes connections and bytes, and passes nothing on until it is healed.
                "latency": passes everything on `seconds` (0.2) later.
                "half_open": drops every byte, and the end too: the other side is never told.
                "drip": a byte every `seconds` (0.03).
                "truncate": closes after `after` more bytes. "reset": the same by RST.
                "corrupt": inverts every `every`-th byte after the first `after`.
                "slow_accept": connects a new client to the server only `seconds` (1) later.
            way: "up", from the client, "down", to it, or "both"; by default both, but what acts on
                replies (truncate, reset, corrupt, drip) only down.
            to: all connections, those now open, those to come, or connections by number.
        """
        fault = {
            "mode": mode,
            "seconds": _SECONDS.get(mode, 0.0) if seconds is None else seconds,
            "after": after,
            "every": every,
        }
        chosen = [to] if isinstance(to, int) else to
        self._order(
            order="set",
            mode=mode,
            fault=fault,
            way=way or _WAYS.get(mode, "both"),
            to=chosen if isinstance(chosen, str) else list(chosen),
            reset=reset,
        )

    def heal(self) -> None:
        """Pass everything on again, on new connections and on those that can be healed."""
        self.set("pass")

    def cut(self, *numbers: int, sent: bytes = b"", reset: bool = False) -> list[int]:
        """Close the open connections with these numbers, or whose client sent these bytes (among
        its first 64 KiB), or all; returns their numbers. With `reset`, by RST."""
        chosen = list(numbers) if numbers else "all"
        answer = self._order(order="cut", to=chosen, sent=sent.hex(), reset=reset)
        return list(answer["links"])

    def find(self, sent: bytes) -> list[int]:
        """The numbers of the open connections whose client sent these bytes."""
        answer = self._order(order="report", sent=sent.hex())
        return [link["number"] for link in answer["links"]]

    def point_at(self, server: RedisServer | PostgresServer | tuple[str, int] | str) -> None:
        """Take new connections to another server."""
        self._order(order="point", server=_address(server))

    @property
    def connections(self) -> list[Connection]:
        """Every connection since the start."""
        return [Connection(**link) for link in self._order(order="report")["links"]]

    @property
    def open_count(self) -> int:
        """How many connections are open."""
        return sum(connection.open for connection in self.connections)

    def start(self) -> Self:
        for _ in range(5):
            listen = str(self.socket_path) if self.socket_path else [self.host, self.port]
            script = str(Path(__file__).with_name("fault_process.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-IS", script, json.dumps([listen, self._server])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=clean_environment(),
                text=True,
                start_new_session=True,
            )
            error = self._answer().get("error")
            if error is None:
                return self
            self.stop()
            self.port = free_port()
        pytest.fail(f"the fault proxy found no port: {error}")

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()  # At which it ends.
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _order(self, **order: Any) -> dict[str, Any]:
        with self._lock:
            assert self._process is not None, "the proxy is not running"
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"the fault proxy refused {order}: {answer['error']}")
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"error": "ended"}')
        return answer


def _address(server: Any) -> list[Any] | str:
    if isinstance(server, str):
        return server
    if isinstance(server, tuple):
        return list(server)
    path = getattr(server, "socket_path", None)
    return str(path) if path else [server.host, server.port]
