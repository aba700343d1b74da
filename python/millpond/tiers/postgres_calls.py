"""What `PostgresTier` asks: a statement and its values for each call, and what the rows mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, final

from millpond.io.postgres import wire
from millpond.io.postgres.errors import damaged
from millpond.io.postgres.link import Statement
from millpond.io.postgres.listen import end_payload, payloads
from millpond.tiers.amounts import whole_amount
from millpond.tiers.base import Entry, Fetched, Held

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from millpond.io.postgres.statements import Statements

T = TypeVar("T")

# After a key, and after all keys that begin with a prefix: keys are of printable ASCII.
AFTER: Final = "\x01"
LAST: Final = "\x7f"

# States of a lease; what is more than TAKEN has ended.
LANDED: Final = 0
HELD: Final = 1
TAKEN: Final = 2

_TRUE: Final = b"\x01"


class Changes(NamedTuple):
    """What was invalidated after a moment.

    Attributes:
        until: ask from here the next time. What was told before may come again.
        names: stamps of generation names.
        keys: guards of keys.
        complete: False if it was too much: everything is to be taken for old.
    """

    until: int
    names: dict[str, int]
    keys: dict[str, int]
    complete: bool


class Call(NamedTuple, Generic[T]):
    """A statement, its values, and what its rows mean.

    Attributes:
        doing: for the message of an error.
        wanted: whether there is anything to ask; else `nothing` is the result.
    """

    doing: str
    statement: Statement
    values: Sequence[bytes | None]
    read: Callable[[PGresult], T]
    wanted: bool = True
    nothing: Callable[[], Any] = list


@final
class Calls:
    """Makes the calls of a tier.

    Attributes:
        leased: whether there can be leases, as far as is known.
    """

    def __init__(
        self,
        statements: Statements,
        *,
        namespace: str,
        channel: str,
        origin: Callable[[], str],
        max_ttl: float,
    ) -> None:
        self._statements = statements
        self._namespace = namespace
        self._prefix = f"{namespace}:"
        self._channel = channel.encode()
        self._origin = origin
        self._max_ttl = max_ttl
        self.leased = True

    # ---- look-ups

    def fetch(self, keys: Sequence[str], names: Sequence[str]) -> Call[Fetched]:
        if len(keys) == 1 and not names:
            return Call("fetch", self._statements.one, (keys[0].encode(),), _fetched_one)

        def read(result: PGresult) -> Fetched:
            found: dict[str, tuple[bytes | None, int]] = {}
            stamps: dict[str, int] = {}
            for row in range(result.ntuples):
                name, number = _text(result, row, 0), _int(result, row, 2)
                if result.get_value(row, 3) == _TRUE:
                    found[name] = (result.get_value(row, 1), number)
                else:
                    stamps[name] = number
            rows = [found.get(key, (None, 0)) for key in keys]
            return Fetched(
                [data for data, _ in rows],
                [guard for _, guard in rows],
                [stamps.get(name) for name in spaced],
            )

        spaced = [self._prefix + name for name in names]
        values = (wire.texts(keys), wire.texts(spaced))
        wanted = bool(keys or names)
        return Call("fetch", self._statements.fetch, values, read, wanted, _fetched_nothing)

    def inspect(self, key: str) -> Call[Held | None]:
        def read(result: PGresult) -> Held | None:
            if result.ntuples == 0:
                return None
            return Held(_bytes(result, 0, 0), wire.to_float(result.get_value(0, 1)))

        return Call("inspect", self._statements.inspect, (key.encode(),), read)

    def scan(self, start: str, end: str) -> Call[list[str]]:
        def read(result: PGresult) -> list[str]:
            return [_text(result, row, 0) for row in range(result.ntuples)]

        return Call("scan", self._statements.scan, (start.encode(), end.encode()), read)

    # ---- changes of entries

    def store(self, entries: Sequence[Entry]) -> Call[list[bool]]:
        def read(result: PGresult) -> list[bool]:
            stored = {_text(result, row, 0) for row in range(result.ntuples)}
            return [entry.key in stored for entry in entries]

        def refused() -> list[bool]:
            return [False] * len(entries)

        rows = [entry for entry in _in_order(entries) if self.leased or not entry.fence]
        values = (*self._columns(rows), wire.bigints(entry.guard for entry in rows))
        if not any(entry.fence for entry in rows):
            return Call("store", self._statements.store, values, read, bool(rows), refused)
        fences = wire.bigints(entry.fence for entry in rows)
        told = (self._channel, end_payload(self._origin(), self._namespace))
        return Call("store", self._statements.land, (*values, fences, *told), read)

    def write(self, entries: Sequence[Entry]) -> Call[None]:
        def read(result: PGresult) -> None:
            return None

        rows = _in_order(entries)
        notes = self._notes("k", [entry.key for entry in rows])
        values = (*self._columns(rows), self._channel, notes)
        return Call("write", self._statements.write, values, read, bool(entries), _none)

    def delete(self, keys: Sequence[str]) -> Call[dict[str, bool]]:
        """The keys that there were, and whether they were alive."""

        def read(result: PGresult) -> dict[str, bool]:
            return {
                _text(result, row, 0): result.get_value(row, 1) == _TRUE
                for row in range(result.ntuples)
                if result.get_value(row, 0) is not None
            }

        rows = sorted(set(keys))
        values = (wire.texts(rows), self._channel, self._notes("k", rows))
        return Call("delete", self._statements.delete, values, read, bool(keys), dict)

    # ---- generations and counters

    def stamp(self, names: Sequence[str]) -> Call[list[int]]:
        spaced, read = self._stamps(names)
        values = (wire.texts(sorted(set(spaced))),)
        return Call("stamp", self._statements.stamp, values, read, bool(names))

    def bump(self, names: Sequence[str]) -> Call[list[int]]:
        spaced, read = self._stamps(names)
        notes = self._notes("g", sorted(set(names)))
        values = (wire.texts(sorted(set(spaced))), self._channel, notes)
        return Call("bump", self._statements.bump, values, read, bool(names))

    def incr(self, key: str, amount: int, ttl: float | None) -> Call[int]:
        def read(result: PGresult) -> int:
            return _int(result, 0, 0)

        amount = whole_amount(amount)
        life = None if ttl is None else wire.float8(ttl)
        values = (key.encode(), wire.bigint(amount), life)
        return Call("incr", self._statements.incr, values, read)

    def changes(self, since: int, most: int) -> Call[Changes]:
        def read(result: PGresult) -> Changes:
            until = since
            names: dict[str, int] = {}
            keys: dict[str, int] = {}
            for row in range(result.ntuples):
                name, number = _text(result, row, 0), _int(result, row, 1)
                kind = result.get_value(row, 2)
                if kind is None:
                    until = number
                elif kind == _TRUE:
                    keys[name] = number
                else:
                    space, _, bare = name.rpartition(":")
                    if space == self._namespace:
                        names[bare] = number
            complete = result.ntuples <= most
            return Changes(max(since, until), names, keys, complete)

        values = (wire.bigint(since), wire.bigint(most))
        return Call("changes", self._statements.changes, values, read)

    # ---- leases

    def peek(
        self, key: str, fence: int, seen: bytes, awaited: int
    ) -> Call[tuple[int, int, float] | None]:
        """A state, whose lease it is, and the seconds that it has left; None: it may be had."""
        values = (key.encode(), seen, wire.bigint(fence), wire.bigint(awaited))
        return Call("peek", self._statements.peek, values, _state)

    def acquire(
        self, key: str, fence: int, seen: bytes, awaited: int, seconds: float, tell: bool
    ) -> Call[tuple[int, int, float] | None]:
        """The same, and it is taken if it may be had; None: ask again, it changed meanwhile.

        Args:
            tell: mark a lease of others, so that its end is told.
        """
        values = (
            *(key.encode(), seen, wire.bigint(fence), wire.bigint(awaited)),
            *(wire.float8(seconds), wire.boolean(tell)),
        )
        return Call("acquire", self._statements.acquire, values, _state)

    def renew(self, leases: Sequence[tuple[str, int]], seconds: float) -> Call[list[bool]]:
        values = (*_mine(leases), wire.float8(seconds))
        return self._of_leases("renew", self._statements.renew, values, leases)

    def release(self, leases: Sequence[tuple[str, int]], outcome: int) -> Call[list[bool]]:
        told = (self._channel, end_payload(self._origin(), self._namespace))
        values = (*_mine(leases), wire.bigint(outcome), *told)
        return self._of_leases("release", self._statements.release, values, leases)

    def _of_leases(
        self,
        doing: str,
        statement: Statement,
        values: Sequence[bytes],
        leases: Sequence[tuple[str, int]],
    ) -> Call[list[bool]]:
        def read(result: PGresult) -> list[bool]:
            found = {(_text(result, row, 0), _int(result, row, 1)) for row in range(result.ntuples)}
            return [lease in found for lease in leases]

        def over() -> list[bool]:
            return [False] * len(leases)

        return Call(doing, statement, values, read, self.leased and bool(leases), over)

    # ---- within

    def _columns(self, rows: Sequence[Entry]) -> tuple[bytes, bytes, bytes]:
        return (
            wire.texts(entry.key for entry in rows),
            wire.blobs(entry.data for entry in rows),
            wire.floats(min(entry.ttl, self._max_ttl) for entry in rows),
        )

    def _notes(self, kind: str, names: Sequence[str]) -> bytes:
        return wire.texts(payloads(self._origin(), self._namespace, kind, names))

    def _stamps(self, names: Sequence[str]) -> tuple[list[str], Callable[[PGresult], list[int]]]:
        spaced = [self._prefix + name for name in names]

        def read(result: PGresult) -> list[int]:
            found = {_text(result, row, 0): _int(result, row, 1) for row in range(result.ntuples)}
            try:
                return [found[name] for name in spaced]
            except KeyError:
                raise damaged("a generation is missing") from None

        return spaced, read


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Sorted by key, so that no two statements wait for each other's rows; the last of a key."""
    return [entry for _, entry in sorted({entry.key: entry for entry in entries}.items())]


