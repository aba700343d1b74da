"""The reaper: one thread that shuts down whatever is past its deadline.

A socket's timeout counts from one receive to the next, so a reply that drips byte by byte outlives
every timeout; and a timeout costs a system call (`poll`) before each receive. So sockets block, and
whoever uses one writes the moment by which it must be done into `at`: an assignment, no lock and no
system call. The reaper looks at all of them every few milliseconds and calls `reap()` on those that
are overdue, which wakes the thread that is blocked in one.

While nothing is in use the thread sleeps until `wake`, and it ends when nothing is left to watch.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, Protocol, final

from millpond.errors import TierError
from millpond.io import forks
from millpond.io.threads import begin
from millpond.io.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER: Final = math.inf


class Watched(Protocol):
    """Something with a deadline.

    Attributes:
        at: the moment on the monotonic clock by which it must be done; `NEVER` while it is idle.
    """

    at: float

    def reap(self) -> None:
        """End what is under way. Called on the reaper's thread; must neither block nor raise."""
        ...


@final
class Reaper:
    """Calls `reap()` on what is past its deadline, at most `tick` seconds late.

    Whoever sets `at` looks at `parked` afterwards and calls `wake` if it is true. The reaper sets
    `parked` before it looks round for the last time, so one of the two sees the other.

    Attributes:
        parked: whether the thread sleeps (or does not exist yet) and wants to be woken.
    """

    def __init__(
        self,
        tick: float = 0.004,
        linger: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.parked = True
        self._tick = tick
        self._linger = linger
        self._clock = clock
        self._watched: weakref.WeakSet[Watched] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._signal = Wake()
        self._thread: threading.Thread | None = None
        forks.tell(self)

    def add(self, watched: Watched) -> None:
        """Watch it from now on, while it lives and is not discarded."""
        with self._lock:
            self._watched.add(watched)

    def discard(self, watched: Watched) -> None:
        """Watch it no longer; the thread ends with the last."""
        with self._lock:
            self._watched.discard(watched)
            if self._watched:
                return
        self._signal.set()

    def wake(self) -> None:
        """Look round: something has got a deadline.

        Raises:
            TierError: nobody can, so nothing may be begun that waits for a server.
        """
        self.parked = False
        self._signal.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = begin("millpond-reaper", self._run)
                    if self._thread is None:
                        self.parked = True
                        raise TierError("no thread can be started that ends what is overdue")

    def stop(self) -> None:
        """Watch nothing, and wait until the thread is over."""
        with self._lock:
            thread = self._thread
            self._watched.clear()
        self._signal.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def look(self) -> float:
        """Reap what is overdue; return the nearest deadline that is left, or `NEVER`."""
        with self._lock:
            watched = list(self._watched)
        nearest = NEVER
        now = self._clock()
        for one in watched:
            at = one.at
            if at <= now:
                one.at = NEVER
                one.reap()
            elif at < nearest:
                nearest = at
        return nearest

    def _run(self) -> None:
        busy = self._clock()
        while not self._over():
            nearest = self.look()
            now = self._clock()
            if nearest < NEVER:
                busy = now
            elif now - busy > self._linger:
                self.parked = True
                if self.look() == NEVER:
                    self._signal.wait()
                self.parked = False
                self._signal.clear()
                busy = self._clock()
                continue
            time.sleep(max(0.0, min(self._tick, nearest - now)))

    def _over(self) -> bool:
        with self._lock:
            if self._watched:
                return False
            self.parked = True
            self._thread = None
            return True

    def forked(self) -> None:
        """In the child of a fork: its threads are gone, and a lock may be held by one of them."""
        self.parked = True
        self._watched = weakref.WeakSet()
        self._lock = threading.Lock()
        self._signal = Wake()
        self._thread = None


# The one that a process needs. Its thread starts with the first deadline.
reaper: Final = Reaper()
