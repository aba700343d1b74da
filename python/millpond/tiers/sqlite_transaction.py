"""`Transaction`: what the writer does to the rows, and the stamps that it gives out.

A stamp is never given twice: it is `max(microseconds now, the highest ever + 1)`, for generations
and guards alike, also after their rows are gone and when the clock was set back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.errors import LimitError
from millpond.io.sqlite.errors import damaged
from millpond.io.sqlite.schema import GUARD_LIFE, MICROS, NAME_GRAIN

from .amounts import whole_amount
from .sqlite_leases import LeaseRows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from .base import Entry

# What the log calls the things that are invalidated.
NAME, KEY = 0, 1
_INT64 = 1 << 63

_FILL = """INSERT INTO records (key, guard, fence, expires, used, size, data)
VALUES (:key, 0, 0, :expires, :now, :size, :data)
ON CONFLICT (key) DO UPDATE SET expires = excluded.expires, used = excluded.used,
    size = excluded.size, data = excluded.data
WHERE guard <= :bygone"""
_FILL_GUARDED = """UPDATE records SET expires = :expires, used = :now, size = :size, data = :data
WHERE key = :key AND guard = :guard AND guard > :bygone"""
_WRITE = """INSERT INTO records (key, guard, fence, expires, used, size, data)
VALUES (:key, :guard, 0, :expires, :now, :size, :data)
ON CONFLICT (key) DO UPDATE SET guard = excluded.guard, expires = excluded.expires,
    used = excluded.used, size = excluded.size, data = excluded.data"""
_GUARD = """INSERT INTO records (key, guard, fence, expires, used, size, data)
VALUES (:key, :guard, 0, :expires, :now, 0, NULL)
ON CONFLICT (key) DO UPDATE SET guard = excluded.guard, expires = excluded.expires, size = 0,
    data = NULL"""
_COUNT = """INSERT INTO counters (key, value, expires) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires"""


class Transaction:
    """One transaction on a connection, between BEGIN and COMMIT.

    Args:
        connection: where it was begun.
        now: microseconds since 1970.
        max_ttl: seconds that an entry stays at most.

    Attributes:
        leases: those in the file.
    """

    def __init__(self, connection: sqlite3.Connection, now: int, max_ttl: float) -> None:
        self._execute = connection.execute
        self._connection = connection
        self._now = now
        self._max_ttl = max_ttl
        self.leases = LeaseRows(connection.execute, now)
        self._highest: int | None = None
        self._log: list[tuple[int, int, str]] = []

    def store(self, entries: Sequence[Entry]) -> list[bool]:
        """Fill in what loads brought, where guard and lease are still theirs."""
        return [self._fill(entry) for entry in entries]

    def write(self, entries: Sequence[Entry]) -> None:
        """Put entries in the place of whatever is there."""
        for entry in entries:
            row = self._row(entry)
            row["guard"] = self._stamp()
            self._execute(_WRITE, row)
            self._log.append((self._now, KEY, entry.key))

    def delete(self, keys: Sequence[str]) -> list[bool]:
        """Remove entries; whether each was there."""
        there: list[bool] = []
        for key in keys:
            found = self._execute("SELECT size, expires FROM records WHERE key = ?", (key,))
            size, expires = _numbers(found.fetchone() or (0, 0))
            there.append(size > 0 and expires > self._now)
            guard = self._stamp()
            row = {"key": key, "guard": guard, "expires": guard + GUARD_LIFE, "now": self._now}
            self._execute(_GUARD, row)
            self._log.append((self._now, KEY, key))
        return there

    def erase(self, keys: Sequence[str]) -> int:
        """Remove entries so that their bytes are overwritten; how many there were."""
        self._execute("PRAGMA secure_delete = ON").fetchone()
        try:
            return sum(self.delete(keys))
        finally:
            self._execute("PRAGMA secure_delete = FAST").fetchone()

    def bump(self, names: Sequence[str]) -> list[int]:
        """Give generation names new stamps."""
        stamps: list[int] = []
        for name in names:
            stamps.append(self._set_stamp(name))
            self._log.append((self._now, NAME, name))
        return stamps

    def stamp(self, names: Sequence[str]) -> list[int]:
        """The stamps of generation names, made where there are none."""
        stamps: list[int] = []
        for name in names:
            found = self._execute("SELECT stamp, used FROM generations WHERE name = ?", (name,))
            row = found.fetchone()
            if row is None:
                stamps.append(self._set_stamp(name))
                continue
            stamp, used = _numbers(row)
            if self._now - used > NAME_GRAIN:
                self._execute("UPDATE generations SET used = ? WHERE name = ?", (self._now, name))
            stamps.append(stamp)
        return stamps

    def incr(self, key: str, amount: int, ttl: float | None) -> int:
        """Add to a counter."""
        amount = whole_amount(amount)
        found = self._execute("SELECT value, expires FROM counters WHERE key = ?", (key,))
        value, expires = _numbers(found.fetchone() or (0, -1))
        if expires == -1 or 0 < expires <= self._now:
            value, expires = 0, 0 if ttl is None else self._now + max(1, round(ttl * MICROS))
        value += amount
        if not -_INT64 <= value < _INT64:
            raise LimitError(
                f"amount={amount}: the sum would not fit in 64 bits; the counter is unchanged"
            )
        self._execute(_COUNT, (key, value, expires))
        return value

    def finish(self) -> int:
        """Write down what was given out; the last entry of the log, 0 if nothing was logged."""
        if self._highest is not None:
            self._execute("UPDATE meta SET value = ? WHERE name = 'stamp'", (self._highest,))
        if not self._log:
            return 0
        self._connection.executemany("INSERT INTO log (at, kind, name) VALUES (?, ?, ?)", self._log)
        return int(self._execute("SELECT last_insert_rowid()").fetchone()[0])

    def _fill(self, entry: Entry) -> bool:
        if not entry.fence:
            return self._filled(entry)
        if not self.leases.stands(entry.key, entry.fence):
            return False
        filled = self._filled(entry)
        self.leases.end(entry.key, entry.fence, "landed" if filled else "none")
        return filled

    def _filled(self, entry: Entry) -> bool:
        row = self._row(entry)
        row["bygone"] = self._now - GUARD_LIFE
        if entry.guard:
            row["guard"] = entry.guard
            return self._execute(_FILL_GUARDED, row).rowcount > 0
        return self._execute(_FILL, row).rowcount > 0

    def _row(self, entry: Entry) -> dict[str, object]:
        life = max(1, round(min(entry.ttl, self._max_ttl) * MICROS))
        return {
            "key": entry.key,
            "expires": self._now + life,
            "now": self._now,
            # An entry of no bytes is still one.
            "size": max(1, len(entry.data)),
            "data": entry.data,
        }

    def _set_stamp(self, name: str) -> int:
        stamp = self._stamp()
        self._execute(
            "INSERT INTO generations VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET stamp = excluded.stamp, used = excluded.used",
            (name, stamp, self._now),
        )
        return stamp

    def _stamp(self) -> int:
        if self._highest is None:
            found = self._execute("SELECT value FROM meta WHERE name = 'stamp'")
            (self._highest,) = _numbers(found.fetchone() or (None,))
        self._highest = max(self._now, self._highest + 1)
        return self._highest


def _numbers(row: tuple[Any, ...]) -> tuple[int, ...]:
    """The row, if it is of whole numbers, as every sound one is."""
    if any(type(value) is not int for value in row):
        raise damaged("a row has columns of other types")
    return row
