"""`Unconfirmed`: what a tier has been told, and too few of its replicas have.

Should one of these take the server's place, the tier would know nothing of it. So whoever asked for
a confirmation that did not come is asked for again, in the background, until it does; a server that
lost a stamp is given it anew. Meanwhile the tier may be read, for it has been told.
"""

from __future__ import annotations

import math
import threading
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, final

from millpond.cache.stage import Budget
from millpond.io import forks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from millpond.cache.stage import Stage
    from millpond.io.deadline import Deadline
    from millpond.tiers.base import Replicated

_MOST: Final = 10_000
_BATCH: Final = 500
_FIRST_PAUSE: Final = 0.1  # seconds between two attempts, doubled each time
_LONGEST_PAUSE: Final = 1.0
_SECONDS: Final = 0.3  # that an attempt may take


class Confirm(NamedTuple):
    """What an invalidation asks of tiers with replicas: how many have to have it, in how long."""

    replicas: int
    seconds: float


UNASKED: Final = Confirm(0, 0.0)


@final
class Unconfirmed:
    """Generations of one tier, each with its stamp, and how many replicas have to have it."""

    def __init__(self) -> None:
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        """Begin anew; in the child of a fork, whose parent sees to its own."""
        self._lock = threading.Lock()
        self._stamps: dict[str, tuple[int, int]] = {}
        # Those that the tier itself has not been told yet, and so have no stamp.
        self._untold: dict[str, int] = {}
        self._due = math.inf
        self._pause = _FIRST_PAUSE

    def __len__(self) -> int:
        return len(self._stamps)

    def add(self, stamps: Iterable[tuple[str, int]], replicas: int) -> bool:
        """Ask for these again; False where there are too many already."""
        with self._lock:
            if self._due == math.inf:
                self._pause = _FIRST_PAUSE
                self._due = monotonic() + self._pause
            for name, stamp in stamps:
                old = self._stamps.get(name)
                if old is None and len(self._stamps) >= _MOST:
                    return False
                before = old or (0, 0)
                self._stamps[name] = (max(stamp, before[0]), max(replicas, before[1]))
        return True

    def expect(self, names: Sequence[str], replicas: int) -> bool:
        """Ask for these when the tier has been told; False where there are too many already."""
        with self._lock:
            if len(self._untold) + len(names) > _MOST:
                return False
            for name in names:
                self._untold[name] = max(replicas, self._untold.get(name, 0))
        return True

    def told(self, names: Sequence[str], stamps: Sequence[int], *, everything: bool) -> bool:
        """The journal has told the tier; whether there is something to ask for now.

        Args:
            everything: whether these stand for all that it was to be told.
        """
        with self._lock:
            if everything:
                most = max(self._untold.values(), default=0)
                wanted = dict.fromkeys(names, most) if most else {}
                self._untold.clear()
            else:
                wanted = {name: self._untold.pop(name) for name in names if name in self._untold}
        for name, stamp in zip(names, stamps, strict=True):
            if name in wanted:
                self.add([(name, stamp)], wanted[name])
        return bool(wanted)

    def due_in(self) -> float | None:
        """Seconds until the next attempt; None if there is nothing to ask for."""
        return None if self._due == math.inf else max(0.0, self._due - monotonic())

    def attempt(self, stage: Stage) -> None:
        """Ask for the confirmation of what is to be confirmed, until one does not come."""
        while self._stamps:
            with self._lock:
                batch = dict(islice(self._stamps.items(), _BATCH))
            pairs = [(name, stamp) for name, (stamp, _) in batch.items()]
            most = max(replicas for _, replicas in batch.values())
            got: int | None = stage.ask(Budget(_SECONDS), "confirm", pairs, most)
            self._got(batch, -1 if got is None else got)
            if got is None or got < most:
                break
        with self._lock:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            self._due = monotonic() + self._pause if self._stamps else math.inf

    def restore(self, tier: Replicated, deadline: Deadline) -> None:
        """Have a tier that is back know what it knew before it went out.

        Raises:
            TierError: it is not back.
        """
        with self._lock:
            pairs = [(name, stamp) for name, (stamp, _) in self._stamps.items()]
        for start in range(0, len(pairs), _BATCH):
            tier.confirm(pairs[start : start + _BATCH], 0, deadline)

    def _got(self, batch: dict[str, tuple[int, int]], replicas: int) -> None:
        with self._lock:
            for name, asked in batch.items():
                if self._stamps.get(name) != asked:
                    continue  # It was invalidated again meanwhile.
                del self._stamps[name]
                if asked[1] > replicas:
                    self._stamps[name] = asked  # The last now: others get their turn.
