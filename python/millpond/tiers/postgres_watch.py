"""What others do to a PostgreSQL, told to whoever holds copies: by LISTEN, or by asking.

By LISTEN it also tells the ends of leases that this process waits for.

What was done while the link was down is asked for when it is up again, from the tables. A stamp is
taken a while before its statement commits, so a question looks back for as long as a statement may
take, and what was told before is not told again.

Through a pooler there is no LISTEN: the tables are asked every so often, and what this process did
itself comes back to it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, final

from millpond import _engine
from millpond.errors import MillpondError, TierError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.jitter import jittered
from millpond.io.postgres.statements import SETTLE
from millpond.io.threads import begin

if TYPE_CHECKING:
    from millpond.io.postgres.listen import Listener as Ear
    from millpond.tiers.base import Listener
    from millpond.tiers.postgres import PostgresTier

_log = logging.getLogger("millpond.tiers")

# Stamps that are known here at most; beyond them the server is asked.
_MOST_NAMES: Final = 100_000
_EVERY: Final = 1.0  # seconds between two beats, at most
_ANSWER: Final = 1.0  # seconds for an answer, at most
_LEAST: Final = 0.25  # and at least
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


@final
class Watch:
    """A thread that tells a listener what others do, until it is closed.

    Args:
        tier: what is watched.
        listener: who is told.
        grace: seconds that memory may be trusted after the server was last heard of.
    """

    def __init__(self, tier: PostgresTier, listener: Listener, grace: float) -> None:
        # The stamps that need not be asked for while the link is up.
        self.table = _engine.GenerationTable(_MOST_NAMES)
        self._tier = tier
        self._listener = listener
        self._grace = grace
        self._every = min(_EVERY, grace / 4)
        # Stamps that are known here are not to be trusted for longer than memory.
        self._answer = min(_ANSWER, max(grace / 2, _LEAST))
        self._stop = threading.Event()
        self._ear: Ear | None = None
        self._since: int | None = None
        # What the last questions were answered, by name: (whether a key, its stamp).
        self._told: dict[tuple[bool, str], int] = {}
        self._up = False
        self._said = ""
        forks.tell(self)
        thread = begin("millpond-feed", self._run)
        if thread is None:
            raise TierError("no thread can be started that listens")
        self._thread = thread

    def close(self) -> None:
        """Tell no more, and wait until nobody is told."""
        self._stop.set()
        ear = self._ear
        if ear is not None:
            ear.close()
        if self._thread is not threading.current_thread():
            self._thread.join(2 * _ANSWER)

    def forked(self) -> None:
        """In the child it is over, and the connection goes on as the parent's."""
        self._stop = threading.Event()
        self._stop.set()
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.abandon()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                if self._tier.pgbouncer:
                    self._ask()
                else:
                    self._hear()
            except Exception as error:  # noqa: BLE001 (it has to go on, whatever happens)
                self._say(error)
            finally:
                self._set_up(False)
            lasted = time.monotonic() - began
            pause = _FIRST_PAUSE if lasted > 1 else min(2 * pause, _LONGEST_PAUSE)
            self._stop.wait(jittered(pause))

    def _hear(self) -> None:
        ear = self._tier.listener(beat=self._every, timeout=self._answer)
        self._ear = ear
        if self._stop.is_set():
            return
        for notice in ear.heard():
            if self._stop.is_set():
                return
            if notice.names or notice.keys:
                for name in notice.names:
                    self.table.forget(name)
                if notice.origin != self._tier.origin:
                    self._listener.changed(notice.names, notice.keys)
                continue
            if notice.ends:
                self._tier.ended(notice.ends)
                continue
            if not self._up:
                self._catch_up()
            # What was done before is told; what is asked for next time begins here.
            self._since = self._settled()
            self._alive(ear.sent)

    def _ask(self) -> None:
        while not self._stop.is_set():
            sent = time.monotonic()
            self._catch_up()
            self._alive(sent)
            self._stop.wait(self._every)

    def _catch_up(self) -> None:
        """Tell what was done since the last time that all was told."""
        deadline = Deadline.after(_ANSWER)
        first = self._since is None
        changes = self._tier.changes(self._since or self._settled(), deadline)
        self._since = changes.until
        found = {(False, name): stamp for name, stamp in changes.names.items()}
        found |= {(True, key): guard for key, guard in changes.keys.items()}
        new = [what for what, stamp in found.items() if self._told.get(what) != stamp]
        self._told = found
        if first:
            return  # What is held was taken after the watch began.
        if not changes.complete:
            self._listener.everything()
        elif new:
            names = [name for is_key, name in new if not is_key]
            self._listener.changed(names, [key for is_key, key in new if is_key])

    def _settled(self) -> int:
        """The latest moment of which all stamps are committed."""
        return self._tier.now() - SETTLE * 10**6

    def _alive(self, sent: float) -> None:
        self._said = ""
        self._set_up(True)
        self._listener.alive(max(0.0, sent + self._grace - time.monotonic()))

    def _set_up(self, yes: bool) -> None:
        if self._up != yes:
            self._up = yes
            if not yes:
                self.table.link_down()
            elif not self._tier.pgbouncer:
                self.table.link_up()
            self._listener.up(yes)
            self._tier.ends_told(yes and not self._tier.pgbouncer)

    def _say(self, error: Exception) -> None:
        """Once for each kind of trouble until it has worked again."""
        kind = error.kind if isinstance(error, TierError) else type(error).__name__
        if kind != self._said and not self._stop.is_set():
            self._said = kind
            _log.warning(
                "%s: invalidations are not heard: %s",
                self._tier.name,
                error,
                exc_info=None if isinstance(error, MillpondError) else error,
            )
