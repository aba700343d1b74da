"""One connection to PostgreSQL, driven from outside.

What takes time is a generator that yields what it waits for (READ, WRITE or both) and is sent what
is there, so the same code serves a thread that polls and an event loop that is told. No call in it
blocks. `run` and `arun` carry a generator out until a deadline, which counts for all of it: a reply
that drips in byte by byte does not outlive it. A link belongs to no loop: one pool serves them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar, final

from millpond.errors import missing_extra
from millpond.io.postgres.errors import NO_STATE, Refusal, foreign, lost, refusal, timed_out

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from psycopg.pq.abc import PGconn, PGresult

T = TypeVar("T")
Steps: TypeAlias = "Generator[int, int, T]"

READ: Final = 1
WRITE: Final = 2
_BINARY: Final = 1


class Statement(NamedTuple):
    """A statement with numbered parameters, all in binary.

    Attributes:
        name: under which it is prepared, once for each connection.
        sql: its text.
        types: the OIDs of its parameters.
    """

    name: bytes
    sql: bytes
    types: tuple[int, ...]


def libpq() -> Any:
    """psycopg's libpq."""
    try:
        from psycopg import pq
    except ImportError as error:
        raise missing_extra("the PostgreSQL tier", "psycopg", "postgresql") from error
    return pq


