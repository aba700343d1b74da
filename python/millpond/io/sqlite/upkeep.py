"""`Upkeep`: keeps the file within its bound, between the writer's groups and a little at a time.

What goes first is what is over, then what was used least recently. A use is noted in memory by who
reads and written down now and then, so a read costs no write. The file's own limit of pages is set
to the bound, so it is never passed, whoever writes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .files import with_settings
from .schema import GUARD_LIFE, MICROS, PAGE_BYTES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

# An old entry is not noted as used again within this time.
USE_GRAIN = 60 * MICROS
# Uses that wait to be written down; more are not noted.
MAX_USES = 10_000
_FLUSH_EVERY = 30 * MICROS
_PURGE_EVERY = 10 * MICROS
# Full: purged at the upper mark, down to the lower one.
_UPPER, _LOWER = 0.92, 0.85
_BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
# The log of invalidations: how much of it is kept for those who were away.
LOG_ROWS = 10_000
LOG_LIFE = 3600 * MICROS
# The WAL: when it is this long it is copied into the database and cut to nothing. That waits a
# moment for those who read old pages; where they go on, it is tried again so much later.
WAL_BYTES = 4 << 20
_WAL_PATIENCE_MS = 20
# Free pages are given back when they are this part of the file, so many at a time.
_VACUUM_FROM = 0.2
_VACUUM_PAGES = 512

_OVER = "SELECT id FROM records WHERE expires <= ? LIMIT ?"
_OLDEST = "SELECT id, size FROM records WHERE size > 0 ORDER BY used LIMIT ?"


class Upkeep:
    """What is to be done beside the jobs. Called by the writer's thread alone, but for `note`.

    Args:
        max_bytes: the bound of the database file.
        wal: where SQLite's write-ahead log is.
        now: microseconds since 1970.
    """

    def __init__(self, max_bytes: int, wal: Path, now: Callable[[], int]) -> None:
        self._pages = max(1, max_bytes // PAGE_BYTES)
        self._max_names = max(1000, max_bytes // 8192)
        self._wal = wal
        self._now = now
        self._uses: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._flushed = 0
        self._purged = 0
        self._cutting = False
        self._scrubbing = False
        self._cut_at = WAL_BYTES

    def setup(self, connection: sqlite3.Connection) -> None:
        """Set a new connection of the writer's; it is closed if that cannot be done."""
        with_settings(
            connection,
            # A commit is in the WAL when it returns, safe from the death of this process. After a
            # power failure the last ones may be missing; the file is consistent all the same.
            "synchronous = NORMAL",
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {WAL_BYTES}",
            f"max_page_count = {self._pages}",
            "secure_delete = FAST",
            "cache_size = -8192",
        )

    def note(self, key: str, now: int) -> None:
        """An entry was used that was not noted for a while."""
        if len(self._uses) < MAX_USES:
            self._uses[key] = now

    def note_name(self, name: str, now: int) -> None:
        """The same of a generation's name."""
        if len(self._names) < MAX_USES:
            self._names[name] = now

    def scrub(self) -> None:
        """Next time, leave no bytes behind of what is over or was removed."""
        self._scrubbing = True

    def is_due(self, now: int) -> bool:
        """Whether there are uses that it is time to write down."""
        return bool(self._uses or self._names) and abs(now - self._flushed) >= _FLUSH_EVERY

    def __call__(self, connection: sqlite3.Connection, idle: bool) -> bool:
        """Do a little; whether there is more to do at once."""
        now = self._now()
        if self._scrubbing:
            self._scrubbing = not self._scrub(connection, now)
        self._checkpoint(connection)
        if abs(now - self._flushed) >= _FLUSH_EVERY or len(self._uses) >= MAX_USES // 2:
            self._flushed = now
            self._flush(connection)
        if self._cutting or self._beyond(connection, _UPPER) > 0:
            self._flush(connection)
            evict = self._beyond(connection, _LOWER)
            self._cutting = self._purge(connection, now, evict) and evict > 0
            return self._cutting
        if abs(now - self._purged) >= _PURGE_EVERY:
            if self._purge(connection, now, evict=0):
                return True
            self._purged = now
            self._prune(connection, now)
        return idle and self._vacuum(connection)

    def make_room(self, connection: sqlite3.Connection) -> bool:
        """The file or the disk is full: remove something now; whether that was possible."""
        # What the WAL takes up may be all that a deletion has to be written to.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._flush(connection)
        evict = max(self._beyond(connection, _LOWER), PAGE_BYTES)
        return self._purge(connection, self._now(), evict)

    def _beyond(self, connection: sqlite3.Connection, part: float) -> int:
        """Bytes that the file holds beyond this part of what it may."""
        held = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
        return (held - int(part * self._pages)) * PAGE_BYTES

    def _flush(self, connection: sqlite3.Connection) -> None:
        if not self._uses and not self._names:
            return
        uses, self._uses = self._uses, {}
        names, self._names = self._names, {}
        try:
            with _Short(connection):
                connection.executemany(
                    "UPDATE records SET used = ?2 WHERE key = ?1 AND used < ?2 AND size > 0",
                    list(uses.items()),
                )
                connection.executemany(
                    "UPDATE generations SET used = ?2 WHERE name = ?1 AND used < ?2",
                    list(names.items()),
                )
        except BaseException:  # Others write: they are written down next time.
            self._uses = uses | self._uses
            self._names = names | self._names
            raise

    def _purge(self, connection: sqlite3.Connection, now: int, evict: int) -> bool:
        """Remove a batch of what is over, else some of what was used least recently.

        Args:
            evict: how many bytes of it, about; a batch at most.

        Returns:
            Whether there was anything.
        """
        with _Short(connection):
            ids = [row[0] for row in connection.execute(_OVER, (now, _BATCH_ROWS))]
            connection.execute(
                "DELETE FROM counters WHERE key IN (SELECT key FROM counters"
                " WHERE expires > 0 AND expires <= ? LIMIT ?)",
                (now, _BATCH_ROWS),
            )
            connection.execute(
                "DELETE FROM leases WHERE key IN"
                " (SELECT key FROM leases WHERE expires <= ? LIMIT ?)",
                (now, _BATCH_ROWS),
            )
            if not ids and evict > 0:
                left = min(evict, _BATCH_BYTES)
                for row, size in connection.execute(_OLDEST, (_BATCH_ROWS,)).fetchall():
                    if left <= 0:
                        break
                    ids.append(row)
                    left -= size
            bygone = now - GUARD_LIFE
            for row in ids:
                # Where a guard still counts, it stays.
                if not connection.execute(
                    "DELETE FROM records WHERE id = ? AND guard <= ?", (row, bygone)
                ).rowcount:
                    connection.execute(
                        "UPDATE records SET data = NULL, size = 0, expires = guard + ?"
                        " WHERE id = ?",
                        (GUARD_LIFE + 1, row),
                    )
        return bool(ids)

    def _prune(self, connection: sqlite3.Connection, now: int) -> None:
        """Cut the log of invalidations, and the names beyond what is sensible."""
        found = connection.execute("SELECT max(seq) FROM log").fetchone()
        kept = (found[0] or 0) - LOG_ROWS
        with _Short(connection):
            connection.execute("DELETE FROM log WHERE seq <= ?", (kept,))
            connection.execute(
                "DELETE FROM log WHERE seq < (SELECT coalesce(min(seq), 0) FROM log WHERE at > ?)",
                (now - LOG_LIFE,),
            )
            count = connection.execute("SELECT count(*) FROM generations").fetchone()[0]
            if count > self._max_names:
                # A name that is gone makes what carries it a miss, no more.
                connection.execute(
                    "DELETE FROM generations WHERE name IN"
                    " (SELECT name FROM generations ORDER BY used LIMIT ?)",
                    (count - self._max_names * 9 // 10,),
                )

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            size = os.stat(self._wal).st_size  # noqa: PTH116 (at every group)
        except FileNotFoundError:
            return
        if size < self._cut_at:
            return
        self._cut_at = WAL_BYTES if self._cut(connection) else size + WAL_BYTES

    @staticmethod
    def _cut(connection: sqlite3.Connection) -> bool:
        """Copy the WAL into the database and cut it to nothing; False: somebody reads from it."""
        connection.execute(f"PRAGMA busy_timeout = {_WAL_PATIENCE_MS}").fetchone()
        try:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute("PRAGMA busy_timeout = 0").fetchone()
        return not busy

    def _scrub(self, connection: sqlite3.Connection, now: int) -> bool:
        """Remove what is over, give back every free page, and cut the WAL; False: not all of it.

        A removed row is overwritten in its page, but a page that becomes free keeps its bytes.
        """
        while self._purge(connection, now, evict=0):
            pass
        _give_back(connection)
        return self._cut(connection)

    def _vacuum(self, connection: sqlite3.Connection) -> bool:
        free = _pragma(connection, "freelist_count")
        pages = _pragma(connection, "page_count")
        if free < _VACUUM_PAGES or free < pages * _VACUUM_FROM:
            return False
        _give_back(connection, _VACUUM_PAGES)
        return True


class _Short:
    """A transaction of the upkeep's, which gives way: where others write, it comes later."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _give_back(connection: sqlite3.Connection, pages: int = 0) -> None:
    """Give free pages back to the file system; 0: all of them.

    SQLite gives a page back a step, and `fetchall` on CPython 3.11 makes one step of a statement
    whose rows have no columns.
    """
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
