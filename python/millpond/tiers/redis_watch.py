"""What others do to the stamps in a Redis: who is told, and which stamps need not be asked for.

The feeds tell which stamps were touched. A touched generation is forgotten at once, so whoever
reads asks the server for it. Whether what is held in memory goes too depends on why it was touched:
this process may have made it itself a moment ago, for a load that is under way. So a stamp that was
known here is compared with the server's before anything is dropped; an unknown one was never relied
on, and what carries it goes.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, Protocol, final

from millpond import _engine
from millpond.errors import TierError
from millpond.io import forks
from millpond.io.deadline import Deadline
from millpond.io.jitter import jittered
from millpond.io.redis_feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from millpond.io.redis import Server
    from millpond.tiers.base import Listener

_log = logging.getLogger("millpond.tiers")

# Stamps that are known here at most; beyond them the server is asked.
_MOST_NAMES: Final = 100_000
_MOST_WRITTEN: Final = 4096
_SECONDS: Final = 0.25  # that a comparison may take
_ASKING: Final = 1.0  # seconds for who the servers are
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
        self._stamps = stamps
        self._guards = guards
        self.published = published
        self._lock = threading.Lock()
        # Names that are being made by this process: True once a push for one has come.
        self._making: dict[str, bool] = {}
        self._written: dict[str, int] = {}
        # Stamps that this process made and that are not known, as when the feed was just beginning:
        # their pushes are still to come.
        self._made: dict[str, int] = {}
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
        self._thread = threading.Thread(target=self._begin, name="millpond-watch", daemon=True)
        self._thread.start()

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
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stop.set()
        self._feeds = {}

    def _begin(self) -> None:
        """Find the servers, however often that takes, and listen to them."""
        pause, said = _FIRST_PAUSE, ""
        while not self._stop.is_set():
            try:
                servers = self._servers(Deadline.after(_ASKING))
            except TierError as error:
                if error.kind != said and not self._stop.is_set():
                    said = error.kind
                    _log.warning("%s: invalidations are not heard: %s", error.tier, error)
                self._stop.wait(jittered(pause))
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._listen(servers)
                return

    def _listen(self, servers: Sequence[Server]) -> None:
        """Begin a feed for each server."""
        with self._lock:
            if self._stop.is_set():
                return
            self.turn += 1
            self._heard = dict.fromkeys(range(len(servers)))
            self._feeds = {
                # What is published in a Cluster is told by each of its servers.
                server: Feed(
                    server,
                    self._prefix,
                    _Ear(self, number, self.turn),
                    channel=b"" if number else self._channel,
                    log=self._log,
                )
                for number, server in enumerate(servers)
            }

    def _follow(self) -> None:
        """Listen to other servers where a Cluster has other primaries than it had."""
        try:
            servers = self._servers(Deadline.after(_ASKING))
        except TierError:
            return
        with self._lock:
            feeds = self._feeds
            if self._stop.is_set() or not feeds or feeds.keys() == set(servers):
                return
            self._feeds = {}  # Another feed may have found out too.
        self.table.link_down()
        self._listener.up(False)
        for feed in feeds.values():
            feed.close()
        self._listen(servers)

    # ---- What this process does itself

    @contextmanager
    def making(self, names: Sequence[str]) -> Generator[Made]:
        """This process has names made that have no stamp; what it yields takes the stamps.

        Those that were touched meanwhile must be compared next, by whoever made them, in its own
        time: this waits for no server.
        """
        since = self.table.sequence()
        made = Made()
        with self._lock:
            for name in names:
                self._making[name] = False
        try:
            yield made
        finally:
            with self._lock:
                touched = [name for name in names if self._making.pop(name, False)]
            made.expected = dict(zip(names, made.stamps, strict=False))
            for name, stamp in made.expected.items():
                if not self.table.learn(name, stamp, since):
                    self._note(self._made, name, stamp)
            if made.stamps:
                made.touched = touched
            elif touched:
                self._listener.changed(touched, [])

    @contextmanager
    def comparing(
        self, names: list[str], expected: Mapping[str, int]
    ) -> Generator[Callable[[Sequence[int | None]], None]]:
        """Drop what carries those of the names whose stamps are not what was expected.

        What it yields takes the present ones; if there are none, all are dropped. A TierError goes
        no further.
        """
        since = self.table.sequence()
        present: list[int | None] = []
        try:
            yield present.extend
        except TierError:
            present.clear()
        finally:
            gone: list[str] = []
            for name, stamp in zip_longest(names, present):
                if stamp is not None and stamp == expected[name]:
                    self.table.learn(name, stamp, since)
                else:
                    gone.append(name)
            if gone:
                self._listener.changed(gone, [])

    def wrote(self, key: str, guard: int) -> None:
        """This process has raised the guard of a key, and holds the new value."""
        self._note(self._written, key, guard)

    def _note(self, into: dict[str, int], what: str, stamp: int) -> None:
        with self._lock:
            into.pop(what, None)
            into[what] = stamp
            while len(into) > _MOST_WRITTEN:
                del into[next(iter(into))]

    # ---- What the feeds say

    def begun(self, number: int, missed: Sequence[bytes] | None) -> None:
        """A server tells from now on; what it has not told are these keys, or nobody knows."""
        with self._lock:
            again = number in self._begun
            self._begun.add(number)
            self._heard[number] = time.monotonic()
            complete = all(self._heard.values())
        if again and missed is None:
            self._listener.everything()
        elif again and missed:
            self.touched(missed)
        if complete:
            self.table.link_up()
            self._listener.up(True)

    def ended(self, number: int) -> None:
        """It tells no more."""
        with self._lock:
            was_up = self._heard[number] is not None
            self._heard[number] = None
        if was_up:
            self.table.link_down()
            self._listener.up(False)

    def carried(self, number: int, sent: float) -> None:
        """All that was done before then has been told."""
        with self._lock:
            self._heard[number] = sent
            heard = [at for at in self._heard.values() if at is not None]
            complete = len(heard) == len(self._heard)
        if complete:
            self._listener.alive(max(0.0, min(heard) + self._grace - time.monotonic()))
        self._follow()

    def touched(self, keys: Sequence[bytes] | None) -> None:
        """These stamps are others now; None: all of them."""
        if keys is None:
            self.table.forget_all()
            self._listener.everything()
            return
        names, guarded = self._sorted(keys)
        gone: list[str] = []
        compared: dict[str, int] = {}
        for name in names:
            known = self.table.known([name])[0]
            held = self.table.forget(name)
            with self._lock:
                if name in self._making:
                    self._making[name] = True
                    continue
                mine = self._made.pop(name, None)
            expected = known if held and known is not None else mine
            if expected is not None:
                compared[name] = expected
            else:
                gone.append(name)
        if compared:
            self._compare(list(compared), compared)
        with self._lock:
            own = {key: self._written.pop(key) for key in guarded if key in self._written}
        changed = [key for key in guarded if key not in own]
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

    def _compare(self, names: list[str], expected: dict[str, int]) -> None:
        """On the feed's thread, which may wait."""
        with self.comparing(names, expected) as present:
            present(self._stamps(names, Deadline.after(_SECONDS)))

    def _changed_guards(self, own: dict[str, int]) -> list[str]:
        """Those keys whose guards somebody else has raised since."""
        keys = list(own)
        try:
            present = self._guards(keys, Deadline.after(_SECONDS))
        except TierError:
            return keys
        return [key for key, guard in zip(keys, present, strict=True) if guard != own[key]]


@final
class Made:
    """Stamps that this process has had made, and the names for which a push came meanwhile: it may
    have told of the making, or of what somebody else has done right after it.
    """

    __slots__ = ("expected", "stamps", "touched")

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.expected: dict[str, int] = {}
        self.touched: list[str] = []


@final
class _Ear:
    """What one feed talks to. What a feed says after its turn is over is not for now."""

    def __init__(self, watch: Watch, number: int, turn: int) -> None:
        self._watch = watch
        self._number = number
        self._turn = turn

    def begun(self, subscribed: bool, missed: Sequence[bytes] | None) -> None:
        if self._counts():
            self._watch.begun(self._number, missed)
            if subscribed:
                self._watch.published.up(True)

    def published(self, text: bytes) -> None:
        self._watch.published.heard(text)

    def touched(self, keys: Sequence[bytes] | None) -> None:
        self._watch.touched(keys)

    def carried(self, sent: float) -> None:
        if self._counts():
            self._watch.carried(self._number, sent)

    def ended(self) -> None:
        if self._counts():
            self._watch.ended(self._number)
            if self._number == 0:
                self._watch.published.up(False)

    def _counts(self) -> bool:
        return self._turn == self._watch.turn
