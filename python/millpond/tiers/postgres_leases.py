"""Leases in a PostgreSQL: a row a key, taken, renewed and ended by one statement each.

An end stays in its row for a while, for those who ask (`kept_leases`). Who waits while this process
listens marks the row; what ends a row that is marked tells everybody by NOTIFY, which costs a load
that nobody waits for nothing. A database whose tables were made before there were leases has none:
loads go on without.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from millpond.io.postgres import schema as tables
from millpond.io.postgres.errors import ReadOnlyError
from millpond.tiers.base import Lease
from millpond.tiers.kept_leases import Ended, KeptEnds
from millpond.tiers.postgres_calls import HELD, LANDED, TAKEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from millpond.io.deadline import Deadline
    from millpond.io.postgres.listen import Ended as EndNotice
    from millpond.tiers.base import Outcome, Waiting
    from millpond.tiers.postgres_calls import Call, Calls
    from millpond.tiers.postgres_carrier import Carrier

_log = logging.getLogger("millpond.tiers")

# What is in the column; NULL while the lease stands.
_OUTCOMES: Final[tuple[Outcome, ...]] = ("landed", "none", "failed")
_ABSENT: Final = Lease("absent")


class LeaseCalls:
    """The methods of `Leases`, for the tier that they are a part of."""

    ends_kept = True

    name: str
    schema: str
    _calls: Calls
    _carrier: Carrier
    _ends: KeptEnds

    def tell(self, waiting: Waiting | None) -> None:
        """Who waits is told when it asks for the lease again, and before that by NOTIFY."""
        self._ends.waiting = waiting

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        if not self._carrier.ready:
            self._carrier.open(deadline)
        if not self._calls.leased:
            return _ABSENT
        asking = self._asking(key, fence, seconds, seen)
        with suppress(ReadOnlyError):  # What is loaded cannot be stored there, either.
            while True:
                if (found := self._carrier.do(next(asking), deadline)) is not None:
                    return self._ends.judged(key, _read(found))
        return _ABSENT

    async def aacquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        if not self._carrier.ready:
            await self._carrier.aopen(deadline)
        if not self._calls.leased:
            return _ABSENT
        asking = self._asking(key, fence, seconds, seen)
        with suppress(ReadOnlyError):
            while True:
                if (found := await self._carrier.ado(next(asking), deadline)) is not None:
                    return self._ends.judged(key, _read(found))
        return _ABSENT

    def renew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return self._carrier.do(self._calls.renew(leases, seconds), deadline)

    async def arenew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return await self._carrier.ado(self._calls.renew(leases, seconds), deadline)

    def release(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        ended = self._calls.release(leases, _OUTCOMES.index(outcome))
        return self._carrier.do(ended, deadline)

    async def arelease(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        return await self._carrier.ado(
            self._calls.release(leases, _OUTCOMES.index(outcome)), deadline
        )

    # ---- what the watch hears

    def ended(self, ends: Sequence[EndNotice]) -> None:
        """Leases that are over, as others told."""
        for key, fence, outcome in ends:
            if 0 <= outcome < len(_OUTCOMES):
                self._ends.over(key, fence, _OUTCOMES[outcome])

    def ends_told(self, yes: bool) -> None:
        """Whether that is told, from now on."""
        self._ends.up(yes)

    # ---- within

    def _asking(
        self, key: str, fence: int, seconds: float, seen: bytes
    ) -> Iterator[Call[tuple[int, int, float] | None]]:
        awaited, told = self._ends.awaited(key), self._ends.told
        if awaited and not told:
            # Who waits and is not told asks often, and this costs half as much.
            yield self._calls.peek(key, fence, seen, awaited)
        while True:
            yield self._calls.acquire(key, fence, seen, awaited, seconds, told)

    def _note_lack(self, lack: str) -> None:
        """Whether there can be leases; why not, in words, is said once."""
        if lack and self._calls.leased:
            _log.warning(
                "%s: processes that share it do not wait for each other's loads, for %s. Let"
                " somebody who may run this, once; processes that begin after it do:\n%s",
                self.name,
                lack,
                tables.leases_ddl(self.schema) + tables.leases_grant(self.schema),
            )
        self._calls.leased = not lack


def _read(found: tuple[int, int, float]) -> Lease | Ended:
    state, fence, left = found
    if state == LANDED:
        return Lease("landed")
    if state == HELD:
        return Lease("held", fence, left)
    return Lease("taken", fence, left) if state == TAKEN else Ended(fence, _OUTCOMES[state - TAKEN])
