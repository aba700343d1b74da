"""`Database`: the file's connections in this process, one a thread for reading.

A read takes a few microseconds and waits for nobody (WAL), so it runs where it is asked for, in an
event loop too. The writer has a connection of its own (`writer.py`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from millpond import _engine
from millpond.errors import TierError

from . import fork
from .errors import (
    READ_ERRORS,
    TIER,
    ClosedError,
    is_busy,
    is_damage,
    is_elsewhere,
    tier_error,
    timeout_error,
)
from .files import with_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond.io.deadline import Deadline

    from .files import Files, Opened

# A connection's own cache of pages, in KiB; there is one a thread.
_CACHE_KIB = 4096
# Seconds between attempts to read what others have locked.
_BUSY_PAUSE = 0.0005
# Seconds that closing waits for a read that runs.
_CLOSE_PATIENCE = 0.5


class Reader:
    """A thread's connection. Its lock is held while it reads, so that others may close it."""

    __slots__ = (
        "__weakref__",
        "connection",
        "cursor",
        "epoch",
        "epoch_now",
        "execute",
        "lock",
        "opened",
        "pid",
    )

    def __init__(self, opened: Opened, connection: sqlite3.Connection) -> None:
        self.opened: Opened | None = opened
        self.epoch = opened.epoch
        self.epoch_now = opened.stamp.epoch
        self.connection = connection
        self.cursor = connection.cursor()
        self.execute: Callable[..., sqlite3.Cursor] = self.cursor.execute
        self.lock = _engine.ReadLock()
        self.pid = os.getpid()

    def close(self, patience: float) -> bool:
        """Close the connection once nobody reads; whether that came in time."""
        if not self.lock.acquire(patience):
            return False
        try:
            self.opened = None
            self.connection.close()
        finally:
            self.lock.release()
        return True

    def __del__(self) -> None:
        # A thread that ends lets go of its reader; the engine's look-up keeps that of the last one.
        if self.pid == os.getpid():
            self.connection.close()
        else:
            fork.abandon(self.connection)


