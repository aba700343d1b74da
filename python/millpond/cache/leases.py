"""`Keeper`: who loads a value for all processes, and who waits for it.

When no tier has a value, the process that takes the lease of its key calls the function; the others
wait until it has stored the value, and read it. What they wait for is told to them, and asked for
now and then in case it was not. While the function runs its lease is renewed, by one thread for
all; so a process that dies is waited for no longer than its last lease.

A load that fails, or brings a value that is not stored, is no help to the others: they all call
their functions at once, without a lease. In a queue each would wait for the failure of the last.
"""

from __future__ import annotations

import threading
from collections import deque
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, final
from weakref import WeakValueDictionary

from millpond.cache.stage import Budget
from millpond.cache.turn import Turn
from millpond.io import forks
from millpond.io.threads import begin
from millpond.io.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.stage import Stage
    from millpond.tiers.base import Leases, Outcome

# Whether a call is part of a load that has a lease: two of these could wait for one another.
_nested: ContextVar[bool] = ContextVar("millpond-nested", default=False)
_LONGEST_LOAD: Final = 3600.0
_LINGER: Final = 10.0  # that the thread stays without work
# Ends that are still to be told; beyond them the leases run out by themselves.
_MOST_ENDS: Final = 10_000
_BATCH: Final = 500


_COUNTS: Final = ("taken", "lost", "waited", "landed", "failed", "expired")


class _End(NamedTuple):
    """The end of a lease, which need not be told any more after `until`: it has run out by then."""

    key: str
    fence: int
    outcome: Outcome
    until: float


