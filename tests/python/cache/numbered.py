"""`Numbered`: a function whose results tell which of its calls they are."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.python.cache.faces import SYNC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Numbered:
    """Returns which of its calls it is, or raises if it is one of `fails`; `inside` runs first."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.fails: set[int] = set()
        self.inside: Callable[[], object] = lambda: None

    def act(self, x: Any) -> int:
        self.made.append(x)
        number = len(self.made)
        self.inside()
        if number in self.fails:
            raise LookupError(number)
        return number

    def function(self, kind: str) -> Callable[[Any], Any]:
        """The function itself, plain or async."""

        def plain(x: Any) -> int:
            return self.act(x)

        async def later(x: Any) -> int:
            await asyncio.sleep(0)
            return self.act(x)

        return plain if kind == SYNC else later

    @contextmanager
    def held(self, begin: Callable[[], object]) -> Iterator[None]:
        """Begin a call, which stays inside until the end of the block."""
        inside, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            inside.set()
            assert go_on.wait(10)

        self.inside = wait
        begin()
        try:
            assert inside.wait(10)
            yield
        finally:
            go_on.set()
