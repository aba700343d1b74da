"""`KeptEnds`: how those who wait hear of the ends of leases in a tier that cannot tell them.

Such a tier keeps the end of a lease, if it brought no value, for as long as a lease may last. Who
waits asks now and then, and finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, final

from millpond.io import forks

from .base import Lease

if TYPE_CHECKING:
    from .base import Outcome, Waiting

# Microseconds for which an end is kept.
KEPT: Final = 2_000_000
# Leases that are remembered to have been found taken, at most.
_MOST: Final = 10_000


class Ended(NamedTuple):
    """A lease that is over, and what came of it."""

    fence: int
    outcome: Outcome


@final
class KeptEnds:
    """Which leases were found taken, by key, and who is to be told of their ends.

    Attributes:
        waiting: who waits.
    """

    def __init__(self) -> None:
        self.waiting: Waiting | None = None
        self._found: dict[str, int] = {}
        forks.tell(self)

    def forked(self) -> None:
        """In the child of a fork, nobody waits."""
        self._found = {}

    def awaited(self, key: str) -> int:
        """Of which lease of a key somebody is to be told the end: its fence, or 0."""
        return 0 if self.waiting is None else self._found.get(key, 0)

    def judged(self, key: str, got: Lease | Ended) -> Lease:
        """What whoever asked is to be answered, an end being told."""
        if isinstance(got, Ended):
            self._found.pop(key, None)
            if (waiting := self.waiting) is not None:
                waiting.over(key, got.fence, got.outcome)
            return Lease("taken", got.fence, 0.0)
        if got.state == "taken":
            if len(self._found) >= _MOST:
                self._found.clear()  # They are asked for themselves, one after the other.
            self._found[key] = got.fence
        else:
            self._found.pop(key, None)
        return got
