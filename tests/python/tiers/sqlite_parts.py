"""What the tests of the SQLite tier share."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.io.deadline import Deadline
from millpond.io.sqlite.schema import MICROS
from millpond.tiers.base import Entry
from millpond.tiers.sqlite import SQLiteTier

if TYPE_CHECKING:
    import pytest

START = 1_700_000_000 * MICROS
MEBIBYTE = 1 << 20


class Clock:
    """Microseconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * MICROS)


def soon(seconds: float = 5) -> Deadline:
    return Deadline.after(seconds)


def entry(key: str, data: bytes = b"data", ttl: float = 600, guard: int = 0) -> Entry:
    return Entry(key, data, ttl, guard)


class Line:
    """What was put in line of a tier's writer since this was made."""

    def __init__(self, tier: SQLiteTier, patch: pytest.MonkeyPatch) -> None:
        self.jobs: list[Any] = []
        self._writer = tier._writer
        put = tier._writer._put

        def noted(job: Any) -> None:
            put(job)
            self.jobs.append(job)

        patch.setattr(tier._writer, "_put", noted)

    def holds(self, count: int) -> bool:
        """Whether so many were put there, and the writer has found the first of them."""
        return len(self.jobs) == count and self._writer._line.qsize() < count


def wal_of(tier: SQLiteTier) -> Path:
    return tier.path.with_name(f"{tier.path.name}-wal")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def held_lock(tier: SQLiteTier) -> sqlite3.Connection:
    """A connection of another program's, which has begun to write and does not end."""
    connection = sqlite3.connect(tier.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def fill(tier: SQLiteTier, count: int, size: int = 10_000) -> list[str]:
    keys = [f"k{number:06}" for number in range(count)]
    for start in range(0, count, 20):
        tier.store([entry(key, os.urandom(size)) for key in keys[start : start + 20]], soon())
    return keys
