"""What a look-up in PostgreSQL costs, beside the least that psycopg can do: a prepared SELECT."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import peers
from ..loops import AsyncTimedLoop, TimedLoop, new_event_loop
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

KEYS = [f"bench:f:1:{number:032x}" for number in range(1_000)]
DATA = bytes(range(256)) * 4
BARE = "psycopg"
_SELECT = "SELECT data FROM millpond.entries WHERE key = %s"
_SELECT_MANY = "SELECT key, data FROM millpond.entries WHERE key = ANY(%s)"


@functools.cache
def server() -> Any:
    """A server of the tests' own, with the entries in it; it ends with this process."""
    if not any(map(shutil.which, ("postgres", "initdb"))):
        raise Unavailable("needs a PostgreSQL server (Debian's package: postgresql)")
    peers.need("psycopg")
    root = str(Path(__file__).parents[3])
    if root not in sys.path:
        sys.path.append(root)
    from tests.integration.servers import PostgresServer

    server = PostgresServer().start()
    filler = tier(server)
    entry = peers.need("millpond.tiers.base").Entry
    filler.store([entry(key, DATA, 86_400.0) for key in KEYS], deadline())
    filler.close()
    with server.connect() as connection:
        connection.execute("VACUUM ANALYZE millpond.entries")
    return server


def tier(server: Any) -> Any:
    module = peers.need("millpond.tiers.postgres")
    return module.PostgresTier(server.url, max_connections=1, purge_every=None)


def deadline() -> Any:
    return peers.need("millpond.io.deadline").Deadline.after(10)


def ours(context: Context) -> Sampler:
    made = tier(server())
    context.cleanup.callback(made.close)
    names = {"f": made.fetch, "after": peers.need("millpond.io.deadline").Deadline.after}
    return TimedLoop(context, "f((x,), (), after(1))", names, KEYS)


def bare(context: Context) -> Sampler:
    connection = context.cleanup.enter_context(server().connect())
    names = {"f": connection.execute, "q": _SELECT}
    return TimedLoop(context, "f(q, (x,), prepare=True, binary=True).fetchone()", names, KEYS)


def one_cursor(context: Context) -> Sampler:
    connection = context.cleanup.enter_context(server().connect())
    names = {"f": connection.cursor(binary=True).execute, "q": _SELECT}
    return TimedLoop(context, "f(q, (x,), prepare=True).fetchone()", names, KEYS)


def ours_async(context: Context) -> Sampler:
    loop = new_event_loop(context)
    made = tier(server())
    context.cleanup.callback(made.close)
    names = {"f": made.afetch, "after": peers.need("millpond.io.deadline").Deadline.after}
    return AsyncTimedLoop(context, loop, "await f((x,), (), after(1))", names, KEYS)


def bare_async(context: Context) -> Sampler:
    loop = new_event_loop(context)
    kind = peers.need("psycopg").AsyncConnection
    connection = loop.run_until_complete(kind.connect(server().url, autocommit=True))
    context.cleanup.callback(lambda: loop.run_until_complete(connection.close()))
    names = {"f": connection.execute, "q": _SELECT}
    statement = "await (await f(q, (x,), prepare=True, binary=True)).fetchone()"
    return AsyncTimedLoop(context, loop, statement, names, KEYS)


BATCHES = [KEYS[start : start + 100] for start in range(0, 900, 50)] * 8


def ours_many(context: Context) -> Sampler:
    made = tier(server())
    context.cleanup.callback(made.close)
    names = {"f": made.fetch, "after": peers.need("millpond.io.deadline").Deadline.after}
    return TimedLoop(context, "f(x, (), after(1))", names, BATCHES)


def bare_many(context: Context) -> Sampler:
    connection = context.cleanup.enter_context(server().connect())
    names = {"f": connection.execute, "q": _SELECT_MANY}
    return TimedLoop(context, "f(q, (x,), prepare=True, binary=True).fetchall()", names, BATCHES)


def _row(name: str, title: str, limit: float, how: dict[str, Callable[[Context], Sampler]]) -> Row:
    return Row(
        name=name,
        title=title,
        contenders=tuple(
            Contender(who, prepare, "" if who == "millpond" else "psycopg")
            for who, prepare in how.items()
        ),
        baseline=BARE,
        targets=(Target(limit, of=BARE),),
    )


def rows() -> list[Row]:
    return [
        _row(
            "postgresql/fetch",
            "L3 PostgreSQL: the entry and guard of a key, 1 KB, beside a bare prepared SELECT",
            1.25,
            {"millpond": ours, BARE: bare, "psycopg, one cursor": one_cursor},
        ),
        _row(
            "postgresql/afetch",
            "the same in an event loop",
            1.25,
            {"millpond": ours_async, BARE: bare_async},
        ),
        _row(
            "postgresql/fetch-100",
            "the same for 100 keys at once",
            1.25,
            {"millpond": ours_many, BARE: bare_many},
        ),
    ]
