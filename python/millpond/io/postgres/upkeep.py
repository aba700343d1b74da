"""What is done with the schema and its rows besides the calls, as plans of several statements.

A plan is a generator: it yields a statement with its values, or a script, and is sent the result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

from millpond.io.postgres import schema, wire
from millpond.io.postgres.errors import (
    DENIED,
    READ_ONLY,
    Refusal,
    damaged,
    misconfigured,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from psycopg.pq.abc import PGresult

    from millpond.io.postgres.link import Link, Statement, Steps
    from millpond.io.postgres.statements import Statements

T = TypeVar("T")
Request: TypeAlias = "tuple[Statement, Sequence[bytes | None]] | bytes"
Plan: TypeAlias = "Generator[Request, PGresult | Refusal, T]"

_BATCH: Final = 1000
# A purge that finds more than this leaves the rest to the next one.
_BATCHES: Final = 1000


class Bounds(NamedTuple):
    """What the tables may hold: bytes and number of entries, number of generations."""

    max_bytes: int
    max_entries: int
    max_generations: int


class Purged(NamedTuple):
    """What a purge removed; `alone` is False if another process was at it."""

    expired: int
    evicted: int
    counters: int
    generations: int
    alone: bool


def steps(link: Link, request: Request) -> Steps[PGresult | Refusal]:
    """What a link does for a request."""
    return link.telling(request) if isinstance(request, bytes) else link.asking(*request)


# ---- the schema


def ready(name: str, *, create: bool) -> Plan[str]:
    """Make the tables if there are none; see that they are as they must be.

    Returns:
        why there can be no leases, in words; "" if there can.

    Raises:
        TierError: they are not, or may not be made; the message says what to do.
    """
    found = yield from _tables(name)
    if not set(schema.COLUMNS) & set(found) and create:
        made = yield schema.creation(name)
        if isinstance(made, Refusal):
            if made.state in (DENIED, READ_ONLY):
                raise _to_be_made(name, f"the user may not make it: {made.text}")
            raise refused(made)
        found = yield from _tables(name)
    wrong = schema.differences(found)
    if wrong:
        if set(schema.COLUMNS) & set(found):
            raise misconfigured(
                f"the schema {name} is not millpond's version {schema.VERSION}:"
                f" {'; '.join(wrong)}. It is left as it is: give another schema=, or make it so."
                f" It has to be:\n{schema.ddl(name)}"
            )
        raise _to_be_made(name, "create_schema=False")
    answer = yield schema.look_version(name)
    if isinstance(answer, Refusal):
        raise refused(answer)
    version = (answer.get_value(0, 0) or b"").decode() if answer.ntuples == 1 else "none"
    if version != str(schema.VERSION):
        raise misconfigured(
            f"the schema {name} has version {version}, and this millpond works with"
            f" {schema.VERSION}. It is left as it is: use the millpond that made it, or give"
            " another schema="
        )
    wrong = schema.differences(found, schema.LEASES)
    if not wrong and answer.get_value(0, 1) != b"true":
        wrong = ["the user may not read and change the table leases"]
    return "; ".join(wrong)


def _tables(name: str) -> Plan[dict[str, dict[str, str]]]:
    answer = yield schema.look(name)
    if isinstance(answer, Refusal):
        raise refused(answer)
    found: dict[str, dict[str, str]] = {}
    for row in range(answer.ntuples):
        table, column, kind = (wire.to_text(answer.get_value(row, i)) for i in range(3))
        found.setdefault(table, {})[column] = kind
    return found


def _to_be_made(name: str, why: str) -> Exception:
    return misconfigured(
        f"there is no schema {name} with millpond's tables ({why})."
        f" Let somebody who may run this, once:\n{schema.ddl(name)}"
    )


# ---- the rows


def purge(statements: Statements, bounds: Bounds, *, leases: bool) -> Plan[Purged]:
    """Remove what is over, then what is beyond the bounds, in batches of up to a thousand rows."""
    lock = wire.bigint(schema.lock_id(statements.schema) + 1)
    expired, alone = yield from _batches(statements.expired, lock, math.inf)
    counters = evicted = generations = 0
    if alone:
        counters, alone = yield from _batches(statements.old_counters, lock, math.inf)
    if alone and leases:
        _, alone = yield from _batches(statements.old_leases, lock, math.inf)
    if alone:
        answer = _good((yield statements.totals, ()))
        count, size, names = (wire.to_int(answer.get_value(0, column)) for column in range(3))
        beyond = max(0, count - bounds.max_entries)
        if size > bounds.max_bytes:
            # About as many as make room; what is missing is left to the next purge.
            beyond = max(beyond, math.ceil((size - bounds.max_bytes) / (size / count)))
        if beyond:
            evicted, alone = yield from _batches(statements.evict, lock, beyond)
        if alone and names > bounds.max_generations:
            beyond = names - bounds.max_generations
            generations, alone = yield from _batches(statements.old_generations, lock, beyond)
    return Purged(expired, evicted, counters, generations, alone)


def purge_if_due(
    statements: Statements, bounds: Bounds, every: float, *, leases: bool
) -> Plan[Purged | None]:
    """The same, if no process has begun one for so many seconds."""
    answer = yield statements.claim, (wire.float8(every),)
    if isinstance(answer, Refusal):
        raise refused(answer)
    if answer.ntuples == 0:
        return None
    return (yield from purge(statements, bounds, leases=leases))


def _batches(statement: Statement, lock: bytes, most: float) -> Plan[tuple[int, bool]]:
    """Repeat a statement until it finds no more; how many rows it found, and had the lock."""
    done = 0
    for _ in range(_BATCHES):
        limit = int(min(_BATCH, most - done))
        answer = _good((yield statement, (lock, wire.bigint(limit))))
        if answer.get_value(0, 0) != b"\x01":
            return done, False
        found = wire.to_int(answer.get_value(0, 1))
        done += found
        if found < limit or done >= most:
            break
    return done, True


def _good(answer: PGresult | Refusal) -> PGresult:
    if isinstance(answer, Refusal):
        raise refused(answer)
    if answer.ntuples != 1:
        raise damaged("not one row")
    return answer
