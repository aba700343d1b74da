"""`PostgresTier`: entries, generations and counters in a PostgreSQL, one round trip for each call.

It keeps to a schema of its own, which it makes if there is none and never alters. The tables are
logged: what was written survives a crash of the server, and replicas have it. Fills do not wait for
the disk, since one that is lost is only a miss; invalidations and counters do.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Final, final

from millpond.errors import MillpondError, UnsupportedError
from millpond.io.deadline import Deadline
from millpond.io.postgres import schema as tables
from millpond.io.postgres import upkeep, wire
from millpond.io.postgres.address import Address
from millpond.io.postgres.errors import TIER, Refusal
from millpond.io.postgres.listen import Listener
from millpond.io.postgres.options import check_bounds, check_seconds
from millpond.io.postgres.pool import Pool
from millpond.io.postgres.statements import SETTLE, Statements
from millpond.io.threads import begin
from millpond.tiers.kept_leases import KeptEnds
from millpond.tiers.known import Partly
from millpond.tiers.postgres_calls import AFTER, LAST, Calls, Changes
from millpond.tiers.postgres_carrier import Carrier
from millpond.tiers.postgres_leases import LeaseCalls
from millpond.tiers.postgres_watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from millpond.io.postgres.upkeep import Plan, Purged
    from millpond.tiers.base import Entry, Fetched, Held
    from millpond.tiers.base import Listener as Told

# What the server allows a statement, whose caller has long given it up then.
_PATIENCE: Final = float(SETTLE)
_MAX_CHANGES: Final = 4096


@final
class PostgresTier(LeaseCalls):
    """A PostgreSQL, 13 or newer, as a `Tier` with `Leases`. Connects with the first call.

    Args:
        database: "postgresql://user@host/name", or "host=... dbname=..."; libpq's environment
            variables and password file count.
        namespace: the Engine's; engines of one namespace share their generations.
        schema: where the tables are.
        create_schema: make them if there are none. If it may not, the error has the statements.
        pgbouncer: a pooler that gives a connection for a transaction is between: nothing is
            prepared or set for a session, and `listen` is refused: use `changes`.
        max_connections: how many connections this process may have open.
        timeout: seconds that one operation may take, at most.
        max_ttl: seconds that an entry stays at most.
        max_bytes, max_entries, max_generations: what the purge leaves, at most. The entries that
            would have ended soonest go first, and the generations invalidated longest ago.
        purge_every: seconds between purges, which run in the background after a fill; None for
            never. Of all processes one at a time does it.

    Example:
        >>> tier = PostgresTier("postgresql://localhost/app", namespace="docs")
        >>> tier.name, tier.shared, tier.timeout
        ('postgresql', True, 0.25)
    """

    name = TIER
    shared = True

    def __init__(
        self,
        database: str,
        *,
        namespace: str = "millpond",
        schema: str = "millpond",
        create_schema: bool = True,
        pgbouncer: bool = False,
        max_connections: int = 20,
        timeout: float = 0.25,
        max_ttl: float = 86_400.0,
        max_bytes: int = 10 << 30,
        max_entries: int = 10_000_000,
        max_generations: int = 1_000_000,
        purge_every: float | None = 60.0,
    ) -> None:
        check_seconds(
            timeout=timeout,
            max_ttl=max_ttl,
            purge_every=1.0 if purge_every is None else purge_every,
        )
        self._bounds = upkeep.Bounds(max_bytes, max_entries, max_generations)
        check_bounds(max_connections=max_connections, **self._bounds._asdict())
        self.timeout = timeout
        self.max_ttl = max_ttl
        self.namespace = namespace
        self.schema = schema
        self.pgbouncer = pgbouncer
        self._origin = secrets.token_hex(8)
        self.last_purge: Purged | MillpondError | None = None
        self._create = create_schema
        self._statements = Statements(schema)
        self._channel = f"millpond_{schema}"
        self._calls = Calls(
            self._statements,
            namespace=namespace,
            channel=self._channel,
            origin=lambda: self.origin,
            max_ttl=max_ttl,
        )
        self._address = Address(database, pgbouncer=pgbouncer, patience=_PATIENCE)
        self._pool = Pool(self._address, size=max_connections, prepare=not pgbouncer)
        self._carrier = Carrier(self._pool, self._opening)
        self._do, self._ado = self._carrier.do, self._carrier.ado
        self._ahead: int | None = None
        self._purge_every = purge_every
        # Not at once: a process that starts has better things to do, and many start together.
        spread = 0.5 + secrets.randbelow(1000) / 1000
        self._next_purge = time.monotonic() + (purge_every or 0.0) * spread
        self._purger: threading.Thread | None = None
        self._watch: Watch | None = None
        self._ends = KeptEnds()

    @property
    def origin(self) -> str:
        """Who this is, in the notices of its invalidations; another one in each process."""
        return f"{self._origin}-{os.getpid():x}"

    # ---- opening and closing

    def open(self, deadline: Deadline) -> None:
        """Connect, and see that the tables are there and as they must be.

        Raises:
            TierError: the server cannot be reached (its kind says more), or the tables are not
                there and may not be made, or are others; the message has the statements needed.
        """
        self._carrier.open(deadline)

    async def aopen(self, deadline: Deadline) -> None:
        """The same, in an event loop."""
        await self._carrier.aopen(deadline)

    def close(self) -> None:
        """Close the connections; what is under way fails, and nobody is told any more."""
        self.unwatch()
        self._pool.close()
        self._carrier.ready = False

    async def aclose(self) -> None:
        self.close()

    def now(self) -> int:
        if self._ahead is None:
            return time.time_ns() // 1000
        return time.monotonic_ns() // 1000 + self._ahead

    # ---- look-ups

    def fetch(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        partly = None if self._watch is None else Partly(self._watch.table, names)
        if partly is None:
            return self._do(self._calls.fetch(keys, names), deadline)
        return partly.completed(self._do(self._calls.fetch(keys, partly.unknown), deadline))

    async def afetch(
        self, keys: Sequence[str], names: Sequence[str], deadline: Deadline
    ) -> Fetched:
        partly = None if self._watch is None else Partly(self._watch.table, names)
        if partly is None:
            return await self._ado(self._calls.fetch(keys, names), deadline)
        found = await self._ado(self._calls.fetch(keys, partly.unknown), deadline)
        return partly.completed(found)

    def inspect(self, key: str, deadline: Deadline) -> Held | None:
        return self._do(self._calls.inspect(key), deadline)

    async def ainspect(self, key: str, deadline: Deadline) -> Held | None:
        return await self._ado(self._calls.inspect(key), deadline)

    def scan(self, prefix: str, deadline: Deadline) -> Iterator[list[str]]:
        """The keys that begin with `prefix`, sorted, 500 at a time.

        Each batch is a look-up of its own: what is stored meanwhile may or may not be among them.
        """
        start = prefix
        while keys := self._do(self._calls.scan(start, prefix + LAST), deadline):
            yield keys
            start = keys[-1] + AFTER

    async def ascan(self, prefix: str, deadline: Deadline) -> AsyncIterator[list[str]]:
        start = prefix
        while keys := await self._ado(self._calls.scan(start, prefix + LAST), deadline):
            yield keys
            start = keys[-1] + AFTER

    # ---- changes of entries

    def store(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        stored = self._do(self._calls.store(entries), deadline)
        self._purge_if_due()
        return stored

    async def astore(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        stored = await self._ado(self._calls.store(entries), deadline)
        self._purge_if_due()
        return stored

    def write(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        self._do(self._calls.write(entries), deadline)

    async def awrite(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        await self._ado(self._calls.write(entries), deadline)

    def delete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        gone = self._do(self._calls.delete(keys), deadline)
        return [gone.get(key, False) for key in keys]

    async def adelete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        gone = await self._ado(self._calls.delete(keys), deadline)
        return [gone.get(key, False) for key in keys]

    def erase(self, keys: Sequence[str], deadline: Deadline) -> int:
        """Remove the entries, guards raised; how many there were, those that had ended included.

        The bytes in the server's files are overwritten after autovacuum, or a VACUUM, was there.
        """
        return len(self._do(self._calls.delete(keys), deadline))

    async def aerase(self, keys: Sequence[str], deadline: Deadline) -> int:
        gone = await self._ado(self._calls.delete(keys), deadline)
        return len(gone)

    # ---- generations and counters

    def stamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        return self._do(self._calls.stamp(names), deadline)

    async def astamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        return await self._ado(self._calls.stamp(names), deadline)

    def bump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        try:
            return self._do(self._calls.bump(names), deadline)
        finally:
            self._forget(names)

    async def abump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        try:
            return await self._ado(self._calls.bump(names), deadline)
        finally:
            self._forget(names)

    def _forget(self, names: Sequence[str]) -> None:
        """This process has bumped them, or may have: it must not wait to be told."""
        if (watch := self._watch) is not None:
            for name in names:
                watch.table.forget(name)

    def incr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return self._do(self._calls.incr(key, amount, ttl), deadline)

    async def aincr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return await self._ado(self._calls.incr(key, amount, ttl), deadline)

    # ---- coherence

    def watch(self, listener: Told, grace: float) -> None:
        """Tell `listener` what others do: at once, or behind a pooler within a second."""
        self.unwatch()
        self._watch = Watch(self, listener, grace)

    def unwatch(self) -> None:
        """Tell nobody any more."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()

    def listener(self, *, beat: float = 2.0, timeout: float | None = None) -> Listener:
        """What hears of every invalidation, on a connection of its own.

        Args:
            beat: seconds after which the server is asked whether it is there.
            timeout: seconds for its answer, and for connecting; without it the tier's.

        Raises:
            UnsupportedError: a pooler is between, which LISTEN does not pass.
        """
        if self.pgbouncer:
            raise UnsupportedError("pgbouncer=True: LISTEN does not pass it; use changes()")
        answer = self.timeout if timeout is None else timeout
        return Listener(self._address, self._channel, self.namespace, timeout=answer, beat=beat)

    def changes(self, since: int, deadline: Deadline) -> Changes:
        """What was invalidated since a moment, in microseconds of `now()`, or `Changes.until`."""
        return self._do(self._calls.changes(since, _MAX_CHANGES), deadline)

    async def achanges(self, since: int, deadline: Deadline) -> Changes:
        return await self._ado(self._calls.changes(since, _MAX_CHANGES), deadline)

    # ---- upkeep

    def purge(self, deadline: Deadline) -> Purged:
        """Remove what is over and what is beyond the bounds; also done in the background."""
        return self._carrier.drive(self._purging(), deadline)

    async def apurge(self, deadline: Deadline) -> Purged:
        return await self._carrier.adrive(self._purging(), deadline)

    def _purging(self) -> Plan[Purged]:
        return upkeep.purge(self._statements, self._bounds, leases=self._calls.leased)

    def _purge_if_due(self) -> None:
        if self._purge_every is None or time.monotonic() < self._next_purge:
            return
        self._next_purge = time.monotonic() + self._purge_every
        # In the child of a fork the parent's thread is not alive.
        if self._purger is None or not self._purger.is_alive():
            self._purger = begin("millpond-purge", self._purge_now, self._purge_every)

    def _purge_now(self, every: float) -> None:
        deadline = Deadline.after(max(every, _PATIENCE))
        try:
            plan = upkeep.purge_if_due(
                self._statements, self._bounds, every, leases=self._calls.leased
            )
            self.last_purge = self._carrier.drive(plan, deadline) or self.last_purge
            self._carrier.drive(self._clocking(), deadline)
        except MillpondError as error:
            self.last_purge = error

    def _opening(self) -> Plan[None]:
        self._note_lack((yield from upkeep.ready(self.schema, create=self._create)))
        yield from self._clocking()

    def _clocking(self) -> Plan[None]:
        before = time.monotonic_ns()
        answer = yield self._statements.clock, ()
        if not isinstance(answer, Refusal):
            middle = (before + time.monotonic_ns()) // 2000
            self._ahead = wire.to_int(answer.get_value(0, 0)) - middle


def schema_sql(schema: str = "millpond") -> str:
    """The statements that make the tables, to be run by somebody who may."""
    return tables.ddl(schema)
