"""`Links`: which link (`redis_link.py`) an event loop has to a server, and how it gets another."""

from __future__ import annotations

import asyncio
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, final

from millpond.errors import TierError, TierTimeoutError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.redis_channel import Closed
from millpond.io.redis_link import Link
from millpond.io.redis_pool import AHEAD
from millpond.io.redis_wire import Damaged, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

# Exchanges of one event loop that may be under way; beyond it nobody sends more.
MAX_WAITING: Final = 16384


@final
class _Loop:
    """What one event loop has: its link, and the dialling of the next."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.links: weakref.WeakSet[Link] = weakref.WeakSet()
        self.dialling: asyncio.Task[Link] | None = None
        self.life: AsyncGenerator[None] | None = None


@final
class Links:
    """The links of all event loops to one server. Thread-safe: each loop sees only its own.

    A loop's links end with it (`asyncio.run` ends async generators before it closes its loop; one
    is kept for that). So nobody has to close anything in each loop.
    """

    def __init__(
        self,
        dial: Callable[[Deadline, Deadline], Awaitable[Any]],
        ready: Callable[[Link, float], Awaitable[None]],
        *,
        tier: str,
        where: Callable[[], str],
        failed: Callable[[], None],
        max_idle: float = 30.0,
    ) -> None:
        self._dial = dial
        self._ready = ready
        self._tier = tier
        self._where = where
        self._failed = failed
        self._max_idle = max_idle
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = (
            weakref.WeakKeyDictionary()
        )
        forks.tell(self)

    async def exchange(
        self, payload: bytes, count: int, at: float, once: bool = False
    ) -> list[Reply]:
        """Send packed commands, and return their replies.

        Args:
            at: the deadline, on the monotonic clock.
            once: these commands may not be sent twice.

        Raises:
            TierError, TierTimeoutError
        """
        now = time.monotonic()
        if now >= at:
            raise self._timeout()
        loop = asyncio.get_running_loop()
        mine = self._loops.get(loop)
        link = None if mine is None else mine.link
        fresh = link is None or not link.usable or loop.time() - link.used > self._max_idle
        if fresh or link is None or (once and not link.quiet()):
            link = await self._fresh(loop, at)
        elif len(link.waiting) >= MAX_WAITING:
            raise TierError(
                f"{self._tier}: {MAX_WAITING} commands of this event loop wait already",
                tier=self._tier,
            )
        try:
            return await link.send(payload, count, at)
        except Closed as closed:
            if fresh or once or not closed.unused or time.monotonic() >= at:
                raise self._judged(closed, at) from closed
        except (TimeoutError, Damaged) as error:
            raise self._judged(error, at) from error
        link = await self._fresh(loop, at)
        try:
            return await link.send(payload, count, at)
        except (Closed, TimeoutError, Damaged) as error:
            raise self._judged(error, at) from error

    async def alone(self, payload: bytes, count: int, at: float) -> list[Reply]:
        """The same over a link of its own: the server answers nothing else on it meanwhile."""
        link = None
        try:
            dialled = await self._dial(Deadline(at), Deadline(at))
            link = Link(asyncio.get_running_loop(), dialled)
            await self._ready(link, at)
            return await link.send(payload, count, at)
        except (Closed, TimeoutError, Damaged, TierError) as error:
            raise self._judged(error, at) from error
        finally:
            if link is not None:
                link.close()

    def clear(self) -> None:
        """Have every loop make a new link; what is under way goes on over the old one."""
        for loop, mine in list(self._loops.items()):
            _on(loop, _retire, mine)

    def close(self) -> None:
        """End the links of all loops; what is under way fails."""
        for loop, mine in list(self._loops.items()):
            _on(loop, _end, mine)
        self._loops.clear()

    async def aclose(self) -> None:
        """The same, and wait until this loop's are gone."""
        mine = self._loops.get(asyncio.get_running_loop())
        self.close()
        if mine is not None and mine.life is not None:
            await mine.life.aclose()
        await asyncio.sleep(0)

    async def _fresh(self, loop: asyncio.AbstractEventLoop, at: float) -> Link:
        """The loop's link, dialled if there is none; all who wait for it dial once."""
        mine = self._loops.get(loop)
        if mine is None:
            self._forget_closed()
            mine = self._loops[loop] = _Loop()
            mine.life = self._until_it_ends(loop, mine)
            await mine.life.__anext__()
        while True:
            link = mine.link
            if link is not None and link.usable:
                if loop.time() - link.used <= self._max_idle:
                    return link
                link.close()
            if mine.dialling is None:
                mine.dialling = loop.create_task(self._new(loop, mine, at))
                mine.dialling.add_done_callback(_seen)
            dialling = mine.dialling
            await asyncio.wait((dialling,), timeout=max(0.0, at - time.monotonic()))
            if not dialling.done():
                raise self._timeout()
            error = None if dialling.cancelled() else dialling.exception()
            if error is None and not dialling.cancelled():
                link = dialling.result()
                if at - time.monotonic() < link.round_trip:
                    raise self._timeout()  # Whoever comes next will have the time for an answer.
                return link
            # The one who dialled had less time than we have.
            if not isinstance(error, TierTimeoutError) or time.monotonic() >= at:
                raise self._judged(error or Closed(unused=False), at) from error

    async def _new(self, loop: asyncio.AbstractEventLoop, mine: _Loop, at: float) -> Link:
        link = None
        # It may take longer than this caller has, so that those who come next find it.
        until = max(at, time.monotonic() + AHEAD)
        try:
            link = Link(loop, await self._dial(Deadline(at), Deadline(until)))
            mine.links.add(link)
            await self._ready(link, until)
            old, mine.link = mine.link, link
            if old is not None:
                old.retire()
            return link
        except BaseException as error:
            if link is not None:
                link.close()
            if isinstance(error, (Closed, TimeoutError, Damaged, TierError)):
                raise self._judged(error, until) from error
            raise
        finally:
            mine.dialling = None

    async def _until_it_ends(
        self, loop: asyncio.AbstractEventLoop, mine: _Loop
    ) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _end(mine)
            if self._loops.get(loop) is mine:
                del self._loops[loop]

    def _forget_closed(self) -> None:
        """Let go of loops that were closed without ending their generators."""
        for loop, mine in list(self._loops.items()):
            if loop.is_closed():
                del self._loops[loop]
                _end(mine)

    def _judged(self, error: BaseException, at: float) -> BaseException:
        # Who did not answer may have been replaced, and not know it when it goes on.
        self._failed()
        where = self._where()
        late = time.monotonic() >= at
        if isinstance(error, TierError) and not (error.kind == "unavailable" and late):
            # Each who waited for the same dialling raises an error of its own.
            return type(error)(*error.args, tier=error.tier, kind=error.kind)
        if late or isinstance(error, TimeoutError):
            return self._timeout()
        if isinstance(error, Damaged):
            text = f"{self._tier} at {where} sent {error}; the connection was dropped"
            return TierError(text, tier=self._tier, kind="damaged")
        return TierError(f"{self._tier} at {where} closed the connection", tier=self._tier)

    def _timeout(self) -> TierTimeoutError:
        return TierTimeoutError(
            f"{self._tier} at {self._where()} did not answer in the time it had", tier=self._tier
        )

    def forked(self) -> None:
        """In the child of a fork: the parent's loops, and their sockets, are the parent's.

        They are kept and left alone: closing them would take them out of the parent's epoll.
        """
        _abandoned.append(self._loops)
        self._loops = weakref.WeakKeyDictionary()


def _seen(task: asyncio.Task[Link]) -> None:
    """Take note of how a dialling ended that nobody may be waiting for any more."""
    if not task.cancelled():
        task.exception()


def _on(loop: asyncio.AbstractEventLoop, do: Callable[[_Loop], None], mine: _Loop) -> None:
    """Do something to what a loop has, from wherever this is called."""
    if loop is asyncio._get_running_loop():
        do(mine)
        return
    with suppress(RuntimeError):  # the loop is closed, and with it what it had
        loop.call_soon_threadsafe(do, mine)


def _retire(mine: _Loop) -> None:
    link, mine.link = mine.link, None
    if link is not None:
        link.retire()


def _end(mine: _Loop) -> None:
    if mine.dialling is not None:
        mine.dialling.cancel()
    for link in list(mine.links):
        link.close()


_abandoned: list[Any] = []
