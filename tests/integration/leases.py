"""What tests of leases look at in Redis."""

from __future__ import annotations

from typing import Any

import redis

LEASE = 2.0  # seconds, as in cache/leases.py
MARGIN = 5.0  # for machines that are busy


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
