"""`Turn`: one call's wait for another process that is loading the value which it wants."""

from __future__ import annotations

import math
import secrets
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

from millpond.cache.stage import Budget
from millpond.cache.steps import WAIT
from millpond.errors import WaitTimeoutError
from millpond.io.jitter import jittered
from millpond.io.wake import Wake

if TYPE_CHECKING:
    import asyncio

    from millpond.cache.leases import Keeper
    from millpond.cache.steps import Steps
    from millpond.tiers.base import Lease, Outcome

SEEN: Final = 64  # bytes of an entry by which it is told from a later one; the time is among them
LANDED: Final = object()
TAKEN: Final = object()
# Seconds between two questions, while ends are told and while they are not: a share of the time
# that was waited so far, within bounds. A tier that froze is found out by them alone, so who waits
# for a short load has to ask soon.
_SHARE: Final = 0.25
_TOLD: Final = (0.03, 0.5)
_UNTOLD: Final = (0.005, 0.05)
# A function that runs longer than this may never end: nobody waits longer for another's load.
_LONGEST: Final = 300.0


@final
class Turn:
    """One call that may load a value, or wait until another process has.

    Args:
        keeper: of the leases.
        key: of the value.
        patience: seconds that it waits at most.

    A thread waits in `wait`, a task in `await_`; the steps of the flow do not care which.
    """

    __slots__ = (
        "_awaited",
        "_future",
        "_gate",
        "_keeper",
        "_loop",
        "_outcomes",
        "_patience",
        "_until",
        "fence",
        "key",
        "waited",
    )

    def __init__(self, keeper: Keeper, key: str, patience: float | None = None) -> None:
        self._keeper = keeper
        self._patience = patience
        self._until = math.inf if patience is None else monotonic() + patience
        self.key = key
        # Not from `random`: no two workers may ever draw the same.
        self.fence = 1 + secrets.randbits(62)
        self.waited = False
        self._awaited: set[int] = set()  # whose leases it has waited for
        self._outcomes: dict[int, Outcome] = {}
        self._gate: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None

    def take(self, seen: bytes, budget: Budget, *, waits: bool = True) -> Steps:
        """A `Held`; LANDED: there is an entry now; or None: load without a lease.

        Unless it `waits`, TAKEN: another process has the lease.

        Raises:
            WaitTimeoutError: another process's load takes longer than `patience`.
        """
        keeper = self._keeper
        self._awaited.clear()
        began = monotonic()
        latest = began + (keeper.seconds if keeper.is_nested() else _LONGEST)
        while True:
            # To ask again costs no time that the call would not have waited anyway.
            trial = Budget(budget.left)
            asked = (trial, self.key, self.fence, keeper.seconds, seen)
            lease: Lease | None = yield keeper.stage, "acquire", asked
            if lease is None or not self.waited:
                budget.left = trial.left
            if lease is None:
                # It may have been taken all the same.
                keeper.give_back(self.key, self.fence, "failed")
                return self._without("expired")
            if lease.state == "held":
                if self.waited:
                    keeper.count("expired")
                return keeper.hold(self.key, self.fence)
            if lease.state == "landed":
                return LANDED
            if lease.state == "absent":
                return self._without("expired")
            if not waits:
                return TAKEN
            self._awaited.add(lease.fence)
            if len(self._awaited) > (2 if keeper.told or keeper.ends_kept else 1):
                # A holder is gone without a word. Where words come, it has died, and its successor
                # is worth waiting for, once.
                return self._without("expired")
            if not self.waited:
                self.waited = True
                keeper.count("waited")
            low, high = _TOLD if keeper.told else _UNTOLD
            now = monotonic()
            pause = jittered(min(max(_SHARE * (now - began), low), high))
            pause = min(pause, lease.left + 0.01, latest - now, self._until - now)
            yield None, WAIT, (self, max(pause, 0.001))
            outcome = self._outcome()
            if outcome == "landed":
                return LANDED
            if outcome is not None:
                return self._without("failed")
            if monotonic() >= self._until:
                keeper.count("expired")
                raise WaitTimeoutError(
                    f"another process's load of {self.key.rpartition(':')[0]} took longer than "
                    f"wait_timeout={self._patience:g} s; it goes on, and its result is shared when "
                    "it arrives"
                )
            if monotonic() >= latest:
                return self._without("expired")

    def _outcome(self) -> Outcome | None:
        """What became of a lease that it waits for. The answer to a question may overtake it."""
        ends = list(self._outcomes.items())
        return next((outcome for fence, outcome in ends if fence in self._awaited), None)

    def _without(self, why: str) -> None:
        if self.waited:
            self._keeper.count(why)

    def landed(self) -> None:
        """Another process has loaded the value."""
        if self.waited:
            self._keeper.count("landed")

    def leave(self) -> None:
        """Wait no more."""
        self._keeper.leave(self)

    # ---- Waiting. `told` and `wake` are called under the keeper's lock, from any thread.

    def told(self, fence: int, outcome: Outcome) -> None:
        """The lease with this number is over."""
        self._outcomes[fence] = outcome
        self.wake()

    def wake(self) -> None:
        """Whoever waits looks again."""
        if self._gate is not None:
            self._gate.set()
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._resume)
            except RuntimeError:
                self._loop = None  # It was closed, and nobody waits any more.

    def wait(self, seconds: float) -> None:
        """Until something is told, in a thread."""
        if self._gate is None:
            self._gate = Wake()
        if self._outcome() is None:
            self._gate.wait(seconds)

    async def await_(self, seconds: float) -> None:
        """The same in an event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._future = loop.create_future()
        self._loop = loop
        if self._outcome() is None:
            timer = loop.call_later(seconds, self._resume)
            try:
                await self._future
            finally:
                timer.cancel()

    def _resume(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
