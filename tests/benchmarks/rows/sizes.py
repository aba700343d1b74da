"""How the cost of a hit grows with the cache: from what fits the CPU's caches to what does not."""

from __future__ import annotations

import random
from collections.abc import Callable

from .. import inputs, peers
from ..loops import TimedLoop
from ..model import Contender, Context, Row, Sampler
from . import caches

WINDOW = 10_000


class Universe:
    """The keys of one size, made when the first contender asks and dropped after the row."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: list[int] = []
        self._order: list[int] = []

    def keys(self, context: Context) -> list[int]:
        if not self._keys:
            self._keys = inputs.universe("int", self._size)
            self._order = self._keys[:]
            random.Random(inputs.SEED).shuffle(self._order)
            context.cleanup.callback(self._drop)
        return self._keys

    def _drop(self) -> None:
        self._keys, self._order = [], []

    def walk(self) -> Callable[[int], list[int]]:
        """Return a function that gives the next keys of a shuffled order, so that no sample finds
        in the CPU's caches what the one before left there."""
        order, place = self._order, 0

        def following(count: int) -> list[int]:
            nonlocal place
            count = min(count, WINDOW, len(order))
            if place + count > len(order):
                place = 0
            place += count
            return order[place - count : place]

        return following


def _row(exponent: int) -> Row:
    size = 10**exponent
    universe = Universe(size)

    def decorated(name: str, peer: str, decorate: peers.Decorate) -> Contender:
        def prepare(context: Context) -> Sampler:
            f = decorate(lambda x: x, size)
            for key in universe.keys(context):
                f(key)
            return TimedLoop(context, "f(x)", {"f": f}, universe.walk())

        return Contender(name, prepare, peer)

    def plain(name: str, peer: str, make: caches.Make) -> Contender:
        def prepare(context: Context) -> Sampler:
            store = caches.filled(make, universe.keys(context), size)
            return caches.timed(context, store, store.get, universe.walk())

        return Contender(name, prepare, peer)

    return Row(
        name=f"size/1e{exponent}",
        title=f"hit in a full cache of 10^{exponent} int keys in random order",
        contenders=(
            decorated("millpond", "millpond", peers.millpond()),
            decorated("millpond lru", "millpond", peers.millpond("lru")),
            decorated("lru_cache", "", peers.lru_cache),
            plain("millpond get", "millpond", caches.millpond()),
            plain("cachebox get", "cachebox", caches.cachebox_lru),
            plain("dict get", "", caches.plain_dict),
        ),
        baseline="lru_cache",
        passes=(0 if exponent < 6 else 3) if exponent < 7 else 1,
        rounds=5 if exponent < 7 else 15,
        per_round=3,
        slow=exponent > 5,
    )


def rows() -> list[Row]:
    return [_row(exponent) for exponent in range(3, 8)]
