"""One way to decorate, call and count a function, whether it is synchronous or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import millpond as mp

if TYPE_CHECKING:
    from collections.abc import Callable

ASYNC = "async"
SYNC = "sync"


def settled(value: Any) -> Any:
    """What a call gives in the end: an awaitable is awaited, anything else is the value."""
    if not hasattr(value, "__await__"):
        return value

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())


class Counted:
    """A cached function, and the list of (args, kwargs) that reached the plain one."""

    def __init__(self, kind: str, body: Callable[..., Any] | None = None, **options: Any) -> None:
        self.made: list[tuple[Any, ...]] = []
        act = body or (lambda *args: args)
        made = self.made

        if kind == SYNC:

            def plain(x: Any, y: Any = 0) -> Any:
                made.append((x, y))
                return act(x, y)

        else:

            async def plain(x: Any, y: Any = 0) -> Any:
                made.append((x, y))
                await asyncio.sleep(0)
                return act(x, y)

        self.plain = plain
        self.cached = mp.with_cache(**options)(plain)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return settled(self.cached(*args, **kwargs))

    @property
    def calls(self) -> int:
        return len(self.made)
