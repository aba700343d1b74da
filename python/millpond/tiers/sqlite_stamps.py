"""The stamps in a SQLite file that this process knows, for as long as its mapped number stands.

Whoever invalidates something changes the number after the commit and before saying that it is done.
So while the number is what it was before the stamps were read, they are the present ones.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.io.sqlite.database import Database
    from millpond.tiers.base import Fetched

# A generation that nobody asks for is forgotten by the file some day, so it is asked for at times.
_SECONDS: Final = 10.0
_MOST: Final = 10_000


@final
class KnownStamps:
    """Stamps by name, and the number under which they were read. Safe in threads."""

    __slots__ = ("_database", "_now")

    def __init__(self, database: Database) -> None:
        self._database = database
        # What belongs together is swapped together: (file, number, until, stamps).
        self._now: tuple[object, int, float, dict[str, int]] = (None, 0, 0.0, {})

    def current(self) -> dict[str, int]:
        """The stamps that are known; what is read from now on may be added by `learn`."""
        opened = self._database.opened
        if opened is None:
            return {}
        number = opened.stamp.value()
        file, seen, until, stamps = self._now
        if file is opened and seen == number and monotonic() < until:
            return stamps
        fresh: dict[str, int] = {}
        self._now = (opened, number, monotonic() + _SECONDS, fresh)
        return fresh

    @staticmethod
    def learn(stamps: dict[str, int], names: Sequence[str], fetched: Fetched) -> None:
        """Add what was read after `current` gave `stamps`."""
        if len(stamps) >= _MOST:
            stamps.clear()
        read = zip(names, fetched.stamps, strict=True)
        stamps.update({name: stamp for name, stamp in read if stamp is not None})
