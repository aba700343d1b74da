"""Where tests of leases have them, and what they look at in Redis.

A place is a URL, or a folder for a SQLite file; before the URL of a pgbouncer stands "pgbouncer ".
"""

from __future__ import annotations

from typing import Any

import redis

from millpond.tiers.postgres import PostgresTier
from millpond.tiers.redis import RedisTier
from millpond.tiers.sqlite import SQLiteTier

LEASE = 2.0  # seconds, as in cache/leases.py
MARGIN = 5.0  # for machines that are busy


def tier_at(place: str, seconds: float, connections: int = 20) -> Any:
    """A tier there whose operations may take so long."""
    if place.startswith("redis"):
        return RedisTier(place, timeout=seconds, max_connections=connections)
    if "postgresql://" in place:
        pooled, _, url = place.rpartition(" ")
        return PostgresTier(
            url, pgbouncer=bool(pooled), timeout=seconds, max_connections=connections
        )
    return SQLiteTier(place, timeout=seconds)


def calls(client: redis.Redis) -> list[str]:
    found: Any = client.lrange("calls", 0, -1)
    return [call for call in found if not call.startswith("plain:first")]


def callers(client: redis.Redis, key: str) -> list[int]:
    return [int(call.split()[1]) for call in calls(client) if call.split()[0] == key]


def waiting(client: redis.Redis) -> int:
    """How many workers wait, by the leases that there are."""
    leases: Any = list(client.scan_iter("~l:*"))
    values: Any = client.mget(leases) if leases else []
    return sum(len(value.split()) - 1 for value in values if value)


def open_gate(client: redis.Redis, key: str, times: int) -> None:
    client.rpush(f"gate:{key}", *["open"] * times)
