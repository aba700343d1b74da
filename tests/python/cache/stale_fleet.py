"""Processes that share a file of values, on one clock: Engines stand for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import millpond as mp
from millpond import Engine
from millpond.testing import ManualClock
from millpond.tiers.sqlite import SQLiteTier
from tests.python.cache.faces import SYNC
from tests.python.cache.numbered import Numbered

if TYPE_CHECKING:
    from pathlib import Path

LIFE = 100.0  # seconds that a value is fresh


async def rest() -> None:
    """Until the loads that nobody waits for are over."""
    here = asyncio.current_task()
    while loads := [task for task in asyncio.all_tasks() if task is not here]:
        await asyncio.wait(loads)


class Fleet(Numbered):
    """What all processes have in common: the function too."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__()
        self.kind = kind
        self.folder = folder
        self.micros = 1_700_000_000_000_000
        self.clocks: list[ManualClock] = []
        self.mills: list[Engine] = []

    def now(self) -> int:
        return self.micros

    def pass_by(self, seconds: float) -> None:
        self.micros += int(seconds * 1e6)
        for clock in self.clocks:
            clock.advance(seconds)

    def process(self, **options: Any) -> Process:
        """A process that has not called the function yet."""
        self.clocks.append(ManualClock())
        mill = Engine(
            database=SQLiteTier(self.folder / "data", timeout=5.0, clock=self.now),
            cache=mp.Cache(clock=self.clocks[-1]),
            namespace="fleet",
            budget=5.0,
        )
        self.mills.append(mill)
        return Process(self, mill, {"ttl": LIFE, "tags": ("n:{x}",), **options})

    def close(self) -> None:
        for mill in self.mills:
            mill.close()


class Process:
    """One of them; calling it is a call of its function, and what that begins."""

    def __init__(self, fleet: Fleet, mill: Engine, options: dict[str, Any]) -> None:
        self.mill = mill
        self.kind = fleet.kind
        self.cached = mill.with_cache(namespace="fleet", key=lambda x: x, **options)(
            fleet.function(fleet.kind)
        )

    def __call__(self, x: Any = 1) -> Any:
        async def run() -> Any:
            try:
                return await self.cached(x)
            finally:
                await rest()

        return self.cached(x) if self.kind == SYNC else asyncio.run(run())

    def together(self, count: int, x: Any = 1) -> list[Any]:
        """So many calls of an async function at once."""

        async def run() -> list[Any]:
            got = await asyncio.gather(*(self.cached(x) for _ in range(count)))
            await rest()
            return got

        return asyncio.run(run())

    @property
    def info(self) -> Any:
        return self.cached.cache_info()

    @property
    def file(self) -> Any:
        """The statistics of the file, without what is zero."""
        stats = self.mill.stats()["sqlite"]
        counts = {"hits": stats["hits"], "stale_hits": stats["stale_hits"], **stats["misses"]}
        return {name: number for name, number in counts.items() if number}

    def views(self) -> dict[str, Any]:
        """What each tier has of the one call that was made."""
        [name] = self.mill.cache.scan("fleet:")
        return {view.tier: view for view in self.mill.cache.inspect(name)}
