"""`KeptEnds`: how those who wait hear of the ends of leases in a tier that may not tell them.

Such a tier keeps the end of a lease, if it brought no value, for as long as a lease may last. Who
waits asks now and then, and finds it. It may be told besides, which comes sooner.
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
        told: whether ends are told besides.
    """

    def __init__(self) -> None:
        self.waiting: Waiting | None = None
        self.told = False
        self._found: dict[str, int] = {}
        forks.tell(self)

    def forked(self) -> None:
        """In the child of a fork, nobody waits, and nothing is heard."""
        self.told = False
        self._found = {}

    def up(self, yes: bool) -> None:
        """Whether ends are told, from now on."""
        self.told = yes
        if (waiting := self.waiting) is not None:
            waiting.up(yes)

    def over(self, key: str, fence: int, outcome: Outcome) -> None:
        """A lease is over, as somebody told; also before it was answered that it is taken."""
        if self._found.get(key) == fence:
            self._found.pop(key, None)
        if (waiting := self.waiting) is not None:
            waiting.over(key, fence, outcome)

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
