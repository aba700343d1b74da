"""What others do to a Redis, told by the server: one connection that is read for pushes only.

RESP3 with CLIENT TRACKING in BCAST mode on the prefix of the stamps. Entries are not tracked: that
costs the server tens of microseconds a SET with many workers, and empties good memories at every
fill, expiry and eviction. A stamp that is evicted or flushed is told too, so what is known here is
never newer than what the server has.

A PING a second shows that the connection still carries; whatever the server did before it answered
has been told by then.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, final

from millpond.errors import TierError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.jitter import jittered
from millpond.io.redis_history import History
from millpond.io.redis_wire import Damaged, Push, Refusal, Replies, Reply, pack, refused
from millpond.io.threads import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.io.redis import Server

_log = logging.getLogger("millpond.tiers")

_READ: Final = 65536
_PING: Final = pack(b"PING")
_CONNECT: Final = 2.0  # seconds
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Told(Protocol):
    """Who is told. All of it on the feed's own thread."""

    def begun(self, subscribed: bool, missed: Sequence[bytes] | None) -> None:
        """The server tells from now on.

        `subscribed`: also what is published on the channel. `missed`: what was touched since all
        was told; None: anything may have been.
        """
        ...

    def touched(self, keys: Sequence[bytes] | None) -> None:
        """These keys were changed, evicted or expired; None: all of them."""
        ...

    def carried(self, sent: float) -> None:
        """All that was done before `sent`, on the monotonic clock, has been told."""
        ...

    def published(self, text: bytes) -> None:
        """This was published on the feed's channel."""
        ...

    def ended(self) -> None:
        """Nothing is told any more."""
        ...


@final
class Feed:
    """Listens to one server until it is closed; connects again whenever the connection ends.

    Args:
        server: the server.
        prefix: of the keys that are told of.
        told: who is told.
        channel: what is published there is told too; b"" for none.
        log: the key of the server's history; b"" for none.
        every: seconds between two PINGs; without an answer in as many, the connection is dead.

    Raises:
        TierError: no thread can be started.
    """

    def __init__(
        self,
        server: Server,
        prefix: bytes,
        told: Told,
        *,
        channel: bytes = b"",
        log: bytes = b"",
        every: float = 1.0,
    ) -> None:
        self._server = server
        self._channel = channel
        self._history = History(log)
        self._prefix = prefix
        self._told = told
        self._every = every
        self._sock: socket.socket | None = None
        self._stop = threading.Event()
        self._said = ""
        forks.tell(self)
        thread = begin("millpond-feed", self._run)
        if thread is None:
            raise TierError("no thread can be started that listens", tier=server.tier)
        self._thread = thread

    def close(self) -> None:
        """End it, and wait until nobody is told any more."""
        self._stop.set()
        self._shut()
        if self._thread is not threading.current_thread():
            self._thread.join(_CONNECT)

    def forked(self) -> None:
        """In the child it is over, and the connection goes on as the parent's."""
        self._stop = threading.Event()
        self._stop.set()
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 (a provider of credentials may raise anything)
                self._say(error)
            finally:
                self._shut()
                self._told.ended()
            lasted = time.monotonic() - began
            pause = _FIRST_PAUSE if lasted > 1 else min(2 * pause, _LONGEST_PAUSE)
            self._stop.wait(jittered(pause))

    def _listen(self) -> None:
        deadline = Deadline.after(_CONNECT)
        connection = self._server.dial(deadline, self._hold)
        sock = self._sock
        if sock is None:
            return
        conversation = _Conversation(sock, self._told)

        def ask(command: bytes) -> Reply:
            return conversation.ask(command, deadline.at)

        try:
            same_run = self._history.run(ask)
            for command in (
                pack(b"HELLO", 3),
                pack(b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", self._prefix),
            ):
                reply = ask(command)
                if isinstance(reply, Refusal):
                    raise refused(reply, self._server.tier)
            self._server.check(connection, deadline)
            self._said = ""
            missed = self._history.missed(ask, same_run)
            self._told.begun(self._subscribe(conversation, deadline.at), missed)
            while not self._stop.is_set():
                sent = time.monotonic()
                self._history.passed(conversation.ask(self._history.beat, sent + self._every))
                self._told.carried(sent)
                conversation.listen(sent + self._every)
        finally:
            with suppress(Exception):
                connection.disconnect()

    def _subscribe(self, conversation: _Conversation, at: float) -> bool:
        """Whether what is published is told. Without it those who wait ask now and then."""
        if not self._channel:
            return False
        # SUBSCRIBE is answered by a push, its refusal by a reply; the PING ends the wait for both.
        command = pack(b"SUBSCRIBE", self._channel)
        reply = conversation.ask(command + _PING, at)
        if not isinstance(reply, Refusal):
            return True
        conversation.answer(at)
        return False

    def _hold(self, sock: socket.socket) -> None:
        self._sock = sock
        if self._stop.is_set():
            self._shut()

    def _shut(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _say(self, error: Exception) -> None:
        """Once for each kind of trouble until it has worked again."""
        kind = error.kind if isinstance(error, TierError) else type(error).__name__
        if kind != self._said and not self._stop.is_set():
            self._said = kind
            foreign = not isinstance(error, (TierError, Damaged, OSError))
            _log.warning(
                "%s: invalidations are not heard: %s",
                self._server.tier,
                error,
                exc_info=error if foreign else None,
            )


@final
class _Conversation:
    """Questions and answers on a connection on which pushes arrive in between."""

    def __init__(self, sock: socket.socket, told: Told) -> None:
        self._sock = sock
        self._told = told
        self._replies = Replies()
        self._answers: list[Reply] = []

    def ask(self, command: bytes, at: float) -> Reply:
        """The reply to a command, by that moment of the monotonic clock."""
        self._sock.settimeout(max(at - time.monotonic(), 0.001))
        self._sock.sendall(command)
        return self.answer(at)

    def answer(self, at: float) -> Reply:
        """The next reply, by that moment."""
        while not self._answers:
            if not self._read(at):
                raise TimeoutError("no answer to PING in time")
        return self._answers.pop(0)

    def listen(self, until: float) -> None:
        """Pass on what is pushed until then."""
        while self._read(until):
            pass

    def _read(self, at: float) -> bool:
        """Read once; False when the time is over."""
        left = at - time.monotonic()
        if left <= 0:
            return False
        self._sock.settimeout(left)
        try:
            data = self._sock.recv(_READ)
        except TimeoutError:
            return False
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        found: list[Reply] = []
        while data:
            data = self._replies.feed(data, found, 1 << 30)
        for reply in found:
            if isinstance(reply, Push):
                self._pushed(reply)
            else:
                self._answers.append(reply)
        return True

    def _pushed(self, push: Push) -> None:
        match list(push):
            case [b"invalidate", None]:
                self._told.touched(None)
            case [b"invalidate", [*keys]]:
                self._told.touched([key for key in keys if isinstance(key, bytes)])
            case [b"message", _, bytes(text)]:
                self._told.published(text)
            case _:
                pass
