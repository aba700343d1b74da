"""The files of one database: its own, SQLite's beside it, the shared stamp and the lock.

Whoever makes, migrates or moves the database holds the lock, so that of several processes one does
it and the others open what it left. The lock is a file of its own: to open the database itself for
locking, and to close it again, would give up SQLite's locks on it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from millpond._engine import MappedStamp
from millpond.errors import SnapshotError
from millpond.io.folder import private_file, private_folder

from . import schema
from .errors import is_busy, is_damage, timeout_error

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from millpond.io.deadline import Deadline

_log = logging.getLogger("millpond.tiers")
# Damaged files that are kept for whoever wants to know; older ones are removed.
KEPT_ASIDE = 2
_LOCK_POLL = 0.002

Identity = tuple[int, int, int, int]


class Opened(NamedTuple):
    """A database that was found, or made, in order: which file it is, and the stamp beside it."""

    identity: Identity
    stamp: MappedStamp
    epoch: int


def with_settings(connection: sqlite3.Connection, *settings: str) -> sqlite3.Connection:
    """The connection with its pragmas set; closed if they cannot be."""
    try:
        for setting in settings:
            connection.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


class Files:
    """Where they are, and what is done to them under the lock.

    Args:
        folder: the folder; made if it is not there.
        name: the database's name in it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.database = folder / name
        self.stamp = folder / f"{name}.stamp"
        self.lock = folder / f"{name}.lock"
        self._uri = f"file:{quote(os.fspath(self.database))}?mode=rw"

    @property
    def wal(self) -> Path:
        return self.database.with_name(f"{self.database.name}-wal")

    def connect(self) -> sqlite3.Connection:
        """A connection to the file, which must be there; it waits for nobody."""
        connection = sqlite3.connect(
            self._uri,
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )
        # What the file says of itself is not believed more than needed.
        return with_settings(connection, "trusted_schema = OFF", "cell_size_check = ON")

    def identity(self) -> Identity | None:
        """Which files are at the paths now, None if one is missing."""
        try:
            database, stamp = os.stat(self.database), os.stat(self.stamp)  # noqa: PTH116 (faster)
        except FileNotFoundError:
            return None
        return database.st_dev, database.st_ino, stamp.st_dev, stamp.st_ino

    def open(self, deadline: Deadline) -> Opened:
        """Make or check everything that is needed.

        Raises:
            TierError: it may not be used; OSError, sqlite3.Error: it cannot be.
        """
        private_folder(self.folder)
        with self.locked(deadline):
            try:
                return self._open_in_turn(deadline)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not is_damage(error):
                    raise
                self.set_aside(error)
            return self._open_in_turn(deadline)

    @contextmanager
    def locked(self, deadline: Deadline) -> Generator[None]:
        """Hold the lock between processes."""
        private_file(self.lock)
        handle = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if not deadline.left():
                        raise timeout_error("another process prepares the file") from error
                time.sleep(_LOCK_POLL)
            yield
        finally:
            os.close(handle)

    def set_aside(self, error: BaseException) -> None:
        """Move a damaged database away, and say so. REQUIRES: the lock is held."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = self.database.with_name(f"{self.database.name}.corrupt-{moment}")
        number = 1
        while aside.exists():
            number += 1
            aside = aside.with_name(f"{self.database.name}.corrupt-{moment}-{number}")
        # The database goes first: from then on whoever opens waits for the lock.
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._beside(suffix).rename(aside.with_name(aside.name + suffix))
        _log.warning(
            "the cache's database %s is damaged (%s); it was moved to %s, and a new one begun",
            self.database,
            getattr(error, "sqlite_errorname", "") or type(error).__name__,
            aside.name,
        )
        self._forget_old_ones()

    def _open_in_turn(self, deadline: Deadline) -> Opened:
        while True:
            try:
                return self._open()
            except sqlite3.OperationalError as error:
                # Another process closes its last connection, or reads the WAL after a crash.
                if not is_busy(error) or not deadline.left():
                    raise
            time.sleep(_LOCK_POLL)

    def _open(self) -> Opened:
        fresh = not self.database.exists()
        if fresh:
            # What a deleted database left behind would be taken for the new one's.
            for suffix in ("-wal", "-shm"):
                self._beside(suffix).unlink(missing_ok=True)
        private_file(self.database)
        stamp = self._map_stamp()
        connection = self.connect()
        try:
            if not schema.is_ready(connection):
                schema.prepare(connection)
                fresh = fresh or stamp.announced() > 0
            elif connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("SELECT value FROM meta").fetchall()
        finally:
            connection.close()
        if fresh:
            stamp.restart()
        identity = self.identity()
        if identity is None:
            raise FileNotFoundError(f"{self.database} was removed while it was opened")
        return Opened(identity, stamp, stamp.epoch())

    def _map_stamp(self) -> MappedStamp:
        try:
            return MappedStamp(self.stamp)
        except SnapshotError:
            self.stamp.unlink()
            return MappedStamp(self.stamp)

    def _beside(self, suffix: str) -> Path:
        return self.database.with_name(self.database.name + suffix)

    def _forget_old_ones(self) -> None:
        aside = f"{self.database.name}.corrupt-"
        parts = [path for path in self.folder.iterdir() if path.name.startswith(aside)]
        kept = sorted({path.name.removesuffix("-wal").removesuffix("-shm") for path in parts})
        for path in parts:
            if path.name.removesuffix("-wal").removesuffix("-shm") not in kept[-KEPT_ASIDE:]:
                path.unlink(missing_ok=True)
