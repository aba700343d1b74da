"""`Writes`: values on their way into tiers and memory, and what became of them meanwhile.

A load reserves its place in memory before it begins, so what is told while it runs undoes it. A
value that is set goes to the tiers first and to memory in the end. Were it then simply put there,
what another process has done in between, and told, would be lost: memory would keep a value that no
tier has any more. So whoever sets notes it before, and looks afterwards.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, final
from weakref import WeakSet

from millpond.io import forks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


@final
class Write:
    """Keys that are being set together; `keeps` says whether memory may have the value of one."""

    __slots__ = ("__weakref__", "_lost", "keys", "names")

    def __init__(self, keys: Iterable[str], names: Iterable[str]) -> None:
        self.keys = {*keys}
        self.names = {*names}
        self._lost: set[str] = set()

    def keeps(self, key: str) -> bool:
        """Whether nothing has come between. To be asked after memory has the value."""
        return key not in self._lost

    def lose(self, told: set[str]) -> None:
        """These names and keys were changed by somebody."""
        self._lost |= self.keys if self.names & told else self.keys & told


@final
class Writes:
    """Those of one Engine that are under way. Thread-safe."""

    def __init__(self) -> None:
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Begin anew; also in the child of a fork, where others' writes do not go on."""
        # Re-entrant: the collector may end the steps of a dropped call within any of this.
        self._lock = threading.RLock()
        # Weakly: one whose caller was interrupted at its end is over all the same.
        self._under_way: WeakSet[Write] = WeakSet()

    @contextmanager
    def setting(self, keys: Iterable[str], names: Iterable[str]) -> Generator[Write]:
        """While keys are set, whose entries carry these generations. Two that set the same key at
        once keep nothing: which of them a tier had last is not known."""
        write = Write(keys, names)
        with self._lock:
            for other in self._under_way:
                other.lose(write.keys)
                write.lose(other.keys)
            self._under_way.add(write)
        try:
            yield write
        finally:
            with self._lock:
                self._under_way.discard(write)

    def told(self, names_and_keys: Iterable[str]) -> None:
        """Others have changed these. To be called before memory drops them."""
        if self._under_way:
            changed = {*names_and_keys}
            with self._lock:
                for write in self._under_way:
                    write.lose(changed)

    def told_all(self) -> None:
        """Others may have changed anything."""
        with self._lock:
            for write in self._under_way:
                write.lose(write.keys)
