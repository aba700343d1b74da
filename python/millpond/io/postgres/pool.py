"""A pool of links, for threads and for event loops alike."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, final

from millpond.errors import TierError, TierTimeoutError
from millpond.io import forks
from millpond.io.postgres.errors import timed_out, unavailable
from millpond.io.postgres.link import Link

if TYPE_CHECKING:
    from millpond.io.deadline import Deadline
    from millpond.io.postgres.address import Address
    from millpond.io.postgres.link import Steps

# A connection that is being made and has not moved for so long is given up: what it waits for may
# have been lost, and the server be back.
_PATIENCE: Final = 1.0
# Idle for longer than this it is closed, and older than this it is not kept: the server's memory
# for a connection grows, and behind a balancer the servers change.
_IDLE: Final = 300.0
_AGE: Final = 3600.0
# How many callers may wait for a connection.
_WAITERS: Final = 10_000


class _Dial(NamedTuple):
    """A connection that is being made. One whose caller ran out of time is finished by others."""

    link: Link
    steps: Steps[None]


_Slot: TypeAlias = "Link | _Dial | None"


@final
class Pool:
    """At most `size` links; whoever finds none waits for one, but not beyond the deadline.

    Safe to use from several threads and event loops at once. The child of a fork starts afresh.
    """

    def __init__(self, address: Address, *, size: int, prepare: bool) -> None:
        self._address = address
        self._size = size
        self._prepare = prepare
        self._idle: deque[tuple[Link, float]] = deque()
        self._dials: list[_Dial] = []
        self._used: set[Link] = set()
        self._count = 0
        self._epoch = 0
        self._waiters: deque[Future[_Slot]] = deque()
        self._lock = threading.Lock()
        forks.tell(self)

    @property
    def count(self) -> int:
        """How many links there are, those being made included."""
        return self._count

    @property
    def idle(self) -> int:
        """How many of them nobody uses."""
        return len(self._idle)

    # ---- taking and giving

    def take(self, deadline: Deadline) -> Link:
        """A link that stands; give it back with `give`.

        Raises:
            TierError: none could be had.
        """
        while True:
            epoch, claim = self._claim()
            slot = self._wait(claim, deadline, epoch) if isinstance(claim, Future) else claim
            if isinstance(slot, Link):
                if slot.usable():
                    return slot
                self._drop(slot)
                continue
            again = slot is not None
            dial = slot or self._dial(self._resolved(deadline, epoch), epoch)
            try:
                dial.link.run(dial.steps, deadline.at, "connecting", again=again)
            except BaseException as error:
                self._interrupted(dial, epoch)
                if again and _is_gone(error):
                    continue  # What another caller began; it died before it was used.
                raise
            self._stands(dial.link, epoch)
            if not again or dial.link.usable():
                return dial.link
            self._drop(dial.link)

    async def atake(self, deadline: Deadline) -> Link:
        """The same, in an event loop."""
        while True:
            epoch, claim = self._claim()
            slot = await self._await(claim, deadline, epoch) if isinstance(claim, Future) else claim
            if isinstance(slot, Link):
                if slot.usable():
                    return slot
                self._drop(slot)
                continue
            again = slot is not None
            dial = slot or self._dial(await self._aresolved(deadline, epoch), epoch)
            try:
                await dial.link.arun(dial.steps, deadline.at, "connecting", again=again)
            except BaseException as error:
                self._interrupted(dial, epoch)
                if again and _is_gone(error):
                    continue
                raise
            self._stands(dial.link, epoch)
            if not again or dial.link.usable():
                return dial.link
            self._drop(dial.link)

    def give(self, link: Link) -> None:
        """Take a link back; one that is broken or old is closed."""
        now = time.monotonic()
        if link.broken or now - link.born > _AGE:
            self._drop(link)
            return
        stale: list[Link] = []
        with self._lock:
            if link not in self._used:  # The pool was closed meanwhile.
                stale.append(link)
            elif not self._hand(link):
                self._used.discard(link)
                self._idle.append((link, now))
            # The first was used least recently.
            while self._idle and now - self._idle[0][1] > _IDLE:
                stale.append(self._idle.popleft()[0])
                self._count -= 1
        for one in stale:
            one.close()

    def clear(self) -> None:
        """Close what is idle: the statements prepared there are out of date."""
        with self._lock:
            links = [link for link, _ in self._idle]
            self._idle.clear()
            self._count -= len(links)
        for link in links:
            link.close()

    def close(self) -> None:
        """Close all; what is under way fails. The pool may be used again."""
        with self._lock:
            links = [link for link, _ in self._idle] + [dial.link for dial in self._dials]
            used, waiters = list(self._used), list(self._waiters)
            self._empty()
        for link in used:
            link.interrupt()
        for link in links:
            link.close()
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_exception(_closed())

    # ---- within

    def _empty(self) -> None:
        self._epoch += 1
        self._count = 0
        self._idle.clear()
        self._dials.clear()
        self._used.clear()
        self._waiters.clear()

    def _claim(self) -> tuple[int, _Slot | Future[_Slot]]:
        """A link, one half made, leave to make one (None), or a place in the queue.

        With it comes the epoch: what was claimed before the pool was closed counts no more.
        """
        with self._lock:
            if self._idle:
                link = self._idle.pop()[0]
                self._used.add(link)
                return self._epoch, link
            if self._dials:
                return self._epoch, self._dials.pop()
            if self._count < self._size:
                self._count += 1
                return self._epoch, None
            if len(self._waiters) >= _WAITERS:
                waiting = f"{len(self._waiters)} callers wait for one"
                raise unavailable(f"all {self._size} connections are in use, and {waiting}")
            waiter: Future[_Slot] = Future()
            self._waiters.append(waiter)
            return self._epoch, waiter

    def _wait(self, waiter: Future[_Slot], deadline: Deadline, epoch: int) -> _Slot:
        try:
            return waiter.result(deadline.left())
        except FutureTimeoutError:
            self._withdraw(waiter, epoch)
            raise timed_out("waiting for a connection") from None
        except BaseException:
            self._withdraw(waiter, epoch)
            raise

    async def _await(self, waiter: Future[_Slot], deadline: Deadline, epoch: int) -> _Slot:
        try:
            async with asyncio.timeout(deadline.left()):
                return await asyncio.shield(asyncio.wrap_future(waiter))
        except TimeoutError:
            self._withdraw(waiter, epoch)
            raise timed_out("waiting for a connection") from None
        except BaseException:
            self._withdraw(waiter, epoch)
            raise

    def _withdraw(self, waiter: Future[_Slot], epoch: int) -> None:
        """Wait no longer, and pass on what came at the last moment."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                return
        # Handed over, or about to be: whoever took it from the queue does so without delay.
        if waiter.cancel():
            return
        if waiter.exception() is not None:
            return
        slot = waiter.result()
        if isinstance(slot, Link):
            self.give(slot)
        elif isinstance(slot, _Dial):
            self._interrupted(slot, epoch)
        else:
            self._free(epoch)

    def _hand(self, slot: _Slot) -> bool:
        """Give a link, one half made, or leave to make one, to somebody who waits.

        To the last who came: those who came first have little time left, and serving them would
        let all of them be too late, where there are too many. Under the lock.
        """
        while self._waiters:
            waiter = self._waiters.pop()
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(slot)
                return True
        return False

    def _free(self, epoch: int) -> None:
        """There is one link less, and room for another."""
        with self._lock:
            if epoch == self._epoch and not self._hand(None):
                self._count -= 1

    def _stands(self, link: Link, epoch: int) -> None:
        with self._lock:
            if epoch == self._epoch:
                self._used.add(link)
                return
        link.close()
        raise _closed()

    def _drop(self, link: Link) -> None:
        link.close()
        with self._lock:
            if link not in self._used:  # The pool was closed meanwhile.
                return
            self._used.discard(link)
            if not self._hand(None):
                self._count -= 1

    def _resolved(self, deadline: Deadline, epoch: int) -> bytes:
        try:
            return self._address.resolved(deadline)
        except BaseException:
            self._free(epoch)
            raise

    async def _aresolved(self, deadline: Deadline, epoch: int) -> bytes:
        try:
            return await self._address.aresolved(deadline)
        except BaseException:
            self._free(epoch)
            raise

    def _dial(self, conninfo: bytes, epoch: int) -> _Dial:
        try:
            link = Link(conninfo, prepare=self._prepare)
        except BaseException:
            self._free(epoch)
            raise
        return _Dial(link, link.connecting())

    def _interrupted(self, dial: _Dial, epoch: int) -> None:
        """Keep what is half made for the next caller, unless there is no hope for it."""
        if not dial.link.broken and time.monotonic() - dial.link.moved < _PATIENCE:
            with self._lock:
                if epoch == self._epoch:
                    if not self._hand(dial):
                        self._dials.append(dial)
                    return
        self._address.next_host()
        dial.link.close()
        self._free(epoch)

    def forked(self) -> None:
        """In the child of a fork: the connections are the parent's, and so may be the lock."""
        links = [link for link, _ in self._idle] + [dial.link for dial in self._dials]
        self._lock = threading.Lock()
        self._empty()
        for link in links:
            link.close()


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, TierError) and not isinstance(error, TierTimeoutError)


def _closed() -> TierError:
    return unavailable("the tier was closed")
