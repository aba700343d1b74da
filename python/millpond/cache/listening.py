"""`Listening`: whether an Engine hears of what others do to its tiers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from millpond.io import forks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.coherence import Coherence, Holdings
    from millpond.cache.prober import Prober


@final
class Listening:
    """What every load looks at before it asks the first tier: who finds it off calls `begin`.

    Args:
        coherence: what listens, one for each tier that tells.
        holdings: what is to be kept up to date.
        prober: asks the tiers that are out already.

    Attributes:
        writes: values that are on their way into tiers and memory.
        on: whether it has begun. Off after `end`, in the child of a fork, whose parent's feeds
            tell it nothing, and where the process could have no thread for a part of it.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_coherence",
        "_holdings",
        "_lock",
        "_prober",
        "on",
        "writes",
    )

    def __init__(self, coherence: Sequence[Coherence], holdings: Holdings, prober: Prober) -> None:
        self._coherence = tuple(coherence)
        self._holdings = holdings
        self._prober = prober
        self.writes = holdings.writes
        self.on = False
        self._begun = False
        self._lock = threading.RLock()
        forks.tell(self)

    def begin(self) -> None:
        """Hear of what others do, now that there is something to keep up to date."""
        with self._lock:
            if not self.on:
                self._begun = True
                begun = [coherence.begin() for coherence in self._coherence]
                self.on = self._prober.resume() and all(begun)

    def probe(self) -> None:
        """A tier is out. Where nobody can be had to ask whether it is back, the next call sees."""
        if not self._prober.start():
            self.on = False

    async def abegin(self) -> None:
        """The same for an event loop, which a file that is opened, or made, would hold up."""
        import asyncio

        try:
            await asyncio.to_thread(self.begin)
        except RuntimeError:  # There is no thread to be had.
            self.begin()

    def end(self) -> None:
        """Hear of it no more, and forget what would have to be kept up to date."""
        with self._lock:
            if self._begun:
                self.on = self._begun = False
                for coherence in self._coherence:
                    coherence.end()
                self._holdings.drop_all()

    def forked(self) -> None:
        self._lock = threading.RLock()
        self.on = False
        self._holdings.forked()
        for coherence in self._coherence:
            coherence.forked()
