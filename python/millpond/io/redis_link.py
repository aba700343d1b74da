"""`Link`: the connection of an event loop to one server, shared by all of its tasks.

Commands are written as they come and replies arrive in the same order, so many tasks share one
connection without waiting for each other, and what they send at the same time leaves together.

A task that is cancelled or out of time just leaves: its reply is read when it arrives and dropped,
so no reply reaches another. A link with a reply overdue takes no more commands (the next one gets a
new link); it has as long again to catch up, then it is ended.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

from millpond.io.redis_channel import Closed
from millpond.io.redis_dial import drop
from millpond.io.redis_wire import Damaged, Replies, Reply

if TYPE_CHECKING:
    from millpond.io.redis_url import Address

_TICK: Final = 0.004
# How long after its deadline a reply may still arrive before the link is ended.
_GRACE: Final = 0.1
# Bytes written that the server has not taken yet: beyond it nobody writes more.
_UNSENT: Final = 4 << 20


@final
class _Waiter:
    """One exchange: who waits for it, until when, and what has arrived."""

    __slots__ = ("at", "count", "found", "future")

    def __init__(self, future: asyncio.Future[list[Reply]], count: int, at: float) -> None:
        self.future = future
        self.count = count
        self.at = at
        self.found: list[Reply] = []


@final
class Link(asyncio.Protocol):
    """One connection of one event loop. Used on that loop alone.

    Attributes:
        usable: whether it takes commands.
        address: of the server.
        used: when it last received something.
        round_trip: seconds that the first answer took.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: Any) -> None:
        self.loop = loop
        self.address: Address | None = connection.address
        self.usable = True
        self.used = loop.time()
        self.round_trip = 0.0
        self.waiting: deque[_Waiter] = deque()
        self._connection = connection
        self._replies = Replies()
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._retired = False
        self._over = False
        transport: asyncio.Transport = connection._writer.transport
        self._transport = transport
        transport.set_write_buffer_limits(high=_UNSENT)
        transport.set_protocol(self)
        if transport.is_closing():
            self.usable = False

    def send(self, payload: bytes, count: int, at: float) -> asyncio.Future[list[Reply]]:
        """Send packed commands; the future gets their replies, or Closed, or TimeoutError."""
        future = self.loop.create_future()
        self.waiting.append(_Waiter(future, count, at))
        self._transport.write(payload)
        if self._transport.is_closing():  # The write has found that out; we are told in a moment.
            self.usable = False
        if self._timer is None:
            self._timer = self.loop.call_later(_TICK, self._tick)
        return future

    def close(self) -> None:
        """End it; what is under way fails, and is not tried again."""
        self._end(Closed(unused=False))

    def quiet(self) -> bool:
        """Whether the server has sent nothing, its end included, that the loop has yet to see."""
        if not self.waiting:
            poll = select.poll()
            poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
            if poll.poll(0):
                self.retire()
        return self.usable

    def retire(self) -> None:
        """Take no more commands, and end when the last reply has arrived."""
        self._retired = True
        self.usable = False
        if not self.waiting:
            self._end(None)

    def data_received(self, data: bytes) -> None:
        waiting = self.waiting
        self.used = self.loop.time()
        try:
            while data:
                if not waiting:
                    raise Damaged("a reply that nobody asked for")
                waiter = waiting[0]
                found = waiter.found
                data = self._replies.feed(data, found, waiter.count - len(found))
                if len(found) == waiter.count:
                    waiting.popleft()
                    if not waiter.future.done():
                        waiter.future.set_result(found)
        except Damaged as damaged:
            self._end(damaged)
            return
        if not waiting and (self._late or self._retired):
            self._caught_up()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def pause_writing(self) -> None:
        self.usable = False

    def resume_writing(self) -> None:
        self.usable = not (self._over or self._late or self._retired)

    def _caught_up(self) -> None:
        self._late = False
        self.usable = not self._over
        if self._retired:
            self._end(None)

    def _tick(self) -> None:
        """Tell those whose time is over; end the link if the server is far behind."""
        self._timer = None
        now = time.monotonic()
        for waiter in self.waiting:
            if waiter.at <= now and not waiter.future.done():
                waiter.future.set_exception(TimeoutError())
                self._late = True
                self.usable = False
        if self.waiting and self.waiting[0].at + _GRACE <= now:
            self._end(None)
        elif self.waiting:
            self._timer = self.loop.call_later(_TICK, self._tick)

    def _end(self, failure: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        drop(self._connection)
        first = True
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.future.done():
                unused = not waiter.found and (self._replies.idle or not first)
                if not isinstance(failure, (Damaged, Closed)):
                    failure = None
                waiter.future.set_exception(failure or Closed(unused))
            first = False
