"""What a process does itself to the stamps in a Redis, and what the pushes about them mean.

A push does not say who changed a stamp. What it names is dropped from memory, with two exceptions,
which are compared with the server's first: a stamp that this process has just made for a load that
is under way, since there was none, and the guard of an entry that it has just written.

That a stamp is known and the present one says nothing of what memory holds: the answer that brought
it may have overtaken the push, and memory may hold what was stored under an earlier one.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, final
from weakref import WeakSet

from millpond.errors import TierError
from millpond.io import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from millpond._engine import GenerationTable
    from millpond.tiers.base import Listener

_MOST_NOTED: Final = 4096


@final
class Own:
    """What this process makes and writes. Thread-safe, and waits for nobody.

    Args:
        table: the stamps that are known.
        listener: told what memory must not keep.
    """

    def __init__(self, table: GenerationTable, listener: Listener) -> None:
        self._table = table
        self._listener = listener
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Begin anew; also in the child of a fork."""
        self._lock = threading.Lock()
        # Names that are being made, and for whom. Weakly, here and below: one whose caller was
        # interrupted before it was taken out must not keep a name from being dropped for good.
        self._making: dict[str, WeakSet[Made]] = {}
        # Stamps that were made where there were none: their pushes are still to come.
        self._made: dict[str, int] = {}
        # Keys that are being written, and the guards that were raised.
        self._writing: dict[str, WeakSet[Wrote]] = {}
        self._written: dict[str, int] = {}

    @contextmanager
    def making(self, names: Sequence[str]) -> Generator[Made]:
        """This process has names made that may have no stamp; what it yields takes the stamps.

        Those that are new and were touched meanwhile must be compared next, by whoever made them,
        in its own time: this waits for no server.
        """
        since = self._table.sequence()
        made = Made(names)
        once = dict.fromkeys(names)
        with self._lock:
            for name in once:
                self._making.setdefault(name, WeakSet()).add(made)
        try:
            yield made
        finally:
            for name, stamp in zip(names, made.stamps, strict=False):
                self._table.learn(name, stamp, since)
            for name, stamp in made.new.items():
                self._note(self._made, name, stamp)
            with self._lock:
                for name in once:
                    self._making[name].discard(made)
                    if not self._making[name]:
                        del self._making[name]
                if made.stamps:
                    # One may have been made by another thread of this process.
                    own = made.pushed & self._made.keys()
                    made.expected = {name: self._made[name] for name in own}
            gone = [*(made.pushed - made.expected.keys())]
            if gone:
                self._listener.changed(gone, [])

    @contextmanager
    def comparing(
        self, expected: Mapping[str, int]
    ) -> Generator[Callable[[Sequence[int | None]], None]]:
        """Drop what carries those names whose stamps are not what was expected.

        What it yields takes the present ones; if there are none, all are dropped. A TierError goes
        no further.
        """
        since = self._table.sequence()
        present: list[int | None] = []
        try:
            yield present.extend
        except TierError:
            present.clear()
        finally:
            gone: list[str] = []
            for name, stamp in zip_longest(expected, present):
                if stamp is not None and stamp == expected[name]:
                    self._table.learn(name, stamp, since)
                else:
                    gone.append(name)
            if gone:
                self._listener.changed(gone, [])

    @contextmanager
    def writing(self, keys: Sequence[str]) -> Generator[Wrote]:
        """This process writes entries; what it yields takes their new guards.

        Those that were touched meanwhile must be judged next, by whoever wrote them, in its own
        time: this waits for no server.
        """
        wrote = Wrote([*dict.fromkeys(keys)])
        with self._lock:
            for key in wrote.keys:
                self._writing.setdefault(key, WeakSet()).add(wrote)
        try:
            yield wrote
        finally:
            for key, guard in wrote.guards.items():
                self._note(self._written, key, guard)
            with self._lock:
                for key in wrote.keys:
                    self._writing[key].discard(wrote)
                    if not self._writing[key]:
                        del self._writing[key]
            if wrote.pushed and not wrote.guards:
                self._listener.changed([], [*wrote.pushed])

    @contextmanager
    def judging(self, wrote: Wrote) -> Generator[Callable[[Sequence[int]], None]]:
        """Drop what was touched while it was written, and has another guard by now.

        What it yields takes the present ones of `wrote.pushed`; if there are none, all are dropped.
        A TierError goes no further.
        """
        present: list[int] = []
        try:
            yield present.extend
        except TierError:
            present.clear()
        finally:
            pairs = zip_longest(wrote.pushed, present)
            gone = [key for key, guard in pairs if guard != wrote.guards[key]]
            if gone:
                self._listener.changed([], gone)

    def _note(self, into: dict[str, int], what: str, stamp: int) -> None:
        with self._lock:
            into.pop(what, None)
            into[what] = stamp
            while len(into) > _MOST_NOTED:
                del into[next(iter(into))]

    # ---- What is pushed

    def names_pushed(self, names: Sequence[str]) -> tuple[list[str], dict[str, int]]:
        """Those whose entries are to be dropped, and the stamps with which to compare others.

        What is being made is left to who makes it.
        """
        gone: list[str] = []
        compared: dict[str, int] = {}
        for name in names:
            self._table.forget(name)
            with self._lock:
                makers = [*self._making.get(name, ())]
                for made in makers:
                    made.pushed.add(name)
                mine = None if makers else self._made.pop(name, None)
            if mine is not None:
                compared[name] = mine
            elif not makers:
                gone.append(name)
        return gone, compared

    def keys_pushed(self, keys: Sequence[str]) -> tuple[list[str], dict[str, int]]:
        """The same for the keys of guards."""
        changed: list[str] = []
        compared: dict[str, int] = {}
        with self._lock:
            for key in keys:
                writing = [*self._writing.get(key, ())]
                for wrote in writing:
                    wrote.pushed[key] = None
                if writing:
                    continue
                # It stays noted: of two writes of a key, both pushes may come after the second.
                mine = self._written.get(key)
                if mine is None:
                    changed.append(key)
                else:
                    compared[key] = mine
        return changed, compared


@final
class Made:
    """Stamps that this process has had made.

    Attributes:
        stamps: all of them.
        new: those that there were none of before.
        pushed: names for which a push came meanwhile: it may have told of the making, or of what
            somebody else has done right after it.
        expected: of those, the new ones. They are to be compared.
    """

    __slots__ = ("__weakref__", "_names", "expected", "new", "pushed", "stamps")

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.stamps: list[int] = []
        self.new: dict[str, int] = {}
        self.pushed: set[str] = set()
        self.expected: dict[str, int] = {}

    def take(self, stamps: list[int], new: Sequence[bool]) -> None:
        """What the server has answered."""
        self.stamps = stamps
        each = zip(self._names, stamps, new, strict=True)
        self.new = {name: stamp for name, stamp, yes in each if yes}


@final
class Wrote:
    """Entries that this process writes.

    Attributes:
        keys: theirs.
        guards: their new guards.
        pushed: those for which a push came meanwhile: it may have told of the writing, or of what
            somebody else has done right after it.
    """

    __slots__ = ("__weakref__", "guards", "keys", "pushed")

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self.guards: dict[str, int] = {}
        self.pushed: dict[str, None] = {}
