"""One way to call a tier for both: a check is written once and runs sync and async."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry, Fetched, Held, Lease, Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from millpond.tiers.base import Outcome

_T = TypeVar("_T")
Way = Literal["sync", "async"]
WAYS: tuple[Way, ...] = ("sync", "async")


class Calls:
    """A tier's methods as plain functions, the deadline filled in.

    Args:
        tier: whose methods.
        way: "sync" calls `fetch`, "async" runs `afetch` in an event loop of its own.
        seconds: the deadline of each call.
    """

    def __init__(self, tier: Tier, way: Way, seconds: float) -> None:
        self.tier = tier
        self.way = way
        self.seconds = seconds
        self._runner = asyncio.Runner() if way == "async" else None
        self._tag = secrets.token_hex(8)

    def key(self, name: object = "k") -> str:
        """A key that no other check uses."""
        return f"conformance:{self._tag}:1:{name}"

    @property
    def prefix(self) -> str:
        """What all keys of this check begin with."""
        return f"conformance:{self._tag}:1:"

    @staticmethod
    def name() -> str:
        """A generation name that nobody has used."""
        return secrets.token_hex(16)

    def deadline(self) -> Deadline:
        return Deadline.after(self.seconds)

    def fetch(self, keys: Sequence[str] = (), names: Sequence[str] = ()) -> Fetched:
        got: Fetched = self._call("fetch", keys, names)
        return got

    def data(self, key: str) -> bytes | None:
        """The entry of a key."""
        return self.fetch([key]).data[0]

    def guard(self, key: str) -> int:
        """The guard of a key."""
        return self.fetch([key]).guards[0]

    def store(self, *entries: Entry) -> list[bool]:
        got: list[bool] = self._call("store", entries)
        return got

    def write(self, *entries: Entry) -> None:
        self._call("write", entries)

    def delete(self, *keys: str) -> list[bool]:
        got: list[bool] = self._call("delete", keys)
        return got

    def erase(self, *keys: str) -> int:
        got: int = self._call("erase", keys)
        return got

    def stamp(self, *names: str) -> list[int]:
        got: list[int] = self._call("stamp", names)
        return got

    def bump(self, *names: str) -> list[int]:
        got: list[int] = self._call("bump", names)
        return got

    def confirm(self, replicas: int, *stamps: tuple[str, int]) -> int:
        got: int = self._call("confirm", stamps, replicas)
        return got

    def acquire(self, key: str, fence: int, seconds: float = 60.0, seen: bytes = b"") -> Lease:
        got: Lease = self._call("acquire", key, fence, seconds, seen)
        return got

    def renew(self, seconds: float, *leases: tuple[str, int]) -> list[bool]:
        got: list[bool] = self._call("renew", leases, seconds)
        return got

    def release(self, outcome: Outcome, *leases: tuple[str, int]) -> list[bool]:
        got: list[bool] = self._call("release", leases, outcome)
        return got

    def incr(self, key: str, amount: int = 1, ttl: float | None = None) -> int:
        got: int = self._call("incr", key, amount, ttl)
        return got

    def inspect(self, key: str) -> Held | None:
        got: Held | None = self._call("inspect", key)
        return got

    def scan(self, prefix: str) -> list[list[str]]:
        """The batches."""
        if self._runner is None:
            return list(self.tier.scan(prefix, self.deadline()))
        return self._runner.run(self._ascan(prefix))

    def together(self, calls: Sequence[Callable[[], Coroutine[Any, Any, _T]]]) -> list[_T]:
        """Run coroutines at once; only in the async way."""
        if self._runner is None:
            raise RuntimeError("together() is for the async way")
        return self._runner.run(_gather(calls))

    def keys(self, prefix: str) -> list[str]:
        """What scan lists, all batches in one."""
        return [key for batch in self.scan(prefix) for key in batch]

    def new_loop(self) -> None:
        """Go on in another event loop, the one so far being closed."""
        if self._runner is not None:
            self._runner.close()
            self._runner = asyncio.Runner()

    def close(self) -> None:
        """Close the tier."""
        if self._runner is None:
            self.tier.close()
        else:
            self._runner.run(self.tier.aclose())

    def end(self) -> None:
        """Close the tier and the loop."""
        try:
            self.close()
        finally:
            if self._runner is not None:
                self._runner.close()

    def _call(self, method: str, *arguments: object) -> Any:
        if self._runner is None:
            return getattr(self.tier, method)(*arguments, self.deadline())
        return self._runner.run(getattr(self.tier, f"a{method}")(*arguments, self.deadline()))

    async def _ascan(self, prefix: str) -> list[list[str]]:
        return [batch async for batch in self.tier.ascan(prefix, self.deadline())]


async def _gather(calls: Sequence[Callable[[], Coroutine[Any, Any, _T]]]) -> list[_T]:
    return await asyncio.gather(*(call() for call in calls))


def entry(key: str, data: bytes = b"data", ttl: float = 60.0, guard: int = 0) -> Entry:
    """An entry that lives long enough for a check."""
    return Entry(key, data, ttl, guard)


def expect(condition: object, what: str) -> None:
    """Fail with a sentence that says what a tier promises."""
    if not condition:
        raise AssertionError(what)


def same(got: object, wanted: object, what: str) -> None:
    """Fail with what was promised, what there should have been, and what there was."""
    if got != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {got!r}")


def soon(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until it is so, or fail."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"{what}, but not within {seconds:g} s")
        time.sleep(0.01)
