"""`Wake`: what wakes a thread, also where Ctrl-C comes at any moment.

`threading.Event` and `Condition` take their lock in Python. An interrupt right after that, and
before the `with` that releases it, leaves it taken for good: everybody who sets the event hangs.
Here nothing is taken in Python.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import final


@final
class Wake:
    """One thread waits, anybody wakes it; a wake that comes before the wait ends that at once."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Wake it."""
        if self._words.empty():
            self._words.put(None)

    def is_set(self) -> bool:
        """Whether the next wait ends at once."""
        return not self._words.empty()

    def wait(self, seconds: float | None = None) -> None:
        """Until it is set, or that many seconds are over; it is not set any more then."""
        try:
            self._words.get(timeout=seconds)
        except Empty:
            return
        self.clear()

    def clear(self) -> None:
        """What was set counts no more."""
        try:
            while True:
                self._words.get_nowait()
        except Empty:
            pass
