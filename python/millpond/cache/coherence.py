"""`Coherence`: what others do to a tier, done to memory.

Each process holds values in memory that others may invalidate. A tier that can tell (its `Feed`)
says which generations and keys have changed, and the entries that carry them go. Every entry of a
function with tiers is marked with the hash of its name and of its tags, which the names of the
changes begin with; so nothing has to be remembered here.

A feed that is silent proves nothing. So each cache holds a lease, an alarm in the engine: unless it
is renewed, the entries of functions with tiers are dropped before the next look-up is answered.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, final
from weakref import WeakKeyDictionary, WeakSet

from millpond import _engine
from millpond.cache.writes import Writes
from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Feed, Logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from typing_extensions import Buffer

    from millpond._engine import Function
    from millpond.cache.flow import Flow
    from millpond.cache.stage import Stage
    from millpond.cache.store import Cache

_log = logging.getLogger("millpond.tiers")


@final
class Holdings:
    """What this process holds in memory of functions and caches with tiers.

    Attributes:
        writes: what is on its way there.
    """

    def __init__(self) -> None:
        self.writes = Writes()
        self._lock = threading.Lock()
        self._caches: WeakSet[Cache] = WeakSet()
        self._functions: WeakKeyDictionary[Function, Flow] = WeakKeyDictionary()
        self._leases: dict[object, float] = {}
        self._word: tuple[Buffer, Callable[[], object]] | None = None
        # By the generation of a function or a namespace.
        self._by_name: dict[str, WeakSet[Function]] = {}

    def add(self, function: Function, flow: Flow, cache: Cache) -> None:
        """Note a function, how it loads, and the cache that keeps its entries."""
        with self._lock:
            new = cache not in self._caches
            arm, word = new and bool(self._leases), self._word if new else None
            self._caches.add(cache)
            self._functions[function] = flow
            for name in flow.name.generations:
                self._by_name.setdefault(name, WeakSet()).add(function)
        if arm:
            self._arm((cache,))
        if word is not None:
            cache._watch_word(word[0], 0, word[1])

    def functions(self, name: str | None = None) -> list[Function]:
        """All functions, or those of one generation name."""
        with self._lock:
            return list(self._functions if name is None else self._by_name.get(name, ()))

    def namespaces(self) -> list[str]:
        """The generations of all namespaces."""
        with self._lock:
            return list({flow.name.generations[0] for flow in self._functions.values()})

    def namespace_texts(self) -> list[str]:
        """Their texts, as they begin keys."""
        with self._lock:
            prefixes = [flow.name.prefix for flow in self._functions.values()]
        return list({prefix.split(":", 1)[0] for prefix in prefixes})

    def caches(self) -> list[Cache]:
        """The caches that keep their entries."""
        with self._lock:
            return list(self._caches)

    def drop(self, names: Iterable[str], keys: Iterable[str]) -> None:
        """Forget the entries that carry one of these generations or have one of these keys."""
        names, keys = [*names], [*keys]
        self.writes.told((*names, *keys))
        hashes = [_engine.tag_hash(key) for key in keys]
        for name in names:
            functions = self.functions(name)
            for function in functions:
                function._drop_entries()
            if not functions:
                hashes.append(int(name[:16], 16))
        if hashes:
            for cache in self.caches():
                for tag in hashes:
                    cache._invalidate_hash(tag)

    def renew(self, who: object, seconds: float) -> None:
        """Trust what memory holds for so many seconds, as far as `who` can tell."""
        with self._lock:
            self._leases[who] = time.monotonic() + seconds
        self._arm(self.caches())

    def release(self, who: object) -> None:
        """`who` says nothing any more, and need not be waited for."""
        with self._lock:
            self._leases.pop(who, None)
        self._arm(self.caches())

    def watch(self, word: Buffer | None, changed: Callable[[], object] | None) -> None:
        """Call `changed` before a look-up is answered after `word` has become another number."""
        with self._lock:
            self._word = None if word is None or changed is None else (word, changed)
        for cache in self.caches():
            cache._watch_word(word, 0, changed)

    def _arm(self, caches: Iterable[Cache]) -> None:
        # Under one lock: a thread that knows a longer lease must not overwrite a shorter one.
        with self._lock:
            until = min(self._leases.values(), default=None)
            left = None if until is None else max(0.0, until - time.monotonic())
            for cache in caches:
                cache._set_alarm(left, None if left is None else self.drop_all)

    def drop_all(self) -> None:
        """Forget everything that has tiers."""
        self.writes.told_all()
        with self._lock:
            inherited = self._leases.pop(self, None)
        for function in self.functions():
            function._drop_entries()
        if inherited is not None:
            self._arm(self.caches())

    def forked(self) -> None:
        """In the child: whoever vouched for what memory holds tells the parent alone.

        It is dropped by the first look-up, for a lease of our own has run out: now would be too
        soon, since what is dropped may run code of anybody's.
        """
        self._lock = threading.Lock()
        if self._leases:
            self._leases = {self: time.monotonic()}
            self._arm(self.caches())


@final
class Coherence:
    """The `Listener` of one stage.

    Args:
        stage: whose tier tells.
        holdings: what is to be kept up to date.
        grace: seconds that memory may be trusted after the tier was last heard of.
    """

    def __init__(self, stage: Stage, holdings: Holdings, grace: float) -> None:
        self.stage = stage
        self.holdings = holdings
        self.grace = grace
        self._is_up = False
        self._begun = False
        self._said = False
        self.changes = 0
        self.losses = 0
        self._seq = 0
        self._word: Buffer | None = None
        self._reading = threading.RLock()
        stage.monitor.cap = float(grace)

    @property
    def is_up(self) -> bool:
        """Whether changes are heard at once; while they are not, memory keeps for the grace."""
        return self._is_up

    @is_up.setter
    def is_up(self, yes: bool) -> None:
        self._is_up = yes
        self.stage.changes += 1
        self.stage.monitor.cap = None if yes else float(self.grace)

    def begin(self) -> bool:
        """Hear of changes from now on. May be called again: what has begun goes on.

        Whether that is under way; a feed for which there was no thread is to be begun again.
        """
        tier = self.stage.tier
        try:
            if isinstance(tier, Feed):
                if not self._begun:
                    tier.watch(self, self.grace)
                    self._begun = True
            elif isinstance(tier, Logged):
                self._read(tier, Deadline.after(tier.timeout))
        except Exception as error:  # noqa: BLE001 (a user's own tier may raise anything)
            if not self._said:
                self._said = True
                _log.warning(
                    "%s: invalidations are not heard: %s",
                    self.stage.tier.name,
                    error,
                    exc_info=not isinstance(error, TierError),
                )
        else:
            self._said = False
        return self._begun or not isinstance(tier, Feed)

    def end(self) -> None:
        """Hear of them no more."""
        tier = self.stage.tier
        if isinstance(tier, Feed):
            if self._begun:
                self._begun = False
                tier.unwatch()
        else:
            self.holdings.watch(None, None)
            self._word = None
        self.is_up = False
        self.holdings.release(self)

    def forked(self) -> None:
        """In the child: a feed is the parent's; a word in shared memory is as good as before."""
        self._reading = threading.RLock()
        if self._begun:
            self._begun = self.is_up = False

    def _read(self, tier: Logged, deadline: Deadline) -> None:
        """Drop what the log says has changed. Called by look-ups after the word has changed."""
        with self._reading:
            word = tier.stamp_word(deadline)
            if word is not self._word:
                # The first time, or the file is another than it was.
                first, self._word = self._word is None, word
                self._seq = tier.last_change(deadline)
                self.holdings.watch(word, self._word_changed)
                if not first:
                    self.everything()
            found = tier.changes(self._seq, deadline)
            if found is None:
                self._seq = tier.last_change(deadline)
                self.everything()
            else:
                self._seq = found.seq
                if found.names or found.keys:
                    self.changed(found.names, found.keys)
            self.is_up = True

    def _word_changed(self) -> None:
        tier: Any = self.stage.tier
        try:
            self._read(tier, Deadline.after(tier.timeout))
        except Exception:  # noqa: BLE001 (a user's own tier may raise anything)
            # It will be read again by whoever finds it back; until then nothing is trusted.
            self.is_up = False
            self._word = None
            self.everything()

    def changed(self, names: Sequence[str], keys: Sequence[str]) -> None:
        """Drop what carries them."""
        self.changes += len(names) + len(keys)
        self.stage.changes += 1
        self.holdings.drop(names, keys)

    def everything(self) -> None:
        """Drop all of it."""
        self.losses += 1
        self.stage.changes += 1
        self.holdings.drop_all()

    def alive(self, seconds: float) -> None:
        """Renew the leases."""
        self.holdings.renew(self, seconds)

    def up(self, yes: bool) -> None:
        """Entries that are stored while nothing is heard live no longer than the grace."""
        if yes:  # The alarm comes first: this may be the last that is heard.
            self.holdings.renew(self, self.grace)
        self.is_up = yes

    def stats(self) -> dict[str, Any]:
        """Whether changes are heard at once, how many were, and how long a lost one may matter."""
        return {
            "heard": self.is_up,
            "changes": self.changes,
            "losses": self.losses,
            "bound_seconds": self.grace,
        }
