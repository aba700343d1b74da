"""`Truth`: the source that cached functions read, and what it proves of a value that they gave.

A value carries its key and the version that the source had when it was computed. An invalidation
begins after the source has a new version; once it was reported done, a call that begins later must
not give an older one, beyond the bound that is stated for changes made by another process.
"""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple


class Bounds(NamedTuple):
    """Seconds for which a process may give what another one has invalidated."""

    up: float  # while it hears of changes at once
    down: float  # while it may not: the Engine's coherence_grace, and what a busy machine adds


class Late(NamedTuple):
    """A value that was given after an invalidation of it was reported done."""

    key: int
    version: int
    wanted: int
    seconds: float  # between the report and the call
    own: bool  # whether this very process reported it


class Truth:
    """Versions of keys, and the reports of invalidations.

    Args:
        keys: how many.
        bounds: of what other processes report. What the same process reports counts at once.
    """

    def __init__(self, keys: int, bounds: Bounds) -> None:
        self.bounds = bounds
        self._versions = [1] * keys
        # By key: (when it was reported, the version before which nothing may be given).
        self._own: list[list[tuple[float, int]]] = [[] for _ in range(keys)]
        self._others: list[list[tuple[float, int]]] = [[] for _ in range(keys)]
        self._lock = threading.Lock()
        # When a process may not have heard of changes: from, until.
        self._deaf: list[list[float]] = []

    @property
    def keys(self) -> int:
        return len(self._versions)

    def compute(self, key: int) -> dict[str, Any]:
        """What the cached functions do."""
        return {"key": key, "version": self._versions[key], "pad": f"{key:08}" * 8}

    def change(self, key: int) -> int:
        """A new version, which must be invalidated next."""
        with self._lock:
            self._versions[key] += 1
            return self._versions[key]

    def reported(self, key: int, version: int, *, own: bool) -> None:
        """The invalidation that followed `change` is done."""
        with self._lock:
            (self._own if own else self._others)[key].append((time.monotonic(), version))

    def deaf(self) -> None:
        """From now on changes by others may not be heard at once."""
        self._deaf.append([time.monotonic(), float("inf")])

    def hearing(self) -> None:
        """They are again, and all that was missed is made up for."""
        self._deaf[-1][1] = time.monotonic()

    def is_wrong(self, key: int, value: Any) -> bool:
        """Whether it is something that the source never had under this key."""
        try:
            return not (
                value["key"] == key
                and value["pad"] == f"{key:08}" * 8
                and 1 <= value["version"] <= self._versions[key]
            )
        except (KeyError, TypeError):
            return True

    def late(self, key: int, version: int, began: float) -> Late | None:
        """How a value that was given to a call that began then breaks the promise."""
        for at, wanted in self._own[key]:
            if at < began and version < wanted:
                return Late(key, version, wanted, began - at, own=True)
        for at, wanted in self._others[key]:
            if version < wanted and began - at > self._bound(at, began):
                return Late(key, version, wanted, began - at, own=False)
        return None

    def _bound(self, done: float, began: float) -> float:
        for start, end in self._deaf:
            if start - self.bounds.up < began and done < end and began < end + self.bounds.up:
                return self.bounds.down
        return self.bounds.up
