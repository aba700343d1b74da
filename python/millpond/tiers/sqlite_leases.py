"""Leases in a SQLite file: one row a key, read where it is asked for, written by the writer.

An end that brought no value stays in its row for a while, for those who wait (`kept_leases`). A
value that has landed is found by itself. Who waits only reads, so many may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from millpond.io.sqlite.errors import damaged
from millpond.io.sqlite.schema import MICROS

from .base import Lease
from .kept_leases import KEPT, Ended, KeptEnds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.io.deadline import Deadline
    from millpond.io.sqlite.database import Database

    from .base import Outcome, Waiting
    from .sqlite_transaction import Transaction

_T = TypeVar("_T")

# What is in the column; None while the lease stands.
_OUTCOMES: Final[tuple[Outcome, ...]] = ("landed", "none", "failed")

_HEAD: Final = (
    "SELECT substr(CAST(data AS BLOB), 1, ?) FROM records"
    " WHERE key = ? AND size > 0 AND expires > ?"
)
_LEASE: Final = "SELECT fence, expires, outcome FROM leases WHERE key = ? AND expires > ?"
_TAKE: Final = "INSERT OR REPLACE INTO leases (key, fence, expires) VALUES (?, ?, ?)"
_RENEW: Final = (
    "UPDATE leases SET expires = ? WHERE key = ? AND fence = ? AND outcome IS NULL AND expires > ?"
)
_END: Final = (
    "UPDATE leases SET outcome = ?, expires = ?"
    " WHERE key = ? AND fence = ? AND outcome IS NULL AND expires > ?"
)
_LAND: Final = "DELETE FROM leases WHERE key = ? AND fence = ? AND outcome IS NULL AND expires > ?"
_STANDS: Final = (
    "SELECT 1 FROM leases WHERE key = ? AND fence = ? AND outcome IS NULL AND expires > ?"
)


def peek(
    execute: Callable[..., Any], key: str, fence: int, seen: bytes, awaited: int, now: int
) -> Lease | Ended | None:
    """How it stands with a key; None: its lease may be taken, or is the caller's own."""
    head = execute(_HEAD, (len(seen), key, now)).fetchone()
    if head is not None and (not seen or head[0] != seen):
        return Lease("landed")
    row = execute(_LEASE, (key, now)).fetchone()
    if row is None:
        return None
    holder, expires, outcome = row
    if type(holder) is not int or type(expires) is not int:
        raise damaged("a row has columns of other types")
    if outcome is None:
        left = (expires - now) / MICROS
        return None if holder == fence else Lease("taken", holder, left)
    return Ended(holder, _OUTCOMES[outcome]) if holder == awaited else None


class LeaseRows:
    """The leases within one transaction.

    Args:
        execute: of its connection.
        now: microseconds since 1970.
    """

    def __init__(self, execute: Callable[..., Any], now: int) -> None:
        self._execute = execute
        self._now = now

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes, awaited: int
    ) -> Lease | Ended:
        """Take a lease unless there is a reason not to."""
        found = peek(self._execute, key, fence, seen, awaited, self._now)
        if found is None:
            self._execute(_TAKE, (key, fence, self._now + round(seconds * MICROS)))
            return Lease("held", fence, seconds)
        return found

    def renew(self, leases: Sequence[tuple[str, int]], seconds: float) -> list[bool]:
        until = self._now + round(seconds * MICROS)
        return [self._did(_RENEW, until, key, fence, self._now) for key, fence in leases]

    def release(self, leases: Sequence[tuple[str, int]], outcome: Outcome) -> list[bool]:
        return [self.end(key, fence, outcome) for key, fence in leases]

    def stands(self, key: str, fence: int) -> bool:
        """Whether this one has the lease."""
        return self._execute(_STANDS, (key, fence, self._now)).fetchone() is not None

    def end(self, key: str, fence: int, outcome: Outcome) -> bool:
        """End a lease; False if it was over."""
        if outcome == "landed":
            return self._did(_LAND, key, fence, self._now)
        kept = (_OUTCOMES.index(outcome), self._now + KEPT)
        return self._did(_END, *kept, key, fence, self._now)

    def _did(self, statement: str, *values: object) -> bool:
        return bool(self._execute(statement, values).rowcount)


class LeaseCalls:
    """The methods of `Leases`, for the tier that they are a part of."""

    ends_kept = True

    _database: Database
    _ends: KeptEnds
    now: Callable[[], int]

    if TYPE_CHECKING:

        def _read(self, read: Callable[[], _T], deadline: Deadline) -> _T: ...
        async def _aread(self, read: Callable[[], _T], deadline: Deadline) -> _T: ...
        def _do(self, run: Callable[[Transaction], _T], deadline: Deadline) -> _T: ...
        async def _ado(self, run: Callable[[Transaction], _T], deadline: Deadline) -> _T: ...

    def tell(self, waiting: Waiting | None) -> None:
        """Who waits is told when it asks for the lease again."""
        self._ends.waiting = waiting

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        awaited = self._ends.awaited(key)
        found = self._read(lambda: self._peek(key, fence, seen, awaited), deadline)
        if found is None:
            found = self._do(
                lambda done: done.leases.acquire(key, fence, seconds, seen, awaited), deadline
            )
        return self._ends.judged(key, found)

    async def aacquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        awaited = self._ends.awaited(key)
        found = await self._aread(lambda: self._peek(key, fence, seen, awaited), deadline)
        if found is None:
            found = await self._ado(
                lambda done: done.leases.acquire(key, fence, seconds, seen, awaited), deadline
            )
        return self._ends.judged(key, found)

    def renew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return self._do(lambda done: done.leases.renew(leases, seconds), deadline)

    async def arenew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return await self._ado(lambda done: done.leases.renew(leases, seconds), deadline)

    def release(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        return self._do(lambda done: done.leases.release(leases, outcome), deadline)

    async def arelease(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        return await self._ado(lambda done: done.leases.release(leases, outcome), deadline)

    def _peek(self, key: str, fence: int, seen: bytes, awaited: int) -> Lease | Ended | None:
        reader = self._database.reader()
        with reader.lock:
            return peek(reader.execute, key, fence, seen, awaited, self.now())