def _mine(leases: Sequence[tuple[str, int]]) -> tuple[bytes, bytes]:
    rows = sorted(set(leases))
    return wire.texts(key for key, _ in rows), wire.bigints(fence for _, fence in rows)


def _state(result: PGresult) -> tuple[int, int, float] | None:
    # Of an entry and a lease the entry counts, whose state is the lowest.
    return min(
        (
            (_int(result, row, 0), _int(result, row, 1), wire.to_float(result.get_value(row, 2)))
            for row in range(result.ntuples)
        ),
        default=None,
    )


def _fetched_one(result: PGresult) -> Fetched:
    if result.ntuples == 0:
        return Fetched([None], [0], [])
    return Fetched([result.get_value(0, 0)], [wire.to_int(result.get_value(0, 1))], [])


def _fetched_nothing() -> Fetched:
    return Fetched([], [], [])


def _none() -> None:
    return None


def _text(result: PGresult, row: int, column: int) -> str:
    return wire.to_text(result.get_value(row, column))


def _int(result: PGresult, row: int, column: int) -> int:
    return wire.to_int(result.get_value(row, column))


def _bytes(result: PGresult, row: int, column: int) -> bytes:
    value = result.get_value(row, column)
    if value is None:
        raise damaged("an entry is missing")
    return value
