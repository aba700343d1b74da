"""`SQLiteTier`: the tier of a single machine, in one file that all its processes share.

It needs no server and nothing installed. Reads take a few microseconds and run where they are
asked for, also in an event loop; writes go through one thread a process. Beside the file stands a
small one that is mapped into memory, by which every process sees at once that another one has
invalidated something (`stamp_word`, `changes`).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, final

from millpond import _engine
from millpond.errors import TierError, TierTimeoutError, bad_option
from millpond.io.folder import data_folder
from millpond.io.sqlite.database import Database
from millpond.io.sqlite.errors import READ_ERRORS, TIER, damaged, timeout_error
from millpond.io.sqlite.files import Files
from millpond.io.sqlite.schema import GUARD_LIFE, MICROS, NAME_GRAIN
from millpond.io.sqlite.upkeep import USE_GRAIN, Upkeep
from millpond.io.sqlite.writer import Writer

from .base import Changes, Fetched, Held
from .kept_leases import KeptEnds
from .sqlite_leases import LeaseCalls
from .sqlite_rows import BRIEF, CHANGES, HELD, LAST, RECORD, SCAN, STAMP, USUAL, range_of, sound
from .sqlite_transaction import NAME, Transaction

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from millpond._engine import MappedStamp
    from millpond.io.deadline import Deadline

    from .base import Entry

_T = TypeVar("_T")

FILE = "millpond.sqlite3"
DEFAULT_BYTES = 1 << 30
MIN_BYTES = 1 << 20
_OLDEST_SQLITE = (3, 35, 0)
# How often it is looked whether the file is still the one that is open.
_CHECK_EVERY = 1 * MICROS
_SCAN_BATCH = 500
# More than this was invalidated: the reader had better take everything for old.
_MAX_CHANGES = 4096
# What a single entry may be, as a part of max_bytes.
_LARGEST = 4

# So many stamps are known at most.
_MOST_STAMPS = 10_000

_NOTHING = (None, 0, 0, 0)


@final
class SQLiteTier(LeaseCalls):
    """A Tier in a SQLite file.

    Args:
        data_dir: the folder of the file; without it MILLPOND_DATA, else the user's cache folder.
            It is made with mode 0700; one that others may write to is refused.
        namespace: the Engine's; engines of one namespace share their generations.
        max_bytes: bound of the file, at least 1 MiB. What is over goes first, then what was used
            least recently.
        timeout: seconds that one operation may take.
        max_ttl: seconds that an entry stays at most.
        clock: microseconds since 1970, for tests.

    Example:
        >>> import tempfile
        >>> from millpond.io.deadline import Deadline
        >>> from millpond.tiers.base import Entry
        >>> tier = SQLiteTier(tempfile.mkdtemp())
        >>> tier.store([Entry("app:f:1:00", b"four", ttl=60)], Deadline.after(1))
        [True]
        >>> tier.fetch(["app:f:1:00"], [], Deadline.after(1)).data
        [b'four']
        >>> tier.close()
    """

    name = TIER
    shared = False

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        namespace: str = "millpond",
        max_bytes: int = DEFAULT_BYTES,
        timeout: float = 0.25,
        max_ttl: float = 86_400.0,
        clock: Callable[[], int] | None = None,
    ) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise bad_option("sqlite3", sqlite3.sqlite_version, "SQLite 3.35 or newer")
        if max_bytes < MIN_BYTES:
            raise bad_option("max_bytes", max_bytes, f"at least {MIN_BYTES} bytes")
        self.timeout = timeout
        self.max_ttl = max_ttl
        self._namespace = namespace
        self._max_bytes = max_bytes
        self._clock = clock
        self._ends = KeptEnds()
        files = Files(data_folder(data_dir), FILE)
        self._database = Database(files)
        self._upkeep = Upkeep(max_bytes, files.wal, self.now)
        self._writer = Writer(
            self._database,
            setup=self._upkeep.setup,
            begin=self._begin,
            upkeep=self._upkeep,
            make_room=self._upkeep.make_room,
        )
        # The fast way of a single look-up, and the stamps that are known.
        self.row_look = _engine.RowLook(
            self._database,
            RECORD,
            USUAL,
            BRIEF,
            self._upkeep.note,
            self._look,
            clock,
            USE_GRAIN,
            GUARD_LIFE,
            _CHECK_EVERY,
        )

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._database.files.database

    def now(self) -> int:
        """Microseconds since 1970."""
        clock = self._clock
        return time.time_ns() // 1000 if clock is None else clock()

    # ---- life

    def open(self, deadline: Deadline) -> None:
        """Make or check the folder, the file and its schema."""
        self._database.open(deadline.within(self.timeout))

    def close(self) -> None:
        """Finish the writes that stand in line, and close every connection."""
        self._writer.close()
        self._database.close()

    async def aclose(self) -> None:
        """The same, in an event loop."""
        await asyncio.to_thread(self.close)

    # ---- coherence

    def stamp_word(self, deadline: Deadline) -> MappedStamp:
        """The number that changes whenever something is invalidated, by whatever process.

        Its buffer, and `address`, are the 8 bytes themselves, for a reader that wants no call.
        After the file was replaced it is another: the old one changes once more, then no longer.
        """
        return self._database.open(deadline.within(self.timeout)).stamp

    def changes(self, since: int, deadline: Deadline) -> Changes | None:
        """What was invalidated after `since`, up to `seq`; None when that is no longer known.

        Read the stamp's number first, then this: what is invalidated in between changes the
        number again. Start from `last_change`.
        """
        return self._read(lambda: self._changes(since), deadline)

    def last_change(self, deadline: Deadline) -> int:
        """The `seq` of the newest change, 0 if there never was one."""
        return int(self._read(lambda: self._rows(LAST)[0][0], deadline))

    # ---- reading

    def fetch(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        try:
            return self._fetch_known(keys, names)
        except READ_ERRORS as error:
            self._database.recover(error, deadline.within(self.timeout))
        return self._read(lambda: self._fetch(keys, names), deadline)

    async def afetch(
        self, keys: Sequence[str], names: Sequence[str], deadline: Deadline
    ) -> Fetched:
        try:
            return self._fetch_known(keys, names)
        except READ_ERRORS as error:
            await self._arecover(error, deadline.within(self.timeout))
        return await self._aread(lambda: self._fetch(keys, names), deadline)

    def inspect(self, key: str, deadline: Deadline) -> Held | None:
        return self._read(lambda: self._inspect(key), deadline)

    async def ainspect(self, key: str, deadline: Deadline) -> Held | None:
        return await self._aread(lambda: self._inspect(key), deadline)

    def scan(self, prefix: str, deadline: Deadline) -> Iterator[list[str]]:
        start, end = range_of(prefix)
        while batch := self._read(partial(self._scan, start, end), deadline, whole=True):
            yield batch
            start = batch[-1]

    async def ascan(self, prefix: str, deadline: Deadline) -> AsyncIterator[list[str]]:
        start, end = range_of(prefix)
        while batch := await self._aread(partial(self._scan, start, end), deadline, whole=True):
            yield batch
            start = batch[-1]
            await asyncio.sleep(0)

    # ---- writing

    def stamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        known = self.fetch((), names, deadline).stamps
        stamps = [stamp for stamp in known if stamp is not None]
        if len(stamps) == len(names):
            return stamps
        return self._do(lambda done: done.stamp(self._spaced(names)), deadline)

    async def astamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        known = (await self.afetch((), names, deadline)).stamps
        stamps = [stamp for stamp in known if stamp is not None]
        if len(stamps) == len(names):
            return stamps
        return await self._ado(lambda done: done.stamp(self._spaced(names)), deadline)

    def store(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        return self._do(lambda done: done.store(entries), deadline, self._weight(entries))

    async def astore(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        return await self._ado(lambda done: done.store(entries), deadline, self._weight(entries))

    def write(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        self._do(lambda done: done.write(entries), deadline, self._weight(entries))

    async def awrite(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        await self._ado(lambda done: done.write(entries), deadline, self._weight(entries))

    def delete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        return self._do(lambda done: done.delete(keys), deadline)

    async def adelete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        return await self._ado(lambda done: done.delete(keys), deadline)

    def bump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        return self._do(lambda done: done.bump(self._spaced(names)), deadline)

    async def abump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        return await self._ado(lambda done: done.bump(self._spaced(names)), deadline)

    def incr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return self._do(lambda done: done.incr(key, amount, ttl), deadline)

    async def aincr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return await self._ado(lambda done: done.incr(key, amount, ttl), deadline)

    def erase(self, keys: Sequence[str], deadline: Deadline) -> int:
        count = self._do(lambda done: self._erase(done, keys), deadline)
        with suppress(TierTimeoutError):  # It goes on.
            self._do(_scrubbed, deadline)
        return count

    async def aerase(self, keys: Sequence[str], deadline: Deadline) -> int:
        count = await self._ado(lambda done: self._erase(done, keys), deadline)
        with suppress(TierTimeoutError):
            await self._ado(_scrubbed, deadline)
        return count

    # ---- how

    def _spaced(self, names: Sequence[str]) -> list[str]:
        """Generation names as the file has them, which other programs may share."""
        return [f"{self._namespace}:{name}" for name in names]

    def _erase(self, done: Transaction, keys: Sequence[str]) -> int:
        if keys:
            self._upkeep.scrub()
        return done.erase(keys)

    def _fetch_known(self, keys: Sequence[str], names: Sequence[str]) -> Fetched:
        if len(keys) == 1 and (row := self.row_look.look(keys[0], names)) is not None:
            return Fetched([row[0]], [row[1]], row[2])
        known = self.row_look.current()
        given: list[int | None] = [known.get(name) if known else None for name in names]
        if None in given:
            fetched = self._fetch(keys, names)
            if known is not None:
                if len(known) >= _MOST_STAMPS:
                    known.clear()
                read = zip(names, fetched.stamps, strict=True)
                known.update({name: stamp for name, stamp in read if stamp is not None})
            return fetched
        found = self._fetch(keys, ())
        return Fetched(found.data, found.guards, given)

    def _fetch(self, keys: Sequence[str], names: Sequence[str]) -> Fetched:
        spaced = self._spaced(names)
        reader = self._database.reader()
        execute = reader.execute
        with reader.lock:
            # One transaction spares each statement the locking.
            execute("BEGIN")
            try:
                rows = [execute(RECORD, (key,)).fetchone() for key in keys]
                stamps = [execute(STAMP, (name,)).fetchone() for name in spaced]
            finally:
                if reader.connection.in_transaction:
                    execute("COMMIT")
        now = self.now()
        if self.row_look.is_due(now):
            self._look(now)
        data: list[bytes | None] = []
        guards: list[int] = []
        try:
            for key, row in zip(keys, rows, strict=True):
                entry, guard, expires, used = row or _NOTHING
                data.append(entry if expires > now else None)
                guards.append(guard if guard > now - GUARD_LIFE else 0)
                if row is not None and now - used > USE_GRAIN:
                    self._upkeep.note(key, now)
            given: list[int | None] = []
            for name, row in zip(spaced, stamps, strict=True):
                given.append(None if row is None else row[0])
                if row is not None and now - row[1] > NAME_GRAIN:
                    self._upkeep.note_name(name, now)
        except TypeError as error:
            raise damaged("a row has columns of other types") from error
        return Fetched(data, guards, given)

    def _inspect(self, key: str) -> Held | None:
        now = self.now()
        for data, expires in self._rows(HELD, key, now):
            return Held(data, (expires - now) / MICROS)
        return None

    def _scan(self, start: str, end: str) -> list[str]:
        return [key for (key,) in self._rows(SCAN, start, end, self.now(), _SCAN_BATCH)]

    def _changes(self, since: int) -> Changes | None:
        rows = self._rows(CHANGES, since, _MAX_CHANGES + 1)
        last = rows[-1][3] if rows else self._rows(LAST)[0][0]
        # Numbers have no gaps, so one that is missing was cut off, or is of another file.
        if len(rows) != last - since:
            return None
        spaced = [name.rpartition(":") for _, kind, name, _ in rows if kind == NAME]
        names = [name for space, _, name in spaced if space == self._namespace]
        keys = [name for _, kind, name, _ in rows if kind != NAME]
        return Changes(last, names, keys)

    def _rows(self, query: str, *values: object) -> list[Any]:
        reader = self._database.reader()
        with reader.lock:
            return reader.execute(query, values).fetchall()

    def _read(self, read: Callable[[], _T], deadline: Deadline, *, whole: bool = False) -> _T:
        until = deadline if whole else deadline.within(self.timeout)
        while True:
            try:
                return sound(read)
            except READ_ERRORS as error:
                self._database.recover(error, until)

    async def _aread(
        self, read: Callable[[], _T], deadline: Deadline, *, whole: bool = False
    ) -> _T:
        until = deadline if whole else deadline.within(self.timeout)
        while True:
            try:
                return sound(read)
            except READ_ERRORS as error:
                await self._arecover(error, until)

    async def _arecover(self, error: BaseException, deadline: Deadline) -> None:
        # To open a file, or to move one away, takes longer than a loop may be held up.
        working = asyncio.ensure_future(asyncio.to_thread(self._database.recover, error, deadline))
        done, _ = await asyncio.wait((working,), timeout=deadline.left())
        if not done:
            working.add_done_callback(_forget)
            raise timeout_error("it had to be opened again") from error
        working.result()

    def _do(self, run: Callable[[Transaction], _T], deadline: Deadline, weight: int = 0) -> _T:
        return self._writer.do(run, deadline.within(self.timeout), weight)

    async def _ado(
        self, run: Callable[[Transaction], _T], deadline: Deadline, weight: int = 0
    ) -> _T:
        return await self._writer.ado(run, deadline.within(self.timeout), weight)

    def _begin(self, connection: sqlite3.Connection) -> Transaction:
        return Transaction(connection, self.now(), self.max_ttl)

    def _weight(self, entries: Sequence[Entry]) -> int:
        weight = 0
        for entry in entries:
            size = len(entry.data)
            if size > self._max_bytes // _LARGEST:
                raise TierError(
                    f"an entry of {size} bytes is more than a quarter of max_bytes",
                    tier=TIER,
                    kind="full",
                )
            weight += size
        return weight

    def _look(self, now: int) -> None:
        """Now and then: is the file still the same, is there something to write down?"""
        self._database.check()
        if (opened := self._database.opened) is not None:
            # Whoever died between a commit and telling of it has it told now.
            last = self._rows(LAST)[0][0]
            if last > opened.stamp.announced():
                opened.stamp.advance(last)
        if self._upkeep.is_due(now):
            self._writer.nudge()


def _scrubbed(_: Transaction) -> None:
    """A job that comes after the upkeep of those before it."""


def _forget(working: asyncio.Future[None]) -> None:
    """Take note of what came too late, so that nobody complains that nobody did."""
    if not working.cancelled():
        working.exception()
