"""`Deadline`: the moment by which something must be over, however many steps it takes."""

from __future__ import annotations

import time
from typing import final


@final
class Deadline:
    """A moment on the monotonic clock, in seconds.

    Example:
        >>> deadline = Deadline.after(0.05)
        >>> 0 < deadline.left() <= 0.05
        True
        >>> deadline.within(10).at == deadline.at
        True
    """

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that are left; never below zero."""
        return max(0.0, self.at - time.monotonic())

    def within(self, seconds: float) -> Deadline:
        """The earlier of this one and the one so many seconds from now."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def __repr__(self) -> str:
        return f"<Deadline in {self.left() * 1e3:.1f} ms>"
