"""`Listening`: whether an Engine hears of what others do to its tiers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from millpond.io import forks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.coherence import Coherence, Holdings


@final
class Listening:
    """What every load looks at before it asks the first tier: who finds it off calls `begin`.

    Args:
        coherence: what listens, one for each tier that tells.
        holdings: what is to be kept up to date.

    Attributes:
        on: whether it has begun. Off after `end`, and in the child of a fork, whose parent's feeds
            tell it nothing.
    """

    __slots__ = ("__weakref__", "_coherence", "_holdings", "_lock", "on")

    def __init__(self, coherence: Sequence[Coherence], holdings: Holdings) -> None:
        self._coherence = tuple(coherence)
        self._holdings = holdings
        self.on = False
        self._lock = threading.RLock()
        forks.tell(self)

    def begin(self) -> None:
        """Hear of what others do, now that there is something to keep up to date."""
        with self._lock:
            if not self.on:
                for coherence in self._coherence:
                    coherence.begin()
                self.on = True

    def end(self) -> None:
        """Hear of it no more, and forget what would have to be kept up to date."""
        with self._lock:
            if self.on:
                self.on = False
                for coherence in self._coherence:
                    coherence.end()
                self._holdings.drop_all()

    def forked(self) -> None:
        self._lock = threading.RLock()
        self.on = False
        self._holdings.forked()
        for coherence in self._coherence:
            coherence.forked()
