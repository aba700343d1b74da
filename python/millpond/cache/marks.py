"""`Marks`: the name of a function, left in its tiers for whoever invalidates by a pattern.

Entries tell the name too, but may come later than the pattern, or not at all: a load is under way,
all of them were evicted, or its values are of a kind that stays in memory.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, final

from millpond.cache.names import MARK
from millpond.io.codecs import Codec
from millpond.tiers.base import Entry

if TYPE_CHECKING:
    from millpond.cache.stage import Budget, Stage
    from millpond.cache.steps import Steps

# Seconds that a mark stays in a tier, and after which a function that is still used leaves another.
_LIFE: Final = 30 * 86400.0
_AGAIN: Final = 3600.0


@final
class Marks:
    """Those of one function or cache.

    Args:
        prefix: its name, "{namespace}:{name}:{version}:".
    """

    __slots__ = ("_key", "_until")

    def __init__(self, prefix: str) -> None:
        self._key = prefix.removesuffix(":") + MARK
        self._until: dict[Stage, float] = {}

    def leave(self, stage: Stage, budget: Budget, *, lost: bool = False) -> Steps:
        """Leaves one before anything is loaded, if none is there. `lost`: there may be none."""
        now = monotonic()
        if now < self._until.get(stage, 0.0) and not lost:
            return
        life = min(stage.tier.max_ttl, _LIFE)
        stored = stage.now()
        until = stored + int(life * 1e6)
        data = Codec().encode(None, key=self._key, stored_us=stored, expires_us=until)
        done = yield stage, "mark", (budget, [Entry(self._key, data, life)])
        if done is not None:
            self._until[stage] = now + min(_AGAIN, life / 2)
