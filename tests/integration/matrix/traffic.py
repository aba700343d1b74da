"""`Traffic`: threads and tasks that call cached functions all the time, and judge what they get.

Two Engines stand for two processes. The calls go through the first, whose way to the servers a
fault may cut; both invalidate. A call's overhead is its whole time, since what the function itself
does takes microseconds. A machine that is busy adds its own: a phase without a fault shows how much
that is, and a thread that only sleeps shows when no thread of the process ran.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from millpond import cache_control

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond import Engine
    from tests.integration.matrix.copies import Copies
    from tests.integration.matrix.truth import Late, Truth

THREADS = 8
TASKS = 200
SLOW = 0.05  # seconds, from which on a call is looked at more closely
_BEAT = 0.005
_STALL = 0.02


class Phase:
    """What the calls of one phase did. Lists grow by appends alone, so no lock is needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.slow: list[tuple[float, float]] = []  # the longer ones: when they began and ended
        self.stalls: list[tuple[float, float]] = []  # when nothing ran: from, until
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.late: list[Late] = []
        self.untold = 0  # invalidations that were not reported done, or could be lost

    def add(self, began: float, ended: float) -> None:
        """Count a call."""
        self.seconds.append(ended - began)
        if ended - began >= SLOW:
            self.slow.append((began, ended))

    def beat(self) -> None:
        """Sleep for a moment, and note if that took much longer: nothing ran."""
        began = time.monotonic()
        time.sleep(_BEAT)
        ended = time.monotonic()
        if ended - began > _BEAT + _STALL:
            self.stalls.append((began + _BEAT, ended))

    def net(self, q: float) -> float:
        """Seconds that calls took, without the time in which no thread of the process ran."""
        quick = [seconds for seconds in self.seconds if seconds < SLOW]
        slow = [
            end - began - sum(max(0.0, min(end, to) - max(began, at)) for at, to in self.stalls)
            for began, end in self.slow
        ]
        return _quantile(quick + slow, q)


def _quantile(seconds: list[float], q: float) -> float:
    found = sorted(seconds)
    return found[min(len(found) - 1, int(q * len(found)))] if found else 0.0


