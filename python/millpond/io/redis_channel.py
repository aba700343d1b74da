"""`Channel`: one blocking connection, which the reaper ends when it is overdue."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final, final

from millpond.io.reaper import NEVER, reaper
from millpond.io.redis_wire import Damaged, Replies, Reply

_READ: Final = 65536


class Closed(Exception):  # noqa: N818 - turned into a TierError where the server's name is known
    """The connection ended; `unused` if nothing had been read on it for this command."""

    def __init__(self, unused: bool) -> None:
        super().__init__(unused)
        self.unused = unused


@final
class Channel:
    """One connection, used by one thread at a time; the reaper watches it.

    Attributes:
        at: when what is under way must be done.
        used: when it was last given back.
        late: whether the reaper has ended it.
        ours: whether we have, by closing the pool.
        round_trip: seconds that the first answer took.
    """

    __slots__ = (
        "__weakref__",
        "_replies",
        "_sock",
        "at",
        "connection",
        "late",
        "ours",
        "round_trip",
        "used",
    )

    def __init__(self) -> None:
        self.at = NEVER
        self.late = False
        self.ours = False
        self.used = 0.0
        self.round_trip = 0.0
        self.connection: Any = None
        self._sock: socket.socket | None = None
        self._replies = Replies()

    def hold(self, sock: socket.socket) -> None:
        """Take a socket that is about to connect, or over which TLS is about to be agreed."""
        self._sock = sock
        if self.late:
            self._shut()

    def send(self, payload: bytes, at: float) -> None:
        """Send packed commands, whose replies must have come by `at`.

        Raises:
            Closed: nothing more can be done with this connection.
        """
        self.at = at
        if reaper.parked:
            reaper.wake()
        if self._sock is None:
            raise Closed(unused=True)
        try:
            self._sock.sendall(payload)
        except OSError as error:
            raise Closed(unused=True) from error

    def receive(self, count: int) -> list[Reply]:
        """The replies to what was sent.

        Raises:
            Closed, Damaged: nothing more can be done with this connection.
        """
        sock = self._sock
        found: list[Reply] = []
        try:
            if sock is None:
                raise Closed(unused=True)
            while True:
                data = sock.recv(_READ)
                if not data:
                    raise Closed(unused=not found and self._replies.idle)
                rest = self._replies.feed(data, found, count - len(found))
                if len(found) == count:
                    break
        except OSError as error:
            raise Closed(unused=not found and self._replies.idle) from error
        self.at = NEVER
        if rest:
            raise Damaged("a reply that nobody asked for")
        return found

    def alive(self) -> bool:
        """Whether the server has neither closed it nor sent something that nobody asked for."""
        sock = self._sock
        if sock is None:
            return False
        try:
            # Not through SSLSocket, which would decrypt; that something is there says enough.
            socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def reap(self) -> None:
        self.late = True
        self._shut()

    def close(self) -> None:
        """End it, also while another thread is in it."""
        self.at = NEVER
        self._shut()
        connection = self.connection
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()
        if self._sock is not None:
            self._sock.close()

    def abandon(self) -> None:
        """Let go of it in the child of a fork, without a word to the server."""
        self.at = NEVER
        if self._sock is not None:
            self._sock.close()

    def _shut(self) -> None:
        if self._sock is not None:
            # SSLSocket.shutdown would make the socket read plain bytes from now on.
            with suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
