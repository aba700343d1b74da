"""Which functions are cached, so that they can be given tiers, also after they were decorated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final
from weakref import WeakSet

from millpond.cache.store import Cache, default_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond._engine import Function


@final
class Registry:
    """The functions of one Engine, or those of `mp.with_cache`.

    Args:
        cache: gives the Cache of functions that have none of their own.
    """

    __slots__ = ("_attach", "cache", "functions")

    def __init__(self, cache: Callable[[], Cache]) -> None:
        self.cache = cache
        self.functions: WeakSet[Function] = WeakSet()
        self._attach: Callable[[Function], None] | None = None

    def add(self, function: Function) -> None:
        """Note a decorated function, and give it the tiers, if there are any."""
        if self._attach is not None:
            self._attach(function)
        self.functions.add(function)

    def attach_with(self, attach: Callable[[Function], None]) -> None:
        """Call `attach` for each function there is and each there will be."""
        for function in list(self.functions):
            attach(function)
        self._attach = attach


default: Final = Registry(default_cache)
