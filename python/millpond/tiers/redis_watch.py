"""What others do to the stamps in a Redis: who is told, and which stamps need not be asked for.

The feeds tell which stamps were touched. A touched generation is forgotten at once, so whoever
reads asks the server for it, and what carries it in memory goes: unless this process may have
touched it itself (`redis_own.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol, final

from millpond import _engine
from millpond.errors import TierError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.jitter import jittered
from millpond.io.redis_feed import Feed
from millpond.io.threads import begin
from millpond.tiers.redis_own import Own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.io.redis import Server
    from millpond.tiers.base import Listener

_log = logging.getLogger("millpond.tiers")

# Stamps that are known here at most; beyond them the server is asked.
_MOST_NAMES: Final = 100_000
_SECONDS: Final = 0.25  # that a comparison may take
_ASKING: Final = 1.0  # seconds for who the servers are
_EVERY: Final = 1.0  # seconds between two questions to a server, at most
_LEAST: Final = 0.05  # and at least
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_HEX: Final = frozenset("0123456789abcdef")


class Published(Protocol):
    """Who is told what is published."""

    def heard(self, text: bytes) -> None: ...

    def up(self, yes: bool) -> None:
        """Whether it is told, from now on."""
        ...


@final
class Watch:
    """The feeds of a tier's servers, and what they say.

    Args:
        servers: those that tell, now; asked again every second, since a Cluster changes.
        prefix: what the keys of stamps begin with.
        listener: who is told.
        grace: seconds that memory may be trusted after every server was last heard of.
        stamps: asks for the stamps of generation names.
        guards: asks for the guards of keys.
        log: where each server keeps what was invalidated last; b"" for none.
        channel: on which the first server is asked to tell of leases.
        published: is told what is published there, and whether that is heard.
    """

    def __init__(
        self,
        servers: Callable[[Deadline], Sequence[Server]],
        prefix: bytes,
        listener: Listener,
        grace: float,
        *,
        stamps: Callable[[list[str], Deadline], Sequence[int | None]],
        guards: Callable[[list[str], Deadline], Sequence[int]],
        channel: bytes,
        log: bytes = b"",
        published: Published,
    ) -> None:
        self.table = _engine.GenerationTable(_MOST_NAMES)
        self._prefix = prefix
        self._listener = listener
        self._grace = grace
        # An answer that is missing is known after twice that: stamps that are known here are not
        # trusted for longer than memory.
        self._every = min(_EVERY, max(grace / 4, _LEAST))
        self._stamps = stamps
        self._guards = guards
        self.published = published
        self._lock = threading.RLock()
        self.own = Own(self.table, listener)
        self._channel = channel
        self._log = log
        self._servers = servers
        self._stop = threading.Event()
        # Counts the times that feeds were begun; those of earlier ones say nothing any more.
        self.turn = 0
        self._begun: set[int] = set()
        self._heard: dict[int, float | None] = {}
        self._feeds: dict[Server, Feed] = {}
        forks.tell(self)
        # Who the servers are is asked of a Cluster, which may not answer. So nobody waits for it.
        thread = begin("millpond-watch", self._begin)
        if thread is None:
            raise TierError("no thread can be started that listens")
        self._thread = thread

    def close(self) -> None:
        """Hear no more."""
        with self._lock:
            self._stop.set()
            feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            feed.close()
        self._thread.join(_ASKING + 1)

    def forked(self) -> None:
        """In the child it is closed; its feeds see to themselves."""
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._stop.set()
        self._feeds = {}

    def _begin(self) -> None:
        """Find the servers, however often that takes, and listen to them."""
        pause, said = _FIRST_PAUSE, ""
        while not self._stop.is_set():
            try:
                self._listen(self._servers(Deadline.after(_ASKING)))
            except Exception as error:  # noqa: BLE001 (whatever it is, it is tried again)
                kind = error.kind if isinstance(error, TierError) else type(error).__name__
                if kind != said and not self._stop.is_set():
                    said = kind
                    foreign = None if isinstance(error, TierError) else error
                    tier = getattr(error, "tier", None) or "redis"
                    _log.warning(
                        "%s: invalidations are not heard: %s", tier, error, exc_info=foreign
                    )
                self._stop.wait(jittered(pause))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return

    def _listen(self, servers: Sequence[Server]) -> None:
        """Begin a feed for each server.

        Raises:
            TierError: there is no thread for one of them; then there is none.
        """
        begun: dict[Server, Feed] = {}
        try:
            with self._lock:
                if self._stop.is_set():
                    return
                self.turn += 1
                self._heard = dict.fromkeys(range(len(servers)))
                for number, server in enumerate(servers):
                    begun[server] = Feed(
                        server,
                        self._prefix,
                        _Ear(self, number, self.turn),
                        # What is published in a Cluster is told by each of its servers.
                        channel=b"" if number else self._channel,
                        log=self._log,
                        every=self._every,
                    )
                self._feeds = begun
        except BaseException:
            for feed in begun.values():
                feed.close()
            raise

    def _follow(self) -> None:
        """Listen to other servers where a Cluster has other primaries than it had."""
        try:
            servers = self._servers(Deadline.after(_ASKING))
        except Exception:  # noqa: BLE001 (it is asked again in a second)
            return
        with self._lock:
            feeds = self._feeds
            if self._stop.is_set() or not feeds or feeds.keys() == set(servers):
                return
            self._feeds = {}  # Another feed may have found out too.
            self.turn += 1
            self.table.link_down()
            self._listener.up(False)
            self.published.up(False)
        for feed in feeds.values():
            feed.close()
        try:
            self._listen(servers)
        except TierError:
            self._begin()

    # ---- What the feeds say

    # Feeds of several servers speak at once, and the last word of one may come after the servers
    # were found to be others. So what each says changes all that it changes under the lock.

    def begun(self, turn: int, number: int, missed: Sequence[bytes] | None) -> None:
        """A server tells from now on; what it has not told are these keys, or nobody knows."""
        with self._lock:
            if turn != self.turn:
                return
            again = number in self._begun
            self._begun.add(number)
        if again and missed is None:
            self._listener.everything()
        elif again and missed:
            self.touched(missed)
        with self._lock:
            if turn == self.turn:
                self._heard[number] = time.monotonic()
                if all(self._heard.values()):
                    self.table.link_up()
                    self._listener.up(True)

    def ended(self, turn: int, number: int) -> None:
        """It tells no more."""
        with self._lock:
            if turn == self.turn and self._heard[number] is not None:
                self._heard[number] = None
                self.table.link_down()
                self._listener.up(False)

    def carried(self, turn: int, number: int, sent: float) -> None:
        """All that was done before then has been told."""
        with self._lock:
            if turn != self.turn:
                return
            self._heard[number] = sent
            heard = [at for at in self._heard.values() if at is not None]
            if len(heard) == len(self._heard):
                self._listener.alive(max(0.0, min(heard) + self._grace - time.monotonic()))
        self._follow()

    def touched(self, keys: Sequence[bytes] | None) -> None:
        """These stamps are others now; None: all of them."""
        if keys is None:
            self.table.forget_all()
            self._listener.everything()
            return
        names, guarded = self._sorted(keys)
        gone, compared = self.own.names_pushed(names)
        if compared:
            with self.own.comparing(compared) as present:  # On the feed's thread, which may wait.
                present(self._stamps([*compared], Deadline.after(_SECONDS)))
        changed, own = self.own.keys_pushed(guarded)
        if own:
            changed += self._changed_guards(own)
        if gone or changed:
            self._listener.changed(gone, changed)

    def _sorted(self, keys: Sequence[bytes]) -> tuple[list[str], list[str]]:
        """Generation names and the keys of guards."""
        names: list[str] = []
        guarded: list[str] = []
        start = len(self._prefix)
        for key in keys:
            rest = key[start:].decode("utf-8", "replace")
            if rest.startswith("{") and rest.endswith("}"):
                guarded.append(rest[1:-1])
            elif len(rest) == 32 and _HEX.issuperset(rest):  # else another program's
                names.append(rest)
        return names, guarded

    def _changed_guards(self, own: dict[str, int]) -> list[str]:
        """Those keys whose guards somebody else has raised since."""
        keys = list(own)
        try:
            present = self._guards(keys, Deadline.after(_SECONDS))
        except TierError:
            return keys
        return [key for key, guard in zip(keys, present, strict=True) if guard != own[key]]


@final
class _Ear:
    """What one feed talks to. What a feed says after its turn is over is not for now."""

    def __init__(self, watch: Watch, number: int, turn: int) -> None:
        self._watch = watch
        self._number = number
        self._turn = turn

    def begun(self, subscribed: bool, missed: Sequence[bytes] | None) -> None:
        self._watch.begun(self._turn, self._number, missed)
        if subscribed and self._counts():
            self._watch.published.up(True)

    def published(self, text: bytes) -> None:
        self._watch.published.heard(text)

    def touched(self, keys: Sequence[bytes] | None) -> None:
        self._watch.touched(keys)

    def carried(self, sent: float) -> None:
        self._watch.carried(self._turn, self._number, sent)

    def ended(self) -> None:
        if self._counts():
            self._watch.ended(self._turn, self._number)
            if self._number == 0:
                self._watch.published.up(False)

    def _counts(self) -> bool:
        return self._turn == self._watch.turn
