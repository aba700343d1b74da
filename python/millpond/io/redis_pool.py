"""Blocking connections to one server: a bounded pool, last in first out, under total deadlines."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, NoReturn, final

from millpond.errors import TierError, TierTimeoutError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.reaper import reaper
from millpond.io.redis_channel import Channel, Closed
from millpond.io.redis_wire import Damaged
from millpond.io.threads import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.io.redis_wire import Reply

# Seconds for a connection that is made ahead, for later callers: it takes as many round trips as it
# takes, which over a slow link no caller may have the time for.
AHEAD: Final = 1.0
# What a connection that the reaper has shut looks like to whoever was in it.
_CUT: Final = ("unavailable", "damaged")


@final
class Started:
    """An exchange whose replies are still to be read: by `finish`, or `abandon` ends it."""

    __slots__ = ("_abandon", "_finish", "error")

    def __init__(
        self,
        finish: Callable[[BaseException | None], list[Reply]],
        abandon: Callable[[], None],
    ) -> None:
        self._finish = finish
        self._abandon = abandon
        self.error: BaseException | None = None

    def abandon(self) -> None:
        """Drop the connection instead: nobody will read the replies."""
        self._abandon()

    def finish(self) -> list[Reply]:
        """The replies.

        Raises:
            TierError, TierTimeoutError
        """
        return self._finish(self.error)


@final
class Pool:
    """At most `limit` connections to one server. Thread-safe.

    A caller waits for a free one as long as its deadline allows. When one ran out of time, a thread
    makes another connection, so that callers to come find it. A connection that was idle for
    `max_idle` seconds is not used again: what lies between may have forgotten it.
    """

    def __init__(
        self,
        dial: Callable[[Deadline, Channel], None],
        *,
        tier: str,
        where: Callable[[], str],
        failed: Callable[[], None],
        limit: int = 100,
        max_idle: float = 30.0,
    ) -> None:
        self._dial = dial
        self._tier = tier
        self._where = where
        self._failed = failed
        self._limit = limit
        self._max_idle = max_idle
        # The thread that makes connections ahead, and how many.
        self._ahead: threading.Thread | None = None
        self._wanted = 0
        self._reset()
        forks.tell(self)

    def exchange(self, payload: bytes, count: int, at: float, once: bool = False) -> list[Reply]:
        """Send packed commands over a connection of the pool, and return their replies.

        Args:
            at: the deadline, on the monotonic clock.
            once: these commands may not be sent twice, so a connection is looked at before.

        Raises:
            TierError, TierTimeoutError
        """
        channel = self._take(at, once)
        try:
            channel.send(payload, at)
            found = channel.receive(count)
        except BaseException as error:  # noqa: BLE001 (_again raises it, or what it means)
            return self._again(error, channel, payload, count, at, once)
        self._give(channel)
        return found

    def start(self, payload: bytes, count: int, at: float, once: bool = False) -> Started:
        """Send packed commands without waiting for their replies, which `finish` returns.

        Raises:
            TierError, TierTimeoutError: there is no connection.
        """
        channel = self._take(at, once)
        started = Started(
            lambda error: self._finish(error, channel, payload, count, at, once),
            lambda: self._drop(channel),
        )
        try:
            channel.send(payload, at)
        except BaseException as error:  # noqa: BLE001 (`finish` raises it, or what it means)
            started.error = error
        return started

    def clear(self) -> None:
        """Close what is idle: the server is another one now."""
        while self._idle:
            try:
                channel = self._idle.pop()
            except IndexError:
                break
            self._drop(channel)

    def close(self) -> None:
        """Close everything; what is under way fails."""
        with self._lock:
            self._epoch += 1
            self._wanted = 0
        self._idle.clear()
        for channel in list(self._all):
            channel.ours = True
            self._drop(channel)

    @property
    def size(self) -> int:
        """How many connections there are."""
        return len(self._all)

    def _take(self, at: float, once: bool) -> Channel:
        """A connection to use now; its `used` is 0 if it is new."""
        now = time.monotonic()
        if now >= at:
            raise self._timeout()
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = self._another(at)
        if channel.used and (now - channel.used > self._max_idle or (once and not channel.alive())):
            self._drop(channel)
            channel = self._new(at)
        return channel

    def _give(self, channel: Channel) -> None:
        if channel.late:  # reaped at the very end: all of its reply is there, and it is shut
            self._drop(channel)
            return
        channel.used = time.monotonic()
        self._idle.append(channel)
        if self._waiting:
            self._notify()

    def _finish(
        self,
        error: BaseException | None,
        channel: Channel,
        payload: bytes,
        count: int,
        at: float,
        once: bool,
    ) -> list[Reply]:
        try:
            if error is not None:
                raise error
            found = channel.receive(count)
        except BaseException as failure:  # noqa: BLE001 (_again raises it, or what it means)
            return self._again(failure, channel, payload, count, at, once)
        self._give(channel)
        return found

    def _again(
        self,
        error: BaseException,
        channel: Channel,
        payload: bytes,
        count: int,
        at: float,
        once: bool,
    ) -> list[Reply]:
        """Raise what the error means; or try once more, if the server had closed a connection
        before we used it."""
        self._drop(channel)
        closed = isinstance(error, Closed) and error.unused and not channel.ours
        if not closed or not channel.used or once or channel.late or time.monotonic() >= at:
            self._fail(error, channel, at)
        # It has, most likely, closed the others too.
        self.clear()
        channel = self._new(at)
        try:
            channel.send(payload, at)
            found = channel.receive(count)
        except BaseException as again:  # noqa: BLE001 (_fail raises it, or what it means)
            self._drop(channel)
            self._fail(again, channel, at)
        self._give(channel)
        return found

    def _another(self, at: float) -> Channel:
        """A connection where none is idle: a new one, or the next that is given back."""
        with self._lock:
            self._waiting += 1
            try:
                while True:
                    try:
                        return self._idle.pop()
                    except IndexError:
                        pass
                    if self._made < self._limit:
                        self._made += 1
                        break
                    if not self._free.wait(max(0.0, at - time.monotonic())):
                        raise TierTimeoutError(
                            f"{self._tier}: all {self._limit} connections were in use until the "
                            "deadline",
                            tier=self._tier,
                        )
            finally:
                self._waiting -= 1
        return self._made_one(at)

    def _new(self, at: float) -> Channel:
        """A new connection in the place of one that was just dropped, or a free one."""
        with self._lock:
            if self._made < self._limit:
                self._made += 1
                reserved = True
            else:
                reserved = False
        return self._made_one(at) if reserved else self._another(at)

    def _made_one(self, at: float) -> Channel:
        channel = Channel()
        self._all.add(channel)
        reaper.add(channel)
        channel.at = at
        try:
            if reaper.parked:
                reaper.wake()
            self._dial(Deadline(at), channel)
        except BaseException as error:  # noqa: BLE001 (_fail raises it, or what it means)
            self._drop(channel)
            self._fail(error, channel, at)
        if at - time.monotonic() < channel.round_trip:
            self._give(channel)  # Whoever comes next will have the time for an answer.
            raise self._timeout()
        return channel

    def _want(self) -> None:
        """Have a connection made for the next caller: this one's is lost."""
        with self._lock:
            if self._made < self._limit:
                self._wanted = min(self._wanted + 1, self._limit - self._made)
                if self._ahead is None:
                    self._ahead = begin("millpond-dial", self._make_ahead)

    def _make_ahead(self) -> None:
        while True:
            with self._lock:
                if not self._wanted or self._made >= self._limit:
                    self._wanted = 0
                    self._ahead = None
                    return
                self._wanted -= 1
                self._made += 1
                epoch = self._epoch
            try:
                channel = self._made_one(time.monotonic() + AHEAD)
            except Exception:  # noqa: BLE001 (the caller has been told; this tried to help others)
                with self._lock:
                    self._wanted = 0
                continue
            if epoch == self._epoch:
                self._give(channel)
            else:
                self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        with self._lock:
            known = channel in self._all
            self._all.discard(channel)
            if known:
                self._made -= 1
                self._free.notify()
        reaper.discard(channel)
        channel.close()

    def _notify(self) -> None:
        with self._lock:
            self._free.notify()

    def _fail(self, error: BaseException, channel: Channel, at: float) -> NoReturn:
        # Who did not answer may have been replaced, and not know it when it goes on.
        self._failed()
        judged = self._judged(error, channel, at)
        if isinstance(judged, TierTimeoutError):
            self._want()
        if judged is error:
            raise error
        raise judged from error

    def _judged(self, error: BaseException, channel: Channel, at: float) -> BaseException:
        """The error that a caller gets for what happened on a connection."""
        cut = isinstance(error, Closed) or (isinstance(error, TierError) and error.kind in _CUT)
        if cut and (channel.late or time.monotonic() >= at):
            return self._timeout()
        if isinstance(error, Closed):
            return TierError(
                f"{self._tier} at {self._where()} closed the connection", tier=self._tier
            )
        if isinstance(error, Damaged):
            return TierError(
                f"{self._tier} at {self._where()} sent {error}; the connection was dropped",
                tier=self._tier,
                kind="damaged",
            )
        return error

    def _timeout(self) -> TierTimeoutError:
        return TierTimeoutError(
            f"{self._tier} at {self._where()} did not answer in the time it had", tier=self._tier
        )

    def _reset(self) -> None:
        self._idle: list[Channel] = []
        self._all: set[Channel] = set()
        self._made = 0
        self._waiting = 0
        # Taken by itself and not through the condition, which does that in Python: Ctrl-C in
        # between would leave it taken.
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)
        self._ahead = None
        self._wanted = 0
        self._epoch = 0

    def forked(self) -> None:
        """In the child of a fork: what the parent had open is the parent's."""
        for channel in self._all:
            channel.abandon()
        self._reset()
