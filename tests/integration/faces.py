"""Both faces of a tier under one name, so that sync and async share one table of tests."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from millpond.errors import TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry
from tests.integration.faults import FaultProxy


class Face:
    """`face.fetch(keys, names)` calls `tier.fetch`, or runs `tier.afetch` in an event loop.

    The deadline is appended; it is `seconds` from the call on.
    """

    def __init__(self, tier: Any, runner: asyncio.Runner | None, seconds: float = 5.0) -> None:
        self.tier = tier
        self.runner = runner
        self.seconds = seconds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self.runner is None:
            return lambda *args: self._plain(getattr(self.tier, name), args)
        return lambda *args: self.run(self._awaited(getattr(self.tier, f"a{name}"), args))

    def run(self, coroutine: Any) -> Any:
        assert self.runner is not None
        return self.runner.run(coroutine)

    def _plain(self, method: Any, args: tuple[Any, ...]) -> Any:
        result = method(*args, Deadline.after(self.seconds))
        return list(result) if inspect.isgenerator(result) else result

    async def _awaited(self, method: Any, args: tuple[Any, ...]) -> Any:
        result = method(*args, Deadline.after(self.seconds))
        if inspect.isasyncgen(result):
            return [batch async for batch in result]
        return await result


# What the fixture `redis_faces` is: from a URL or settings, and options of the tier, to its face.
RedisFaces = Callable[..., Face]

# Seconds that a call in these tests may take.
BUDGET = 0.05
# How late an answer may be on a machine that does other things too; usually it is 5 ms, as the
# best of several shows.
LATE = 0.25


def at(proxy: FaultProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}"


def entry(key: str, data: bytes = b"data", **other: Any) -> Entry:
    return Entry(key, data, 60.0, **other)


def failure(call: Callable[[], Any]) -> TierError:
    with pytest.raises(TierError) as caught:
        call()
    return caught.value


def timed(face: Face, call: Callable[[], Any]) -> float:
    """Seconds by which a call that must time out was late."""
    face.seconds = BUDGET
    start = time.monotonic()
    assert isinstance(failure(call), TierTimeoutError)
    late = time.monotonic() - start - BUDGET
    assert -0.001 < late < LATE
    return late
