"""`Stage`: a tier as the flow sees it, behind its breaker, within the budget of a call."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

from millpond import _engine
from millpond.cache import answers
from millpond.errors import LimitError, TierError
from millpond.io.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.cache.leases import Keeper
    from millpond.cache.unconfirmed import Unconfirmed
    from millpond.tiers.base import Tier

_log = logging.getLogger("millpond.tiers")

# Operations whose caller wants an answer or the error.
_ASKED: Final = frozenset(("incr", "inspect"))
# What they are counted as.
_COUNTED: Final[dict[str, Any]] = {
    "acquire": "lease",
    "renew": "lease",
    "release": "lease",
    "mark": "stamp",
}
# The tier's method, where that is called otherwise.
_METHODS: Final[dict[str, Any]] = {"mark": "store"}
# What is given all of its budget: it waits for others than the tier.
_PATIENT: Final = frozenset(("confirm",))
# What makes answers of before old.
_CHANGES: Final = frozenset(("bump", "delete", "write"))
# Less than this is not worth a round trip.
_LEAST: Final = 0.0005


@final
class Budget:
    """The seconds that one call may spend on tiers, all of them together."""

    __slots__ = ("left",)

    def __init__(self, seconds: float) -> None:
        self.left = seconds


@final
class Stage:
    """One tier of one Engine.

    Attributes:
        tier: what does the work.
        monitor: its breaker and statistics.
        now: microseconds since 1970 by its clock.
        source: the number by which hits are counted.
        default_ttl: seconds that a value lives here when its function says nothing.
        journal: what the tier has to be told before it is read again.
        faster: the stages before it, the fastest first.
        drop: drop(op, what): memory forgets what was told.
        namespaces: the generations that stand for everything.
        keeper: of its leases; None where the tier has none.
        unconfirmed: what too few of the tier's replicas have; None where it has none.
        unproven: whether the tier is somebody's own, whose answers are looked at first.
        changes: counts what this process has invalidated there, or heard of.
        opened: called when the prober is needed: the tier has just been found to be out, or has
            something to confirm.
    """

    __slots__ = (
        "changes",
        "default_ttl",
        "drop",
        "faster",
        "journal",
        "keeper",
        "monitor",
        "namespaces",
        "now",
        "opened",
        "source",
        "tier",
        "unconfirmed",
        "unproven",
    )

    def __init__(self, tier: Tier, monitor: _engine.TierMonitor, *, default_ttl: float) -> None:
        self.tier = tier
        self.now = answers.clock(tier)
        self.unproven = not answers.is_ours(tier)
        self.monitor = monitor
        self.default_ttl = min(default_ttl, tier.max_ttl)
        self.source = _engine.source_id(tier.name)
        self.journal = _engine.Journal()
        self.changes = 0
        self.keeper: Keeper | None = None
        self.unconfirmed: Unconfirmed | None = None
        self.faster: tuple[Stage, ...] = ()
        self.drop: Callable[[str, list[str]], object] = _nothing
        self.namespaces: Callable[[], list[str]] = list
        self.opened: Callable[[], object] = _not

    def ask(self, budget: Budget, op: Any, *args: Any) -> Any:
        """What the tier answers, True for no answer; None where it is out, or failed."""
        ticket = self._begin(budget, op)
        if ticket < 0:
            return None
        started = monotonic()
        most, left = self.tier.timeout, budget.left
        deadline = Deadline(started + (left if op in _PATIENT else min(left, most)))
        try:
            answer = getattr(self.tier, _METHODS.get(op, op))(*args, deadline)
            if self.unproven:
                answers.check(self.tier.name, _METHODS.get(op, op), args, answer)
        except Exception as error:
            self.failed(ticket, op, error)
            if op in _ASKED:
                raise
            return None
        except BaseException:  # Ctrl-C says nothing about the tier.
            self.monitor.end(ticket, "cancelled")
            raise
        finally:
            budget.left -= monotonic() - started
        self._ended(ticket, op, args, answer)
        return True if answer is None else answer

    async def aask(self, budget: Budget, op: Any, *args: Any) -> Any:
        """The same in an event loop."""
        ticket = self._begin(budget, op)
        if ticket < 0:
            return None
        started = monotonic()
        most, left = self.tier.timeout, budget.left
        deadline = Deadline(started + (left if op in _PATIENT else min(left, most)))
        try:
            answer = await getattr(self.tier, "a" + _METHODS.get(op, op))(*args, deadline)
            if self.unproven:
                answers.check(self.tier.name, _METHODS.get(op, op), args, answer)
        except Exception as error:
            self.failed(ticket, op, error)
            if op in _ASKED:
                raise
            return None
        except BaseException:
            self.monitor.end(ticket, "cancelled")
            raise
        finally:
            budget.left -= monotonic() - started
        self._ended(ticket, op, args, answer)
        return True if answer is None else answer

    def is_out(self) -> bool:
        """Whether callers are kept away from it for now."""
        return self.monitor.state != "closed"

    def owe(self, op: str, what: list[str]) -> None:
        """Note what the tier has to be told before it is read again: a "bump" or a "delete"."""
        if op == "bump":
            self.journal.add_names(what)
        else:
            self.journal.add_keys(what)

    def _begin(self, budget: Budget, op: Any) -> int:
        if budget.left < _LEAST:
            if op == "store":
                self.monitor.count("fill_dropped")
            return -1
        return self.monitor.begin(_COUNTED.get(op, op))

    def _ended(self, ticket: int, op: str, args: Any, answer: Any) -> None:
        read = written = 0
        if op in _CHANGES:
            self.changes += 1
        if op == "fetch":
            for data in answer.data:
                if data is not None:
                    read += len(data)
        elif op in ("store", "write"):
            written = sum(len(entry.data) for entry in args[0])
        said = self.monitor.end(ticket, None, read, written)
        if said is not None:
            self.said(said, "its answers take too long")

    def failed(self, ticket: int, op: str, error: Exception) -> None:
        """Count an operation that raised, and say what has to be said."""
        if op in _CHANGES:  # It may have been done all the same.
            self.changes += 1
        if isinstance(error, LimitError):
            self.monitor.end(ticket)
            return
        kind = error.kind if isinstance(error, TierError) else None
        said = self.monitor.end(ticket, kind or "damaged")
        if said is not None:
            self.said(said, error)
        elif kind is None:
            _log.error("%s: %s failed", self.tier.name, op, exc_info=error)

    def said(self, said: str, why: object) -> None:
        """What the monitor says once: the tier is out, full, or not set up for us."""
        if said == "configuration":
            _log.error("%s cannot be used: %s", self.tier.name, why)
            return
        self.opened()
        if self.keeper is not None:
            self.keeper.wake()  # What they wait for may not reach them.
        what = "is full and takes no more" if said == "full" else "is out and is left alone"
        _log.warning("%s %s for a while: %s", self.tier.name, what, why)


def _nothing(_op: str, _what: list[str]) -> None:
    pass


def _not() -> None:
    pass