@final
class Link:
    """A connection; used by one caller at a time.

    Attributes:
        born: when it was begun, on the monotonic clock.
        moved: when there was last something of the server's, while it was being made.
        broken: whether it must not be used again.
    """

    def __init__(self, conninfo: bytes, *, prepare: bool) -> None:
        pq = libpq()
        self.born = self.moved = time.monotonic()
        self.broken = False
        self._prepare = prepare
        self._prepared: set[bytes] = set()
        self._passed = 0  # Results of the last answer before the first error.
        self._bad = pq.ConnStatus.BAD
        self._fatal = pq.ExecStatus.FATAL_ERROR
        self._synced = pq.ExecStatus.PIPELINE_SYNC
        self._poll_states = pq.PollingStatus
        self._error = _psycopg_error()
        self._poller = select.poll()
        self._watched = -1
        self._wanted = 0
        self._owner = os.getpid()
        self._let_go = False
        # Resolves no name: host names came with their addresses.
        self.pgconn: PGconn = pq.PGconn.connect_start(conninfo)

    # ---- what it does, in steps

    def connecting(self) -> Steps[None]:
        """Come to stand."""
        states = self._poll_states
        while self.pgconn.status != self._bad:
            state = self.pgconn.connect_poll()
            if state == states.OK:
                self.pgconn.nonblocking = 1
                return
            if state == states.FAILED:
                break
            # Sent 0, it is being taken up again after a deadline, and nothing is there yet.
            while not (yield READ if state == states.READING else WRITE):
                pass
            self.moved = time.monotonic()
        self.broken = True
        raise lost(self.pgconn, "connecting")

    def asking(
        self, statement: Statement, values: Sequence[bytes | None]
    ) -> Steps[PGresult | Refusal]:
        """Execute a statement; its result, or why the server refused it."""
        pgconn = self.pgconn
        formats = [_BINARY] * len(values)
        if not self._prepare:
            pgconn.send_query_params(statement.sql, values, statement.types, formats, _BINARY)
            return (yield from self._answer())
        if statement.name in self._prepared:
            pgconn.send_query_prepared(statement.name, values, formats, result_format=_BINARY)
            return (yield from self._answer())
        # Both in one round trip: where that takes most of the deadline, two would never do.
        pgconn.enter_pipeline_mode()
        pgconn.send_prepare(statement.name, statement.sql, statement.types)
        pgconn.send_query_prepared(statement.name, values, formats, result_format=_BINARY)
        pgconn.pipeline_sync()
        answer = yield from self._answer(pipeline=True)
        pgconn.exit_pipeline_mode()
        if self._passed:  # Also if it was refused afterwards.
            self._prepared.add(statement.name)
        return answer

    def telling(self, script: bytes) -> Steps[PGresult | Refusal]:
        """Execute several statements without parameters, as one transaction."""
        self.pgconn.send_query(script)
        return (yield from self._answer())

    def hearing(self) -> Steps[None]:
        """Take in what the server has sent unasked; notifications are then in `pgconn`."""
        yield READ
        self._consume()

    def _answer(self, *, pipeline: bool = False) -> Steps[PGresult | Refusal]:
        pgconn = self.pgconn
        while pgconn.flush():
            if (yield READ | WRITE) & READ:
                self._consume()
        answer: PGresult | None = None
        self._passed = 0
        while True:
            while pgconn.is_busy():
                yield READ
                self._consume()
            result = pgconn.get_result()
            if result is None:
                # In a pipeline the end of one statement, else of all.
                if not pipeline or self.gone:
                    break
            elif result.status == self._synced:
                break
            # Of several the first error counts, else the last.
            elif answer is None or answer.status != self._fatal:
                answer = result
                self._passed += result.status != self._fatal
        if self.gone or answer is None:
            self.broken = True
        if answer is None:
            raise lost(pgconn, "waiting for a reply")
        if answer.status == self._fatal:
            why = refusal(answer)
            if self.broken and why.state == NO_STATE:  # libpq's own words, not the server's.
                raise lost(pgconn, "waiting for a reply")
            return why
        return answer

    def _consume(self) -> None:
        self.pgconn.consume_input()

    # ---- who carries the steps out

    def run(self, steps: Steps[T], until: float, doing: str, *, again: bool | None = None) -> T:
        """Carry steps out on this thread, until a moment on the monotonic clock.

        Steps that are not finished then cannot be taken up again, and leave the link broken: a
        reply that is still to come would be taken for the next statement's. Only where `again` is
        given they can: False the first time, True afterwards.

        Raises:
            TierTimeoutError: it came to that moment.
            TierError: the connection is gone.
        """
        finished = again is not None
        try:
            wanted = steps.send(0) if again else next(steps)
            while True:
                left = until - time.monotonic()
                if left <= 0:
                    raise timed_out(doing)
                self._watch(wanted)
                events = self._poller.poll(math.ceil(left * 1e3))
                if events:
                    wanted = steps.send(_flags(events[0][1]))
        except StopIteration as done:
            finished = True
            result: T = done.value
            return result
        except self._error as error:
            finished = False
            raise foreign(error) from error
        finally:
            self.broken |= not finished

    async def arun(
        self, steps: Steps[T], until: float, doing: str, *, again: bool | None = None
    ) -> T:
        """The same, in an event loop."""
        loop = asyncio.get_running_loop()
        finished = again is not None
        try:
            wanted = steps.send(0) if again else next(steps)
            while True:
                left = until - time.monotonic()
                if left <= 0:
                    raise timed_out(doing)
                if flags := await _ready(loop, self.pgconn.socket, wanted, left):
                    wanted = steps.send(flags)
        except StopIteration as done:
            finished = True
            result: T = done.value
            return result
        except self._error as error:
            finished = False
            raise foreign(error) from error
        finally:
            self.broken |= not finished

    def _watch(self, wanted: int) -> None:
        descriptor = self.pgconn.socket
        if descriptor == self._watched and wanted == self._wanted:
            return
        # While it connects, libpq may close a socket and open another.
        if self._watched not in (-1, descriptor):
            self._poller = select.poll()
        mask = (select.POLLIN if wanted & READ else 0) | (select.POLLOUT if wanted & WRITE else 0)
        self._poller.register(descriptor, mask)
        self._watched, self._wanted = descriptor, wanted

    # ---- between calls

    @property
    def gone(self) -> bool:
        """Whether the server, or the network, has ended it."""
        return bool(self.pgconn.status == self._bad)

    def interrupt(self) -> None:
        """From another thread: let what is under way fail."""
        if self._owner != os.getpid():
            return  # Of the parent's connection; a shutdown would reach it too.
        with (
            contextlib.suppress(OSError, self._error),  # It may be closed already.
            socket.socket(fileno=os.dup(self.pgconn.socket)) as double,
        ):
            double.shutdown(socket.SHUT_RDWR)

    def usable(self) -> bool:
        """Whether it still stands, as far as can be seen without asking the server."""
        if self.broken:
            return False
        self._watch(READ)
        if self._poller.poll(0):
            # A goodbye, a notice, or the end. Nothing else comes unasked.
            try:
                self._consume()
                self.pgconn.is_busy()
            except self._error:
                self.broken = True
                return False
            self.broken |= self.gone or bool(self._poller.poll(0))
        return not self.broken

    def close(self) -> None:
        """End it. In a forked child only our copy of the socket: the session is the parent's."""
        self.broken = True
        if self._owner == os.getpid():
            self.pgconn.finish()
            return
        if not self._let_go:
            self._let_go = True  # Another file may have the number soon.
            with contextlib.suppress(self._error, OSError):
                os.close(self.pgconn.socket)


def _psycopg_error() -> type[Exception]:
    from psycopg import Error

    return Error


def _flags(events: int) -> int:
    # An error or the end wakes whatever waits; libpq then finds out.
    read = READ if events & ~select.POLLOUT else 0
    return read | (WRITE if events & ~select.POLLIN else 0)


async def _ready(loop: asyncio.AbstractEventLoop, descriptor: int, wanted: int, left: float) -> int:
    future: asyncio.Future[int] = loop.create_future()
    timer = loop.call_later(left, _settle, future, 0)
    if wanted & READ:
        loop.add_reader(descriptor, _settle, future, READ)
    if wanted & WRITE:
        loop.add_writer(descriptor, _settle, future, WRITE)
    try:
        return await future
    finally:
        timer.cancel()
        if wanted & READ:
            loop.remove_reader(descriptor)
        if wanted & WRITE:
            loop.remove_writer(descriptor)


def _settle(future: asyncio.Future[int], flags: int) -> None:
    if not future.done():
        future.set_result(flags)
