"""A tier in a dict: the smallest that keeps every promise, and so what mutants are made from."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from millpond.errors import LimitError
from millpond.tiers.base import Fetched, Held, Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from millpond.io.deadline import Deadline
    from millpond.tiers.base import Entry, Outcome, Waiting

MICROS = 1_000_000


class MemoryTier:
    name = "memory"
    ends_kept = False
    shared = False
    timeout = 1.0
    max_ttl = 3600.0
    ahead = 0  # seconds of its clock before that of the machine

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.guards: dict[str, int] = {}
        self.stamps: dict[str, int] = {}
        self.counters: dict[str, tuple[int, int | None]] = {}
        self.leases: dict[str, tuple[int, int]] = {}
        self.last = 0

    def now(self) -> int:
        return time.time_ns() // 1000 + self.ahead * MICROS

    def next_stamp(self) -> int:
        self.last = max(self.now(), self.last + 1)
        return self.last

    def live(self, key: str) -> tuple[bytes, int] | None:
        found = self.entries.get(key)
        return found if found is not None and found[1] > self.now() else None

    def put(self, entry: Entry) -> None:
        life = round(min(entry.ttl, self.max_ttl) * MICROS)
        self.entries[entry.key] = (entry.data, self.now() + life)

    def may_fill(self, entry: Entry) -> bool:
        return self.guards.get(entry.key, 0) == entry.guard

    def raise_guard(self, key: str) -> None:
        self.guards[key] = self.next_stamp()

    def open(self, deadline: Deadline) -> None: ...

    def close(self) -> None: ...

    async def aclose(self) -> None:
        self.close()

    def fetch(self, keys: Sequence[str], names: Sequence[str], deadline: Deadline) -> Fetched:
        with self.lock:
            found = [self.live(key) for key in keys]
            return Fetched(
                [None if entry is None else entry[0] for entry in found],
                [self.guards.get(key, 0) for key in keys],
                [self.stamps.get(name) for name in names],
            )

    def stamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        with self.lock:
            for name in names:
                if name not in self.stamps:
                    self.stamps[name] = self.next_stamp()
            return [self.stamps[name] for name in names]

    def store(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        with self.lock:
            told = []
            for entry in entries:
                leased = not entry.fence or self.end(entry.key, entry.fence)
                told.append(leased and self.may_fill(entry))
                if told[-1]:
                    self.put(entry)
            return told

    def write(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        with self.lock:
            for entry in entries:
                self.put(entry)
                self.raise_guard(entry.key)

    def delete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        with self.lock:
            there = [self.live(key) is not None for key in keys]
            for key in keys:
                self.entries.pop(key, None)
                self.raise_guard(key)
            return there

    def bump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        with self.lock:
            for name in names:
                self.stamps[name] = self.next_stamp()
            return [self.stamps[name] for name in names]

    def confirm(self, stamps: Sequence[tuple[str, int]], replicas: int, deadline: Deadline) -> int:
        with self.lock:
            for name, stamp in stamps:
                self.stamps[name] = max(stamp, self.stamps.get(name, 0))
                self.last = max(self.last, stamp)
            return 0

    # ---- leases

    def tell(self, waiting: Waiting | None) -> None: ...

    def standing(self, key: str) -> tuple[int, int]:
        fence, until = self.leases.get(key, (0, 0))
        return (fence, until) if until > self.now() else (0, 0)

    def end(self, key: str, fence: int) -> bool:
        return self.standing(key)[0] == fence and bool(self.leases.pop(key))

    def has_landed(self, key: str, seen: bytes) -> bool:
        found = self.live(key)
        return found is not None and (not seen or found[0][: len(seen)] != seen)

    def acquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        with self.lock:
            if self.has_landed(key, seen):
                return Lease("landed")
            holder, until = self.standing(key)
            if holder not in (0, fence):
                return Lease("taken", holder, (until - self.now()) / MICROS)
            self.leases[key] = (fence, self.now() + round(seconds * MICROS))
            return Lease("held", fence, seconds)

    def renew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        with self.lock:
            told = [self.standing(key)[0] == fence for key, fence in leases]
            for (key, fence), yes in zip(leases, told, strict=True):
                if yes:
                    self.leases[key] = (fence, self.now() + round(seconds * MICROS))
            return told

    def release(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        with self.lock:
            return [self.end(key, fence) for key, fence in leases]

    def incr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        with self.lock:
            value, expires = self.counters.get(key, (0, -1))
            if expires is not None and expires <= self.now():
                value, expires = 0, None if ttl is None else self.now() + round(ttl * MICROS)
            value += amount
            if not -(1 << 63) <= value < 1 << 63:
                raise LimitError("the sum does not fit in 64 bits")
            self.counters[key] = (value, expires)
            return value

    def inspect(self, key: str, deadline: Deadline) -> Held | None:
        found = self.live(key)
        return None if found is None else Held(found[0], (found[1] - self.now()) / MICROS)

    def scan(self, prefix: str, deadline: Deadline) -> Iterator[list[str]]:
        with self.lock:
            keys = [key for key in self.entries if key.startswith(prefix) and self.live(key)]
        for start in range(0, len(keys), 100):
            yield keys[start : start + 100]

    def erase(self, keys: Sequence[str], deadline: Deadline) -> int:
        return sum(self.delete(keys, deadline))

    # ---- the same in an event loop

    async def afetch(
        self, keys: Sequence[str], names: Sequence[str], deadline: Deadline
    ) -> Fetched:
        return self.fetch(keys, names, deadline)

    async def astamp(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        return self.stamp(names, deadline)

    async def astore(self, entries: Sequence[Entry], deadline: Deadline) -> list[bool]:
        return self.store(entries, deadline)

    async def awrite(self, entries: Sequence[Entry], deadline: Deadline) -> None:
        self.write(entries, deadline)

    async def adelete(self, keys: Sequence[str], deadline: Deadline) -> list[bool]:
        return self.delete(keys, deadline)

    async def abump(self, names: Sequence[str], deadline: Deadline) -> list[int]:
        return self.bump(names, deadline)

    async def aconfirm(
        self, stamps: Sequence[tuple[str, int]], replicas: int, deadline: Deadline
    ) -> int:
        return self.confirm(stamps, replicas, deadline)

    async def aacquire(
        self, key: str, fence: int, seconds: float, seen: bytes, deadline: Deadline
    ) -> Lease:
        return self.acquire(key, fence, seconds, seen, deadline)

    async def arenew(
        self, leases: Sequence[tuple[str, int]], seconds: float, deadline: Deadline
    ) -> list[bool]:
        return self.renew(leases, seconds, deadline)

    async def arelease(
        self, leases: Sequence[tuple[str, int]], outcome: Outcome, deadline: Deadline
    ) -> list[bool]:
        return self.release(leases, outcome, deadline)

    async def aincr(self, key: str, amount: int, ttl: float | None, deadline: Deadline) -> int:
        return self.incr(key, amount, ttl, deadline)

    async def ainspect(self, key: str, deadline: Deadline) -> Held | None:
        return self.inspect(key, deadline)

    async def ascan(self, prefix: str, deadline: Deadline) -> AsyncIterator[list[str]]:
        for batch in self.scan(prefix, deadline):
            yield batch

    async def aerase(self, keys: Sequence[str], deadline: Deadline) -> int:
        return self.erase(keys, deadline)


def mutant(what: str, **methods: Any) -> type[MemoryTier]:
    """A MemoryTier with a fault: some of its methods replaced."""
    return type(what, (MemoryTier,), methods)
