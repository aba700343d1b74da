"""`Fills`: what a function returned, or a slower tier had, on its way into tiers and memory.

A tier gets it as an entry under the stamps that were taken before it was read or computed; memory
gets it as the engine's `Loaded`, which says how long it may be kept.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from millpond import _engine
from millpond.cache.leases import FREE
from millpond.io.codecs import Unencodable
from millpond.tiers.base import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.leases import Held
    from millpond.cache.looks import Look
    from millpond.cache.names import Name
    from millpond.cache.rules import Rules
    from millpond.cache.stage import Budget, Stage
    from millpond.cache.steps import Steps
    from millpond.io.codecs import Codec

_log = logging.getLogger("millpond.tiers")

_FROM_FUNCTION: Final = 0
_NO_LIMIT: Final = -1
_AT_ONCE: Final = 0.001  # seconds that nothing stays in the place of what was there


class Item(NamedTuple):
    """A value to be stored, which is kept `stale` seconds past its life.

    A life of None is as long as each tier keeps it.
    """

    key: str
    value: Any
    life: float | None
    cost: float
    stale: float = 0.0


@final
class Fills:
    """How values of one function or cache are kept.

    Args:
        name: what it is called in the tiers.
        monitors: of all its tiers.
        codec: between values and bytes.

    Attributes:
        unencodable: values that had no stored form, and stayed in memory.
    """

    __slots__ = ("_codec", "_monitors", "_name", "_warned", "unencodable")

    def __init__(self, name: Name, monitors: tuple[_engine.TierMonitor, ...], codec: Codec) -> None:
        self._name = name
        self._monitors = monitors
        self._codec = codec
        self._warned = False
        self.unencodable = 0

    def keep(
        self,
        key: str,
        value: Any,
        rules: Rules,
        looks: list[Look],
        budget: Budget,
        *,
        store: bool = True,
        write: bool = False,
        held: Held = FREE,
    ) -> Steps:
        """Stores what the function returned, where its rules let it; a `Loaded`.

        `write` puts it in the place of whatever is there, which goes also where it is not kept.
        """
        keeps = store and rules.keeps(value)
        life, cost = rules.life(value), rules.dollars(value)
        if keeps:
            items = [Item(key, value, life, cost, rules.stale)]
            yield from self.store(looks, items, budget, write=write, held=held)
        elif write and store:
            yield from self.store(looks, [Item(key, value, 0.0, 0.0)], budget, write=True)
        return self.loaded(value, life, cost, rules, keeps)

    def up(
        self, looks: list[Look], found: dict[str, _engine.Loaded], budget: Budget, source: Stage
    ) -> Steps:
        """Brings what a slower stage had to the faster ones, where they can vouch for it.

        A value with generations that its call does not know is left to the slower stage: the
        faster ones were not asked for the stamps of these. So is one that is past its life, which
        is about to be loaded anew. A function may ask in another order than the Engine has its
        stages: one that is told of invalidations before the `source` is not filled from it.
        """
        looks = [look for look in looks if source not in look.stage.faster]
        if looks:
            items = [
                Item(key, one.value, one.fresh, one.cost, one.stale)
                for key, one in found.items()
                if not one.tags and not one.past
            ]
            yield from self.store(looks, items, budget)

    def store(
        self,
        looks: list[Look],
        items: Sequence[Item],
        budget: Budget,
        *,
        write: bool = False,
        held: Held = FREE,
    ) -> Steps:
        """Stores values in the stages that were looked at, the slowest first.

        `write` puts them in the place of whatever is there; else a stage keeps what it has been
        told meanwhile. `held` is the lease under which they were loaded.
        """
        if not items:
            return
        for look in reversed(looks):
            fence = held.fence if look.stage is held.stage else 0
            made = [self._entry(look, item, fence) for item in items]
            entries = [entry for entry in made if entry is not None]
            if write:
                # What cannot be stored takes the old away, which would be served as current.
                left = [item for item, one in zip(items, made, strict=True) if one is None]
                entries += [Entry(item.key, b"", _AT_ONCE) for item in left]
            if not entries:
                continue
            if write:
                done = yield look.stage, "write", (budget, entries)
                if done is None:
                    look.stage.owe("delete", [entry.key for entry in entries])
                continue
            done = yield look.stage, "store", (budget, entries)
            if fence:
                held.over = done is not None  # Also if it was refused.
            if done is not None and not all(done):
                look.stage.monitor.count("fill_refused", done.count(False))

    def _entry(self, look: Look, item: Item, fence: int) -> Entry | None:
        tier = look.stage.tier
        life = look.stage.default_ttl if item.life is None else item.life
        if life <= 0:
            return None
        ttl = min(life + item.stale, tier.max_ttl)
        now = look.stage.now()
        try:
            data = self._codec.encode(
                item.value,
                key=item.key,
                stored_us=now,
                expires_us=now + int(ttl * 1e6),
                fresh_us=now + int(life * 1e6) if life < ttl else 0,
                stamps=look.stamps,
                cost=item.cost,
            )
        except Unencodable as error:
            self._cannot(item.value, error)
            return None
        return Entry(item.key, data, ttl, look.guards.get(item.key, 0), fence)

    def loaded(
        self, value: Any, life: float | None, cost: float, rules: Rules, store: bool
    ) -> _engine.Loaded:
        """What the function returned, with what memory has to know of it."""
        full = _engine.memory_life(life, rules.memory_ttl, ())
        fresh = _engine.memory_life(full, None, self._monitors)
        ttl = _NO_LIMIT if fresh is None else int(fresh * 1e9)
        stale = 0
        if full is not None and fresh is not None:
            # What a tier that is not heard cuts short must not be served any longer.
            kept = _engine.memory_life(full + rules.stale, None, self._monitors)
            stale = 0 if kept is None else int((kept - fresh) * 1e9)
        return _engine.Loaded(value, ttl, store and ttl != 0, _FROM_FUNCTION, cost, (), stale)

    def _cannot(self, value: Any, error: Unencodable) -> None:
        self.unencodable += 1
        if not self._warned:
            self._warned = True
            _log.warning(
                "%s: a %s stays in memory only: %s",
                self._name.prefix.rstrip(":"),
                type(value).__name__,
                error,
            )
