"""Two Engines on one tier stand for two processes; what threads and event loops do with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from millpond import Engine
from tests.waiting import wait_until


class Sync:
    """Functions and Engines as threads use them."""

    def function(self, mill: Engine, body: Callable[..., Any], **given: Any) -> Any:
        return mill.with_cache(namespace="test", **given)(body)

    def call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def invalidate(self, mill: Engine, **given: Any) -> Any:
        return mill.invalidate(**given)

    def do(self, target: Any, method: str, *args: Any, **given: Any) -> Any:
        return getattr(target, method)(*args, **given)


class Async:
    """The same in event loops; a loop a call, as short programs do."""

    def function(self, mill: Engine, body: Callable[..., Any], **given: Any) -> Any:
        async def run(x: Any) -> Any:
            return body(x)

        run.__module__, run.__qualname__ = body.__module__, body.__qualname__
        return mill.with_cache(namespace="test", **given)(run)

    def call(self, function: Any, *args: Any) -> Any:
        async def main() -> Any:
            return await function(*args)

        return asyncio.run(main())

    def invalidate(self, mill: Engine, **given: Any) -> Any:
        return asyncio.run(mill.ainvalidate(**given))

    def do(self, target: Any, method: str, *args: Any, **given: Any) -> Any:
        prefix, _, rest = method.rpartition("cache_")
        return asyncio.run(
            getattr(target, f"{prefix}cache_a{rest}" if prefix or rest != method else f"a{method}")(
                *args, **given
            )
        )


def settle(mills: tuple[Engine, Engine]) -> None:
    """Wait until the second has been told all that the first did: what is told keeps its order."""

    @mills[1].with_cache(namespace="test", key=lambda: "marker", tags=("marker",))
    def marker() -> int:
        return 1

    wait_until(lambda: marker() == 1 and marker.cache_contains())
    mills[0].invalidate(tags="marker")
    wait_until(lambda: not marker.cache_contains())


def keep(face: Any, function: Any, *args: Any) -> None:
    """Call until memory keeps it.

    A load is not kept if a stamp that it carries is told to be new on the way, as when another
    Engine has just come with the namespace. Where memory has nothing, the next call asks the tier,
    and for some milliseconds it may do so under the stamps from before an invalidation.
    """
    wait_until(lambda: face.call(function, *args) is not None and function.cache_contains(*args))


def counted() -> tuple[list[Any], Callable[[Any], Any]]:
    calls: list[Any] = []

    def body(x: Any) -> Any:
        calls.append(x)
        return {"value": x, "call": len(calls)}

    return calls, body