class Database:
    """Opens the file when it is needed, again when it is another, and not after a bad fork.

    Attributes:
        files: where it is.
        opened: what is open; None before, and when it has to be opened again.
        local: `local.reader` is this thread's Reader, where it has one.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.opened: Opened | None = None
        self.on_open: Callable[[Opened], None] | None = None
        self._gate = threading.RLock()
        self.local = threading.local()
        self._readers: WeakSet[Reader] = WeakSet()
        self._spoiled = False
        self._gated = False

    def open(self, deadline: Deadline) -> Opened:
        """Open the file, or return what is open.

        Raises:
            TierError: it cannot be.
        """
        if not self._gate.acquire(timeout=deadline.left()):
            raise timeout_error("it is being opened")
        try:
            opened = self.opened
            if opened is not None:
                if opened.stamp.epoch() == opened.epoch:
                    return opened
                self._drop()
            if self._spoiled:
                raise TierError(
                    "the SQLite tier cannot be used in this process: it was forked while the "
                    "database was in use; open it after the fork",
                    tier=TIER,
                )
            try:
                opened = self.files.open(deadline)
            except (OSError, *READ_ERRORS) as error:
                raise tier_error(error) from error
            self.opened = opened
            if self.on_open is not None:
                self.on_open(opened)
            return opened
        finally:
            self._gate.release()

    def close(self) -> None:
        """Close every connection; a later use opens again."""
        with self._gate:
            self._drop()

    def reader(self) -> Reader:
        """This thread's connection.

        Raises:
            ClosedError: nothing is open; `recover` opens it.
        """
        try:
            reader: Reader = self.local.reader
        except AttributeError:
            return self._new_reader()
        opened = self.opened
        if opened is None or opened is not reader.opened or reader.epoch_now() != reader.epoch:
            return self._new_reader()
        return reader

    def connect(self) -> tuple[Opened, sqlite3.Connection]:
        """A connection for the writer, and what it is open to.

        Raises:
            ClosedError: nothing is open.
        """
        opened = self.opened
        if opened is None:
            raise ClosedError
        connection = self.files.connect()
        # Not before SQLite has opened all its files is it sure which ones they are.
        try:
            connection.execute("SELECT 1 FROM meta").fetchone()
            if self.files.identity() != opened.identity:
                raise ClosedError
        except BaseException:
            connection.close()
            raise
        return opened, connection

    def is_current(self, opened: Opened) -> bool:
        """Whether the files at the paths are still those."""
        return opened.stamp.epoch() == opened.epoch and self.files.identity() == opened.identity

    def recover(self, error: BaseException, deadline: Deadline) -> None:
        """Do what lets the next attempt succeed, or raise what the caller has to hear.

        Raises:
            TierError: it is no use, or there is no time left.
        """
        if is_busy(error):
            if not deadline.left():
                raise timeout_error("the database was locked by others") from error
            time.sleep(_BUSY_PAUSE)
        elif is_damage(error):
            self._set_aside(error, deadline)
        elif is_elsewhere(error):
            if not deadline.left():
                raise timeout_error("it had to be opened again") from error
            self.check()
            self.open(deadline)
        else:
            raise tier_error(error) from error

    def check(self) -> None:
        """Notice a file that was deleted or replaced: what is next opens the new one."""
        opened = self.opened
        if opened is None or self.is_current(opened):
            return
        with self._gate:
            if self.opened is opened:
                replaced = opened.stamp.epoch() == opened.epoch
                self._drop()
                if replaced:
                    # Nobody else has noticed. Those who watch the old stamp shall, too.
                    opened.stamp.restart()

    def _set_aside(self, error: BaseException, deadline: Deadline) -> None:
        with self._gate:
            opened = self.opened
            if opened is not None:
                self._drop()
                try:
                    with self.files.locked(deadline):
                        if self.is_current(opened):
                            self.files.set_aside(error)
                            opened.stamp.restart()
                except OSError as failure:
                    raise tier_error(failure) from failure
            self.open(deadline)

    def _new_reader(self) -> Reader:
        old: Reader | None = getattr(self.local, "reader", None)
        if old is not None:
            del self.local.reader
            old.close(_CLOSE_PATIENCE)
        if self.opened is None:
            raise ClosedError  # Nor is to be waited for: another thread may be opening it.
        with self._gate:
            opened, connection = self.connect()
            with_settings(connection, f"cache_size = -{_CACHE_KIB}", "query_only = ON")
            reader = Reader(opened, connection)
            if opened.stamp.epoch() != opened.epoch:
                raise ClosedError
            self._readers.add(reader)
        self.local.reader = reader
        # What the engine's look-ups need of it.
        self.local.parts = (reader, reader.lock, reader.execute, reader.cursor)
        return reader

    def _drop(self) -> None:
        self.opened = None
        for reader in list(self._readers):
            reader.close(_CLOSE_PATIENCE)
        self._readers.clear()

    def has_readers(self) -> bool:
        """Whether a connection for reading is open."""
        return any(reader.opened is not None for reader in self._readers)

    # Called at a fork by the writer, which holds its own lock then.

    def freeze(self, until: float) -> bool:
        """Close the readers; False, with all as it was, when one of them goes on for too long."""
        self._gated = self._gate.acquire(timeout=max(0.0, until - time.monotonic()))
        if not self._gated:
            return False
        done = [reader.close(max(0.0, until - time.monotonic())) for reader in list(self._readers)]
        return all(done)

    def thaw(self) -> None:
        if self._gated:
            self._gated = False
            self._gate.release()

    def restart(self, *, clean: bool) -> None:
        """In a child; `clean` says that no connection was open at the fork."""
        for reader in list(self._readers):
            if not clean:
                fork.abandon(reader.connection)
        self._spoiled = self._spoiled or not clean
        self.opened = None if self._spoiled else self.opened
        self._gate = threading.RLock()
        self._gated = False
        self.local = threading.local()
        self._readers = WeakSet()
