"""Where tests of leases have them, and what they look at there.

Where is a URL, or a folder for a SQLite file; before the URL of a pgbouncer stands "pgbouncer ".
"""

from __future__ import annotations

from typing import Any, Protocol

import redis

from millpond import Engine
from millpond.tiers.postgres import PostgresTier
from millpond.tiers.redis import RedisTier
from millpond.tiers.sqlite import SQLiteTier
from tests.integration.postgres_server import PostgresServer

LEASE = 2.0  # seconds, as in cache/leases.py
MARGIN = 5.0  # for machines that are busy


class Place(Protocol):
    """A tier that tests share.

    Attributes:
        where: it is, for `patient`.
    """

    where: str

    def standing(self) -> list[float]:
        """The seconds that each lease which stands has left."""
        ...


class InRedis:
    def __init__(self, where: str) -> None:
        self.where = where

    def standing(self) -> list[float]:
        with redis.Redis.from_url(self.where) as client:
            left: list[Any] = [client.pttl(lease) for lease in client.scan_iter("~l:*")]
        return [millis / 1000 for millis in left if millis > 0]


class InPostgres:
    def __init__(self, where: str, server: PostgresServer, database: str) -> None:
        self.where = where
        self._server = server
        self._database = database

    def standing(self) -> list[float]:
        statement = """SELECT extract(epoch FROM expires - clock_timestamp())::float8
            FROM millpond.leases WHERE outcome IS NULL AND expires > clock_timestamp()"""
        with self._server.connect(self._database) as connection:
            return [left for (left,) in connection.execute(statement).fetchall()]


class InFile:
    def __init__(self, where: str) -> None:
        self.where = where

    def standing(self) -> list[float]:
        raise NotImplementedError


def patient(where: str, seconds: float = 10.0, connections: int = 100) -> Engine:
    """An Engine whose calls give up on nothing, on a machine that is busy with other tests."""
    if where.startswith("redis"):
        tier = RedisTier(where, timeout=seconds, max_connections=connections)
        return Engine(redis=tier, database=False, budget=2 * seconds).open()
    if "postgresql://" in where:
        pooled, _, url = where.rpartition(" ")
        few = min(connections, 20)  # The server has a hundred for all.
        database: Any = PostgresTier(
            url, pgbouncer=bool(pooled), timeout=seconds, max_connections=few
        )
    else:
        database = SQLiteTier(where, timeout=seconds)
    return Engine(database=database, budget=2 * seconds).open()


def calls(client: redis.Redis) -> list[str]:
    found: Any = client.lrange("calls", 0, -1)
    return [call for call in found if not call.startswith("plain:first")]


def callers(client: redis.Redis, key: str) -> list[int]:
    return [int(call.split()[1]) for call in calls(client) if call.split()[0] == key]


def open_gate(client: redis.Redis, key: str, times: int) -> None:
    client.rpush(f"gate:{key}", *["open"] * times)
