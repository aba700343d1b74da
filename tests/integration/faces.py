"""Both faces of a tier under one name, so that sync and async share one table of tests."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from millpond.io.deadline import Deadline


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