@final
class Keeper:
    """The leases of one tier: those that this process holds, and those that it waits for.

    Args:
        stage: whose leases these are.
        tier: its tier.
        seconds: that a lease lasts unless it is renewed.
    """

    def __init__(self, stage: Stage, tier: Leases, *, seconds: float = 2.0) -> None:
        self.stage = stage
        self.seconds = seconds
        self.ends_kept = tier.ends_kept
        self.told = False
        self._count: dict[str, int] = dict.fromkeys(_COUNTS, 0)
        self.forked()
        tier.tell(self)
        forks.tell(self)

    def forked(self) -> None:
        """Begin anew; also in the child of a fork, where nothing of it is the child's."""
        self.told = False
        # Re-entrant: the collector may close the steps of a dropped call within any of this.
        self._lock = threading.RLock()
        # Weakly: one that its call has lost, as by Ctrl-C, is renewed no more.
        self._held: WeakValueDictionary[str, Held] = WeakValueDictionary()
        self._turns: dict[str, list[Turn]] = {}
        self._ends: deque[_End] = deque(maxlen=_MOST_ENDS)
        self._wake = Wake()
        self._thread: threading.Thread | None = None
        self._closed = False

    def turn(self, key: str, patience: float | None = None) -> Turn | None:
        """For a call that found `key` nowhere and waits so long; None: let it call its function.

        This process's calls wait for one another in memory. One that comes here while another of
        them loads must not wait for it: that may be the very load that it is a part of.
        """
        if self.stage.monitor.full:  # Nothing that it might wait for can be stored.
            return None
        with self._lock:
            if key in self._held:
                return None
            turn = Turn(self, key, patience)
            self._turns.setdefault(key, []).append(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        """The turn waits no more."""
        with self._lock:
            turns = self._turns.get(turn.key, [])
            if turn in turns:  # Else this is the child of a fork.
                turns.remove(turn)
                if not turns:
                    del self._turns[turn.key]

    def hold(self, key: str, fence: int) -> Held:
        """Keep a lease that was just taken until `Held.end`."""
        held = Held(self, key, fence)
        with self._lock:
            self._held[key] = held
            self._count["taken"] += 1
            self._awake()
        return held

    def end(self, held: Held, outcome: Outcome | None) -> None:
        """A lease is needed no more; who waits is told unless the tier has done it (None)."""
        with self._lock:
            if self._held.get(held.key) is not held:
                return  # It was lost, or the keeper closed, or this is the child of a fork.
            del self._held[held.key]
            if outcome is not None:
                self.give_back(held.key, held.fence, outcome)

    def give_back(self, key: str, fence: int, outcome: Outcome) -> None:
        """End a lease in the background."""
        with self._lock:
            self._ends.append(_End(key, fence, outcome, monotonic() + self.seconds))
            self._awake()
        self._wake.set()

    def is_nested(self) -> bool:
        """Whether the call that asks is part of a load under a lease."""
        return _nested.get()

    def count(self, what: str) -> None:
        """One more."""
        with self._lock:
            self._count[what] += 1

    def stats(self) -> dict[str, int]:
        """Leases taken and lost; calls that waited for another process, and what they got."""
        with self._lock:
            return dict(self._count)

    def close(self) -> None:
        """Give back what is held, and end the thread."""
        with self._lock:
            thread = self._thread
            self._closed = True
            until = monotonic() + self.seconds
            for held in self._held.values():
                self._ends.append(_End(held.key, held.fence, "failed", until))
            self._held.clear()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(4 * self.stage.tier.timeout + 1)
        self._closed = False

    # ---- What the tier tells

    def over(self, key: str, fence: int, outcome: Outcome) -> None:
        """Tell those who wait for it."""
        with self._lock:
            for turn in list(self._turns.get(key, ())):
                turn.told(fence, outcome)

    def up(self, yes: bool) -> None:
        """Those who wait ask for themselves when they may not have been told."""
        self.told = yes
        if not yes:
            self.wake()

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._lock:
            for turn in [turn for turns in list(self._turns.values()) for turn in turns]:
                turn.wake()

    # ---- The thread: renewals, and ends

    def _awake(self) -> None:
        if self._thread is None:
            # Without it the leases run out by themselves.
            self._thread = begin("millpond-leases", self._run)

    def _run(self) -> None:
        busy = monotonic()
        while True:
            self._wake.wait(self.seconds / 6)
            self._tell_ends()
            now = monotonic()
            with self._lock:
                due = self._due(now)
                if self._held or (self._ends and not self._closed):
                    busy = now
                elif self._closed or now - busy > _LINGER:
                    self._thread = None
                    return
            for start in range(0, len(due), _BATCH):
                self._renew(due[start : start + _BATCH])

    def _due(self, now: float) -> list[Held]:
        return [
            held
            for held in list(self._held.values())
            if now - held.renewed > self.seconds / 3 and now - held.taken < _LONGEST_LOAD
        ]

    def _renew(self, due: Sequence[Held]) -> None:
        asked = monotonic()
        leases = [(held.key, held.fence) for held in due]
        alive = self.stage.ask(Budget(self.stage.tier.timeout), "renew", leases, self.seconds)
        if alive is None:
            return
        with self._lock:
            for held, yes in zip(due, alive, strict=True):
                held.renewed = asked
                # The load goes on, but its value will be refused; others wait for others now.
                if not yes and self._held.get(held.key) is held:
                    del self._held[held.key]
                    self._count["lost"] += 1

    def _tell_ends(self) -> None:
        """Tell all that are over; what the tier does not take now it is told next time."""
        while self._ends:
            by_outcome: dict[Outcome, list[_End]] = {}
            for _ in range(min(len(self._ends), _BATCH)):
                end = self._ends.popleft()
                by_outcome.setdefault(end.outcome, []).append(end)
            left: list[_End] = []
            for outcome, ends in by_outcome.items():
                leases = [(end.key, end.fence) for end in ends]
                budget = Budget(self.stage.tier.timeout)
                if self.stage.ask(budget, "release", leases, outcome) is None:
                    left += ends
            if left:
                now = monotonic()
                self._ends.extend(end for end in left if end.until > now)
                return


@final
class Held:
    """The lease under which a call loads a value; FREE for a call without one."""

    __slots__ = (
        "__weakref__",
        "_keeper",
        "_nested",
        "_outcome",
        "fence",
        "key",
        "over",
        "renewed",
        "taken",
    )

    def __init__(self, keeper: Keeper | None, key: str, fence: int) -> None:
        self._keeper = keeper
        self._nested = False
        self._outcome: Outcome = "failed"
        self.key = key
        self.fence = fence
        self.taken = self.renewed = monotonic()
        self.over = False  # The tier has ended it, with a store.

    @property
    def stage(self) -> Stage | None:
        """Whose tier the lease is in: a store there ends it."""
        return None if self._keeper is None else self._keeper.stage

    def began(self) -> None:
        """The function is about to be called."""
        if self._keeper is not None:
            self._nested = _nested.get()
            _nested.set(True)

    def ended(self, raised: bool) -> None:
        """It has returned or raised."""
        if self._keeper is not None:
            _nested.set(self._nested)
            if not raised:
                self._outcome = "none"

    def end(self) -> None:
        """Tell the others, unless a store has."""
        if self._keeper is not None:
            self._keeper.end(self, None if self.over else self._outcome)


FREE: Final = Held(None, "", 0)
