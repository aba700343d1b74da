"""`Job`: something to write, and who waits for it, in a thread or in an event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .errors import timeout_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.errors import TierTimeoutError
    from millpond.io.deadline import Deadline


class Unit(Protocol):
    """A transaction, as far as the writer knows it."""

    def finish(self) -> int:
        """Write down what is left; the last entry of the log of invalidations, 0 for none."""
        ...


_Unit = TypeVar("_Unit", bound=Unit)
_T = TypeVar("_T")


def late() -> TierTimeoutError:
    """What a job ends with when its time is over."""
    return timeout_error("a write stood in line or waited for other processes")


class Job(Generic[_Unit, _T]):
    """Something to do in a transaction, and who waits for it."""

    __slots__ = ("_error", "_future", "_landed", "_loop", "_result", "deadline", "run", "weight")

    def __init__(self, run: Callable[[_Unit], _T], deadline: Deadline, weight: int) -> None:
        self.run = run
        self.deadline = deadline
        self.weight = weight
        self._result: tuple[_T] | None = None
        self._error: BaseException | None = None
        self._landed: threading.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None

    def for_thread(self) -> None:
        self._landed = threading.Lock()
        self._landed.acquire()

    def for_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future = self._loop.create_future()

    def wait(self) -> _T:
        if self._landed is not None and not self._landed.acquire(timeout=self.deadline.left()):
            raise late()
        return self._outcome()

    async def await_it(self) -> _T:
        if self._future is None:
            return self._outcome()
        done, _ = await asyncio.wait((self._future,), timeout=self.deadline.left())
        if not done:
            self._future.cancel()
            raise late()
        return self._outcome()

    def land(self, result: _T) -> None:
        """Hand over what it returned. This or `fail` is called once, by the writer."""
        self._result = (result,)
        self._tell()

    def fail(self, error: BaseException) -> None:
        """Hand over why there is nothing."""
        self._error = error
        self._tell()

    def _tell(self) -> None:
        if self._landed is not None:
            self._landed.release()
        elif self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                # The loop was closed, and with it went all who could wait.
                self._future = None

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _outcome(self) -> _T:
        if self._result is None:
            raise self._error or late()
        return self._result[0]
