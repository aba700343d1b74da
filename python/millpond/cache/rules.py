"""`Rules`: what a function does with a value that it has computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from millpond import _engine
from millpond.cache import options

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DOLLARS: Final = 1e15


@final
class Rules:
    """What is stored, for how long, and what it cost.

    Args:
        ttl: seconds that a value lives, None: as long as each tier keeps it.
        memory_ttl: seconds that memory keeps it, None: as long as it lives.
        negative_ttl: seconds that None lives, None: like other values.
        cache_none: whether None is stored.
        condition: condition(value) -> whether it is stored.
        cost: dollars, or cost(value) -> dollars.
        stale_while: seconds past its life that it is served while it is loaded anew.
        stale_if: seconds past its life that it is served if its load fails.
    """

    __slots__ = (
        "cache_none",
        "condition",
        "cost",
        "memory_ttl",
        "negative_ttl",
        "stale_if",
        "stale_while",
        "ttl",
    )

    def __init__(
        self,
        *,
        ttl: float | None,
        memory_ttl: float | None,
        negative_ttl: float | None = None,
        cache_none: bool = True,
        condition: Callable[[Any], object] | None = None,
        cost: float | Callable[[Any], float] = 0.0,
        stale_while: float = 0.0,
        stale_if: float = 0.0,
    ) -> None:
        self.ttl = ttl
        self.memory_ttl = memory_ttl
        self.negative_ttl = negative_ttl
        self.cache_none = cache_none
        self.condition = condition
        self.cost = cost
        self.stale_while = stale_while
        self.stale_if = stale_if

    @property
    def stale(self) -> float:
        """Seconds past its life that a value is kept."""
        return max(self.stale_while, self.stale_if)

    def keeps(self, value: Any) -> bool:
        """Whether a value is stored. What the condition raises means no, and is reported."""
        if value is _engine.LEFT_OUT or (value is None and not self.cache_none):
            return False
        if self.condition is None:
            return True
        try:
            return bool(self.condition(value))
        except Exception as error:  # noqa: BLE001 (a user's; the caller has its value)
            _engine.report_unraisable(error, self.condition)
            return False

    def life(self, value: Any) -> float | None:
        """Seconds that a value lives; None where only the tiers limit it."""
        if value is None and self.negative_ttl is not None:
            return self.negative_ttl
        return self.ttl

    def dollars(self, value: Any) -> float:
        """What a value cost; nothing, if the function of the cost raises, which is reported."""
        if not callable(self.cost):
            return self.cost
        try:
            dollars = float(self.cost(value))
        except Exception as error:  # noqa: BLE001 (the same)
            _engine.report_unraisable(error, self.cost)
            return 0.0
        return dollars if 0 <= dollars <= _MOST_DOLLARS else 0.0

    def for_call(self, ttl: Any, cost: Any) -> Rules:
        """The rules of one call that says its own life (options.MISSING or UNSET: it does not)."""
        if ttl is options.MISSING or ttl is options.UNSET:
            life, memory = self.ttl, self.memory_ttl
        else:
            nanos = options.life(ttl, "ttl")
            life = memory = None if nanos == options.NO_LIMIT else nanos / 1e9
        return Rules(
            ttl=life,
            memory_ttl=memory,
            negative_ttl=self.negative_ttl,
            cache_none=self.cache_none,
            condition=self.condition,
            cost=cost,
        )
