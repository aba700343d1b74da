"""`Writer`: the one thread of a process that writes, in short transactions of many jobs each.

SQLite has one writer at a time, over all processes. So those of one process stand in line here,
where a group of them costs one lock and one commit, and wait for the others with short naps: its
own way of waiting doubles its pauses up to a tenth of a second.

A job runs inside a transaction, perhaps more than once (when the file turns out to be another).
Who waits for it gives up at the deadline; a job that is late is left out if it has not begun.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millpond.errors import MillpondError, TierError
from millpond.io.deadline import Deadline
from millpond.io.jitter import jittered
from millpond.io.threads import begin

from . import fork
from .errors import (
    READ_ERRORS,
    TIER,
    ClosedError,
    is_busy,
    is_damage,
    is_elsewhere,
    is_full,
    tier_error,
    timeout_error,
)
from .job import Job, Unit, late

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Database
    from .files import Opened

_AnyJob = Job[Any, Any]
_log = logging.getLogger("millpond.tiers")
_Unit = TypeVar("_Unit", bound=Unit)
_T = TypeVar("_T")

# What may stand in line, and what goes into one transaction.
MAX_JOBS = 4096
MAX_WAITING_BYTES = 128 << 20
GROUP_JOBS = 256
GROUP_BYTES = 4 << 20
# How often a group is tried again because the file had become another one, or was full.
_TRIES = 3
_NAP = (0.0001, 0.002)
# How long the upkeep waits for a file that has to be opened.
_UPKEEP_SECONDS = 0.25


class Writer(Generic[_Unit]):
    """Takes jobs; its thread starts with the first one and is a daemon.

    Args:
        database: what it writes to.
        setup: called with a new connection, to set what it has to be like.
        begin: makes a transaction's face for the jobs, after BEGIN.
        upkeep: called after each group, with the connection and whether the line is empty; it
            returns whether it wants to be called again soon.
        make_room: called when the file is full; whether it is worth another try.
    """

    def __init__(
        self,
        database: Database,
        *,
        setup: Callable[[sqlite3.Connection], None],
        begin: Callable[[sqlite3.Connection], _Unit],
        upkeep: Callable[[sqlite3.Connection, bool], bool],
        make_room: Callable[[sqlite3.Connection], bool],
    ) -> None:
        self._database = database
        self._setup = setup
        self._begin = begin
        self._upkeep = upkeep
        self._make_room = make_room
        self._lock = threading.Lock()
        self._frozen = False
        self._readers_frozen = False
        self._reset()
        fork.take_care_of(self)

    def _reset(self) -> None:
        self._line: queue.SimpleQueue[_AnyJob | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: Opened | None = None

    def do(self, run: Callable[[_Unit], _T], deadline: Deadline, weight: int = 0) -> _T:
        """Run it in a transaction and wait for what it returns.

        Raises:
            TierError: it was not done; after a timeout it may still be.
        """
        job = Job(run, deadline, weight)
        job.for_thread()
        self._put(job)
        return job.wait()

    async def ado(self, run: Callable[[_Unit], _T], deadline: Deadline, weight: int = 0) -> _T:
        """The same, in an event loop."""
        job = Job(run, deadline, weight)
        job.for_loop()
        self._put(job)
        return await job.await_it()

    def nudge(self) -> None:
        """Have the upkeep done soon."""
        if self._line.empty():
            self._line.put(None)
            self._start()

    def close(self) -> None:
        """Finish what stands in line, end the thread and close the connection."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._line.put(_LAST)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._lock:
            self._disconnect()

    def _put(self, job: _AnyJob) -> None:
        if self._line.qsize() >= MAX_JOBS or self._waiting_bytes > MAX_WAITING_BYTES:
            raise TierError("the SQLite tier is too far behind with its writes", tier=TIER)
        self._waiting_bytes += job.weight
        self._line.put(job)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = begin("millpond-sqlite", self._serve, self._line)
                if self._thread is None:
                    raise TierError("no thread can be started that writes", tier=TIER)

    def _serve(self, line: queue.SimpleQueue[_AnyJob | None]) -> None:
        more = False
        while True:
            first = self._next(line, more)
            jobs: list[_AnyJob] = []
            weight = 0
            while first is not None and first is not _LAST:
                jobs.append(first)
                weight += first.weight
                if len(jobs) >= GROUP_JOBS or weight >= GROUP_BYTES:
                    first = None
                    break
                try:
                    first = line.get_nowait()
                except queue.Empty:
                    first = None
                    break
            with self._lock:
                self._waiting_bytes -= weight
                if jobs:
                    self._commit(jobs)
                # A nudge may be the first that this thread hears; what failed is not tried again.
                more = (not jobs or self._connection is not None) and self._keep_up(line.empty())
            if first is _LAST:
                return

    @staticmethod
    def _next(line: queue.SimpleQueue[_AnyJob | None], more: bool) -> _AnyJob | None:
        try:
            return line.get(block=not more)
        except queue.Empty:
            return None

    def _commit(self, jobs: list[_AnyJob]) -> None:
        """Do the jobs of a group, or tell each why not."""
        tries = _TRIES
        while waiting := self._in_time(jobs):
            jobs = waiting
            try:
                outcomes = self._attempt(waiting)
            except Exception as error:  # noqa: BLE001 (whatever it is, somebody waits for it)
                # To be locked out is no failure before the jobs are late.
                tries -= not is_busy(error)
                if not self._may_try_again(error, waiting, tries):
                    self._fail(waiting, error)
                    return
            else:
                for job, (result, refusal) in zip(waiting, outcomes, strict=True):
                    if refusal is None:
                        job.land(result)
                    else:
                        job.fail(refusal)
                return

    def _fail(self, waiting: list[_AnyJob], failure: Exception) -> None:
        if len(waiting) > 1 and (is_full(failure) or not isinstance(failure, _FORESEEN)):
            # One of them may be too big, or wrong; the others are not to suffer for it.
            for job in waiting:
                self._commit([job])
            return
        for job in waiting:
            job.fail(_copy_of(failure) if isinstance(failure, _FORESEEN) else failure)

    def _in_time(self, jobs: list[_AnyJob]) -> list[_AnyJob]:
        waiting: list[_AnyJob] = []
        for job in jobs:
            if job.deadline.left():
                waiting.append(job)
            else:
                job.fail(late())
        return waiting

    def _attempt(self, jobs: list[_AnyJob]) -> list[tuple[Any, BaseException | None]]:
        connection, opened = self._connected(jobs[0].deadline)
        self._lock_file(connection, jobs)
        outcomes: list[tuple[Any, BaseException | None]] = []
        try:
            transaction = self._begin(connection)
            for job in jobs:
                try:
                    outcomes.append((job.run(transaction), None))
                except MillpondError as refusal:
                    # Refused before anything was changed; the others go on.
                    outcomes.append((None, refusal))
            last = transaction.finish()
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if not self._database.is_current(opened):
            # It went into a file that nobody opens any more.
            raise ClosedError
        if last:
            opened.stamp.advance(last)
        return outcomes

    def _lock_file(self, connection: sqlite3.Connection, jobs: list[_AnyJob]) -> None:
        latest = max(job.deadline.at for job in jobs)
        nap = _NAP[0]
        while time.monotonic() < latest:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            time.sleep(jittered(nap))
            nap = min(2 * nap, _NAP[1])
        raise timeout_error("other processes wrote all the time")

    def _connected(self, deadline: Deadline) -> tuple[sqlite3.Connection, Opened]:
        if self._connection is not None and self._opened is not None:
            if self._opened is self._database.opened and self._database.is_current(self._opened):
                return self._connection, self._opened
            self._disconnect()
        self._database.check()
        self._database.open(deadline)
        opened, connection = self._database.connect()
        self._setup(connection)
        self._opened, self._connection = opened, connection
        return connection, opened

    def _disconnect(self) -> None:
        connection, self._connection, self._opened = self._connection, None, None
        if connection is not None:
            connection.close()

    def _may_try_again(self, error: Exception, jobs: list[_AnyJob], tries: int) -> bool:
        if not tries:
            return False
        if is_full(error) and self._connection is not None:
            try:
                return self._make_room(self._connection)
            except sqlite3.Error:
                return False
        if not (is_elsewhere(error) or is_damage(error) or is_busy(error)):
            return False
        if not is_busy(error):
            self._disconnect()
        try:
            self._database.recover(error, max((job.deadline for job in jobs), key=lambda d: d.at))
        except TierError:
            return False
        return True

    def _keep_up(self, idle: bool) -> bool:
        try:
            connection, _ = self._connected(Deadline.after(_UPKEEP_SECONDS))
            try:
                return self._upkeep(connection, idle)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 (this thread has to go on, whatever happens)
            # What was to be tidied up waits for the next time; damage is for whoever reads.
            if not isinstance(error, ClosedError) and not is_busy(error):
                _log.debug("the upkeep of the SQLite tier failed", exc_info=True)
            return False

    # fork.py calls these.

    def freeze(self, until: float) -> None:
        self._frozen = self._lock.acquire(timeout=max(0.0, until - time.monotonic()))
        if self._frozen:
            self._disconnect()
        self._readers_frozen = self._database.freeze(until)

    def thaw(self) -> None:
        self._database.thaw()
        if self._frozen:
            self._frozen = False
            self._lock.release()

    def forked(self) -> None:
        if self._connection is not None:
            fork.abandon(self._connection)
        # Where Python's hooks were passed by before the fork, nothing may have been open anyway.
        self._database.restart(
            clean=(self._frozen or self._connection is None)
            and (self._readers_frozen or not self._database.has_readers())
        )
        self._frozen = self._readers_frozen = False
        self._lock = threading.Lock()
        self._reset()


def _copy_of(error: BaseException) -> BaseException:
    """An error of its own for each who waits: a shared one's traceback would grow with each."""
    told = tier_error(error)
    copy = type(told)(*told.args, tier=told.tier, kind=told.kind)
    copy.__cause__ = error
    return copy


# What the file, the disk and the other processes may do.
_FORESEEN = (*READ_ERRORS, OSError, TierError)
_LAST: _AnyJob = Job(lambda _: None, Deadline(0.0), 0)
