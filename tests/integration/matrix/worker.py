"""A process of the check of histories: `python -m tests.integration.matrix.worker JSON`.

It says when it is ready, is told to go on, and ends when its input does. It calls a cached function
and a cache by name from threads and tasks, changes the source, and invalidates by tag, by key and
by `set`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import mmap
import os
import random
import struct
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond import Engine
from tests.integration.matrix.history import Notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.io.deadline import Deadline

KEYS = 24
GROUPS = 6
PROCESSES = 4
_WORD = struct.Struct("=Q")


class Source:
    """Versions in a file that all processes map."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._map = mmap.mmap(self._file, 0)
        self._words = memoryview(self._map).cast("Q")
        self._lock = threading.Lock()

    @staticmethod
    def make(path: Path) -> None:
        """A new one, all versions 0."""
        path.write_bytes(bytes(_WORD.size * 2 * KEYS))

    def version(self, place: int) -> int:
        return self._words[place]

    @contextmanager
    def changing(self) -> Iterator[memoryview]:
        """Nobody else changes it meanwhile."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield self._words
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


class Worker:
    """One process."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.number: int = given["number"]
        self.over = False
        self.seed: int = given["seed"]
        self.source = Source(given["source"])
        self.notes = Notes(Path(given["output"]), self.number)
        # A promise is checked here, not how fast it is kept on a busy machine.
        self.mill = Engine(namespace="history", budget=10.0, **given["engine"])
        for stage in self.mill._stages:
            stage.tier.timeout = given.get("timeout", 5.0)
        self._break(given.get("broken", ""))

        terms = {"tags": ("item:{key}", "group:{group}"), "ttl": "10m", "namespace": "history"}

        @self.mill.with_cache(**terms)
        def load(key: int, group: int) -> int:
            return self.source.version(key)

        @self.mill.with_cache(**terms)
        async def aload(key: int, group: int) -> int:
            return self.source.version(key)

        self.load, self.aload = load, aload
        self.cache = self.mill.cache("numbers", ttl="10m")

    def _break(self, how: str) -> None:
        """What a product that does not keep its promise would do."""
        if how == "deaf":
            for coherence in self.mill._coherence.values():
                coherence.begin = lambda: None  # type: ignore[method-assign]
                coherence.is_up = True
        elif how == "forgets":
            for stage in self.mill._stages:
                stage.tier.bump = _forget  # type: ignore[method-assign]

    def run(self) -> None:
        """From a line of input to the end of it."""
        with self.mill:
            print("ready", flush=True)
            sys.stdin.readline()
            threads = [
                threading.Thread(target=self._await_end),
                threading.Thread(target=self._read, args=(random.Random(self.seed + 1),)),
                threading.Thread(target=self._read_tasks, args=(random.Random(self.seed + 2),)),
                threading.Thread(target=self._change, args=(random.Random(self.seed + 3),)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _await_end(self) -> None:
        sys.stdin.read()
        self.over = True

    # ---- Reads

    def _read(self, chance: random.Random) -> None:
        while not self.over:
            began = time.monotonic()
            key = chance.randrange(KEYS)
            if chance.random() < 0.5:
                version = self.load(key, key % GROUPS)
                self._noted(f"call {key}", version, began)
            else:
                version = self.cache.get_or_load(key, self._compute)
                self._noted(f"cache {key}", version, began)
            time.sleep(chance.expovariate(1000))

    def _compute(self, key: int) -> int:
        return self.source.version(KEYS + key)

    def _noted(self, key: str, version: int, began: float) -> None:
        self.notes.read(key, version, began, time.monotonic())

    def _read_tasks(self, chance: random.Random) -> None:
        async def one() -> None:
            while not self.over:
                began = time.monotonic()
                key = chance.randrange(KEYS)
                version = await self.aload(key, key % GROUPS)
                self._noted(f"acall {key}", version, began)
                await asyncio.sleep(chance.expovariate(200))

        async def main() -> None:
            await asyncio.gather(*(one() for _ in range(5)))
            await self.mill.aclose()

        asyncio.run(main())

    # ---- Changes

    def _change(self, chance: random.Random) -> None:
        ways = (self._by_tag, self._by_group, self._by_key, self._by_deletion, self._by_set)
        while not self.over:
            chance.choice(ways)(chance)
            time.sleep(chance.expovariate(100))

    def _changed(self, spaces: tuple[str, ...], places: list[int]) -> list[tuple[str, int]]:
        with self.source.changing() as words:
            at = time.monotonic()
            changes = [
                (f"{space} {place % KEYS}", words[place] + 1)
                for space in spaces
                for place in places
            ]
            for key, version in changes:
                self.notes.changing(key, version, at)
            for place in places:
                words[place] += 1
        return changes

    def _report(self, changes: list[tuple[str, int]], done: bool) -> None:
        when = time.monotonic()
        for key, version in changes if done else ():
            self.notes.done(key, version, when)

    def _all_told(self) -> bool:
        """Whether no tier has yet to be told of anything."""
        return not any(stats.get("pending") for stats in self._tiers())

    def _tiers(self) -> list[dict[str, Any]]:
        return [stats for name, stats in self.mill.stats().items() if name != "memory"]

    def _by_tag(self, chance: random.Random) -> None:
        key = chance.randrange(KEYS)
        changes = self._changed(("call", "acall"), [key])
        self._report(changes, self.mill.invalidate(tags=f"item:{key}").done)

    def _by_group(self, chance: random.Random) -> None:
        group = chance.randrange(GROUPS)
        changes = self._changed(("call", "acall"), list(range(group, KEYS, GROUPS)))
        self._report(changes, self.mill.invalidate(tags=f"group:{group}").done)

    def _by_key(self, chance: random.Random) -> None:
        key = chance.randrange(KEYS)
        changes = self._changed(("call", "acall"), [key])
        self.load.cache_invalidate(key, key % GROUPS)
        self.aload.cache_invalidate(key, key % GROUPS)
        self._report(changes, self._all_told())

    def _by_deletion(self, chance: random.Random) -> None:
        key = self._of_mine(chance)
        changes = self._changed(("cache",), [KEYS + key])
        self._report(changes, self.cache.delete(key).done)

    def _by_set(self, chance: random.Random) -> None:
        key = self._of_mine(chance)
        changes = self._changed(("cache",), [KEYS + key])
        self.cache.set(key, changes[0][1])
        self._report(changes, self._all_told())

    def _of_mine(self, chance: random.Random) -> int:
        """Keys that this process alone changes, so that two `set` cannot overtake each other."""
        return chance.randrange(self.number % PROCESSES, KEYS, PROCESSES)


def _forget(names: list[str], _: Deadline) -> list[int]:
    return [0] * len(names)


def main() -> None:
    Worker(json.loads(sys.argv[1])).run()


if __name__ == "__main__":
    main()