class Traffic:
    """`with Traffic(...) as traffic: traffic.phase("quiet"); sleep(1); traffic.phase("fault")`.

    Args:
        mill: the Engine that is called.
        other: the Engine that stands for another process.
        truth: what their functions read.
        seed: of what is called when.
        copies: what a failover could lose counts as not reported.
        thread_pause, task_pause: seconds between the calls of a thread, or of a task, on average.
        write_pause: seconds between invalidations of each Engine, on average.
    """

    def __init__(
        self,
        mill: Engine,
        other: Engine,
        truth: Truth,
        seed: int,
        copies: Copies,
        *,
        thread_pause: float = 0.06,
        task_pause: float = 1.2,
        write_pause: float = 0.03,
    ) -> None:
        self.truth = truth
        self.now = Phase("start")
        self.mill = mill
        self._copies = copies
        self._seed = seed
        self._pauses = (thread_pause, task_pause, write_pause)
        self._stop = threading.Event()
        self.sync, self.asynchronous = functions(mill, truth)
        self._theirs, _ = functions(other, truth)
        self._engines = (mill, other)
        self._threads = [
            *(self._thread(self._call_on, number) for number in range(THREADS)),
            self._thread(self._call_tasks, THREADS),
            self._thread(self._beat, THREADS + 3),
            self._thread(self._invalidate_on, THREADS + 1, mill, self.sync),
            self._thread(self._invalidate_on, THREADS + 2, other, self._theirs),
        ]

    def phase(self, name: str) -> Phase:
        """Begin a phase; the calls that end from now on count in it."""
        self.now = Phase(name)
        return self.now

    def tier_hits(self) -> int:
        """How often a tier had what memory had not."""
        infos = (self.sync.cache_info(), self.asynchronous.cache_info())
        return sum(
            count for info in infos for tier, count in info.hits_by_tier.items() if tier != "memory"
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), f"{thread.name} hangs"

    # ---- Calls

    def _thread(self, work: Callable[..., None], number: int, *args: Any) -> threading.Thread:
        chance = random.Random(self._seed * 1000 + number)
        return threading.Thread(target=work, args=(chance, *args), name=f"traffic-{number}")

    def _call_on(self, chance: random.Random) -> None:
        while not self._stop.wait(chance.uniform(0, 2 * self._pauses[0])):
            key = self._key(chance)
            began = time.monotonic()
            try:
                value = self.sync(key)
            except Exception as error:
                self.now.failed.append(repr(error))
            else:
                self._judge(key, value, began)

    def _call_tasks(self, chance: random.Random) -> None:
        async def one(pick: random.Random) -> None:
            await asyncio.sleep(pick.uniform(0, 2 * self._pauses[1]))
            while True:
                key = self._key(pick)
                began = time.monotonic()
                try:
                    value = await self.asynchronous(key)
                except Exception as error:
                    self.now.failed.append(repr(error))
                else:
                    self._judge(key, value, began)
                await asyncio.sleep(pick.uniform(0, 2 * self._pauses[1]))

        async def main() -> None:
            def unhandled(_: Any, context: dict[str, Any]) -> None:
                self.now.failed.append(f"in the loop: {context}")

            asyncio.get_running_loop().set_exception_handler(unhandled)
            tasks = [asyncio.create_task(one(random.Random(chance.random()))) for _ in range(TASKS)]
            await asyncio.to_thread(self._stop.wait)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                assert task.cancelled(), task
            await self.mill.aclose()  # The connections of this loop.

        asyncio.run(main())

    def _key(self, chance: random.Random) -> int:
        """A few keys are called often."""
        return int(self.truth.keys * chance.random() ** 2)

    def _judge(self, key: int, value: Any, began: float) -> None:
        phase = self.now
        ended = time.monotonic()
        phase.add(began, ended)
        if self.truth.is_wrong(key, value):
            phase.wrong.append(f"{key}: {value!r}")
        elif late := self.truth.late(key, value["version"], began):
            phase.late.append(late)

    def _beat(self, _: random.Random) -> None:
        while not self._stop.is_set():
            self.now.beat()

    # ---- Invalidations

    def _invalidate_on(self, chance: random.Random, mill: Engine, function: Any) -> None:
        own = mill is self.mill
        while not self._stop.wait(chance.uniform(0, 2 * self._pauses[2])):
            key = self._key(chance)
            version = self.truth.change(key)
            tag = f"item:{key}"
            since = time.time()
            try:
                outcome = mill.invalidate(tags=tag)
                done = outcome.done and self._copies.keep(tag, since)
                pending = not outcome.done and "failed" not in outcome.tiers.values()
                if done or (own and pending and not self._copies.may_lose):
                    # Also what is pending holds for the process that invalidated, but what is
                    # made up for at a primary that is being replaced may be lost.
                    self.truth.reported(key, version, own=own)
                self.now.untold += not done
                if chance.random() < 0.1:
                    with cache_control(no_cache=True):  # A call that asks nobody, and fills.
                        function(key)
            except Exception as error:
                self.now.failed.append(f"invalidate: {error!r}")


def functions(mill: Engine, truth: Truth) -> tuple[Any, Any]:
    """The cached function of an Engine, for threads and for tasks: one name, so one entry."""

    def load(key: int) -> dict[str, Any]:
        return truth.compute(key)

    async def aload(key: int) -> dict[str, Any]:
        return truth.compute(key)

    aload.__qualname__ = load.__qualname__
    given: dict[str, Any] = {"namespace": "soak", "tags": ("item:{key}",), "ttl": "10m"}
    return mill.with_cache(**given)(load), mill.with_cache(**given)(aload)
